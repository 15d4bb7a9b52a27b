//! `airgap` and `network`.

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, clean, field, table};
use crate::place::Place;

pub(crate) async fn airgap(
    place: &Place,
    options: args::AirGap,
    output: Output,
) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let on = options.state == args::OnOff::On;
    let path = format!("/sandboxes/{}/airgap", encode(&options.id));
    let body = json!({ "enabled": on });
    api.call(Method::PUT, &path, Some(&body)).await?;
    let answer = json!({ "sandboxID": options.id, "airGap": on });
    output.result(&answer, "");
    Ok(0)
}

pub(crate) async fn show(
    place: &Place,
    options: args::Network,
    output: Output,
) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let id = encode(&options.id);
    let path = format!("/sandboxes/{id}");
    let detail = api.call(Method::GET, &path, None).await?;
    let log = api
        .call(Method::GET, &format!("{path}/network/log"), None)
        .await?;
    let answer = json!({
        "allowInternetAccess": detail["allowInternetAccess"],
        "network": detail["network"],
        "networkState": detail["networkState"],
        "refused": log,
    });
    output.result(&answer, &text(&answer));
    Ok(0)
}

fn text(answer: &Value) -> String {
    let state = &answer["networkState"];
    let holds = match (
        &state["airGapByOperator"],
        &state["closed"],
        &state["airGap"],
    ) {
        (Value::Bool(true), ..) => "air-gapped by the operator",
        (_, Value::Bool(true), _) => "closed: the last change failed",
        (_, _, Value::Bool(true)) => "air-gapped",
        _ if state["generation"] == state["inForce"] => "in force",
        _ => "not in force yet",
    };
    let mut lines = format!("generation {}: {holds}\n", field(state, "generation"));
    if answer["allowInternetAccess"] == json!(false) {
        lines.push_str("allow_internet_access: false\n");
    }
    for (name, value) in answer["network"].as_object().into_iter().flatten() {
        let value = match value.as_array() {
            Some(all) => all.iter().map(plain).collect::<Vec<_>>().join(" "),
            None => plain(value),
        };
        lines.push_str(&format!("{}: {}\n", clean(name), clean(&value)));
    }
    let idle = state["notEffective"].as_array().into_iter().flatten();
    let idle: Vec<String> = idle.map(plain).collect();
    if !idle.is_empty() {
        lines.push_str(&format!("not effective: {}\n", clean(&idle.join(" "))));
    }
    let refused = answer["refused"].as_array().into_iter().flatten();
    let row = |one: &Value| {
        let port = field(one, "port");
        let to = match port.as_str() {
            _ if one["direction"] == "in" => client(one),
            "0" => field(one, "address"),
            port => format!("{}:{port}", field(one, "address")),
        };
        let words = ["timestamp", "count", "protocol"].map(|name| field(one, name));
        let mut row = words.to_vec();
        row.extend([to, field(one, "name"), field(one, "rule")]);
        row
    };
    let rows: Vec<Vec<String>> = refused.map(row).collect();
    if !rows.is_empty() {
        let heads = ["REFUSED", "TIMES", "PROTOCOL", "TO", "NAME", "RULE"];
        lines.push_str(&table(&heads, &rows));
    }
    lines
}

/// Who was not let in, and where.
pub(crate) fn client(refused: &Value) -> String {
    let address = match &refused["address"] {
        Value::Null => "unknown".to_owned(),
        _ => field(refused, "address"),
    };
    format!("{address} to port {}", field(refused, "port"))
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_comes_first() {
        let state = json!({"generation": 3, "inForce": 3, "notEffective": ["2001:db8::/32"]});
        let answer = json!({
            "allowInternetAccess": false, "network": {"allowOut": ["8.8.8.8", "a\u{1b}"]}, "networkState": state,
            "refused": [{"timestamp": "T", "count": 2, "protocol": "tcp", "address": "1.1.1.1", "port": 80,
                "name": null, "rule": "denyOut 0.0.0.0/0"}, {"timestamp": "U", "count": 1, "direction": "in",
                "protocol": "tcp", "address": "9.9.9.9", "port": 80, "name": null, "rule": "denyIn 9.9.9.9/32"}],
        });
        assert_eq!(
            text(&answer),
            "generation 3: in force\nallow_internet_access: false\nallowOut: 8.8.8.8 a?\n\
             not effective: 2001:db8::/32\n\
             REFUSED  TIMES  PROTOCOL  TO                  NAME  RULE\n\
             T        2      tcp       1.1.1.1:80                denyOut 0.0.0.0/0\n\
             U        1      tcp       9.9.9.9 to port 80        denyIn 9.9.9.9/32"
        );
        for (state, wanted) in [
            (json!({"generation": 3, "inForce": 2}), "not in force yet"),
            (
                json!({"generation": 3, "inForce": 0, "airGap": true, "closed": true}),
                "closed: the last change failed",
            ),
            (
                json!({"generation": 3, "inForce": 3, "airGap": true}),
                "air-gapped",
            ),
            (
                json!({"airGap": true, "airGapByOperator": true}),
                "air-gapped by the operator",
            ),
        ] {
            assert!(text(&json!({ "networkState": state })).contains(&format!(": {wanted}\n")));
        }
    }
}
