//! `pool`: sandboxes kept ready.

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args::Pool;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field, table};
use crate::place::Place;

const SHOWN: [&str; 5] = ["template", "size", "ready", "making", "error"];

pub(crate) async fn run(place: &Place, command: Pool, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    match command {
        Pool::Set { template, size } => {
            let path = format!("/admin/pools/{}", encode(&template));
            let body = json!({ "size": size });
            let answer = api.call(Method::PUT, &path, Some(&body)).await?;
            output.result(&answer, "");
        }
        Pool::List => {
            let answer = api.call(Method::GET, "/admin/pools", None).await?;
            let row = |pool: &Value| SHOWN.map(|name| field(pool, name)).to_vec();
            let rows: Vec<Vec<String>> = answer.as_array().into_iter().flatten().map(row).collect();
            let heads = ["TEMPLATE", "SIZE", "READY", "MAKING", "ERROR"];
            output.result(&answer, &table(&heads, &rows));
        }
    }
    Ok(0)
}
