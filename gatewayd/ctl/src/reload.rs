//! `reload`: log file and certificates opened anew, what templates may use of the network read anew.

use http::Method;
use serde_json::Value;

use crate::api::Api;
use crate::error::Error;
use crate::http::Target;
use crate::output::{Output, field, table};
use crate::place::Place;

pub(crate) async fn run(place: &Place, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let answer = api.call(Method::POST, "/admin/reload", None).await?;
    let certificates = answer["certificates"].as_array();
    let rows: Vec<Vec<String>> = certificates.into_iter().flatten().map(row).collect();
    let text = if rows.is_empty() {
        String::new()
    } else {
        table(&["NAMES", "VALID UNTIL", "STATE"], &rows)
    };
    output.result(&answer, &text);
    let faults = ["log", "networks"].map(|part| answer[part].as_str().map(str::to_owned));
    let certificates = certificates.into_iter().flatten().filter_map(problem);
    let problems: Vec<String> = faults.into_iter().flatten().chain(certificates).collect();
    if problems.is_empty() {
        Ok(0)
    } else {
        Err(Error::Failed(format!(
            "not everything could be opened anew: {}",
            problems.join("; ")
        )))
    }
}

/// What is wrong with a certificate, in words.
pub(crate) fn problem(certificate: &Value) -> Option<String> {
    let problem = certificate["problem"].as_str()?;
    let names = names(certificate);
    Some(if certificate["usable"] == true {
        format!("certificate of {names}: {problem}; the one before stays in use")
    } else {
        format!("certificate: {problem}")
    })
}

fn names(certificate: &Value) -> String {
    let names = certificate["names"].as_array().into_iter().flatten();
    names
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn row(certificate: &Value) -> Vec<String> {
    let state = field(certificate, "problem");
    let state = if state.is_empty() { "in use" } else { &state };
    vec![
        names(certificate),
        field(certificate, "notAfter"),
        state.to_owned(),
    ]
}
