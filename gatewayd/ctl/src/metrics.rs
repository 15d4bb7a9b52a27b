//! `metrics`.

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args;
use crate::error::Error;
use crate::http::{Target, encode, full, good, whole};
use crate::output::{Output, field, table};
use crate::place::Place;

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn run(
    place: &Place,
    options: args::Metrics,
    output: Output,
) -> Result<u8, Error> {
    let target = Target::admin(place);
    let Some(id) = options.id else {
        let mut connection = target.connect().await?;
        let path = "/admin/metrics";
        let response = connection.send(Method::GET, path, &[], full("")).await?;
        let bytes = whole(good(response).await?).await?;
        let text = String::from_utf8_lossy(&bytes);
        output.result(&json!({ "prometheus": text }), &text);
        return Ok(0);
    };
    let path = format!("/sandboxes/{}/metrics", encode(&id));
    let series = Api::new(target).call(Method::GET, &path, None).await?;
    let samples = series.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = samples.iter().map(row).collect();
    let headings = [
        "TIME",
        "CPU %",
        "MEMORY MIB",
        "CACHE MIB",
        "OF MIB",
        "DISK MIB",
    ];
    output.result(&series, &table(&headings, &rows));
    Ok(0)
}

fn row(sample: &Value) -> Vec<String> {
    let mib = |name: &str| format!("{:.1}", sample[name].as_f64().unwrap_or(0.0) / MIB);
    vec![
        field(sample, "timestamp"),
        format!("{:.1}", sample["cpuUsedPct"].as_f64().unwrap_or(0.0)),
        mib("memUsed"),
        mib("memCache"),
        mib("memTotal"),
        mib("diskUsed"),
    ]
}
