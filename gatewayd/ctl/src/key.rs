//! `key`: API keys.

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args::Key;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field, table};
use crate::place::Place;

pub(crate) async fn run(place: &Place, command: Key, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    match command {
        Key::Create { name } => {
            let answer = api
                .call(Method::POST, "/admin/keys", Some(&json!({ "name": name })))
                .await?;
            output.result(&answer, &field(&answer, "key"));
        }
        Key::List => {
            let answer = api.call(Method::GET, "/admin/keys", None).await?;
            let row = |key: &Value| ["id", "name", "createdAt"].map(|f| field(key, f)).to_vec();
            let rows: Vec<Vec<String>> = answer.as_array().into_iter().flatten().map(row).collect();
            output.result(&answer, &table(&["ID", "NAME", "CREATED"], &rows));
        }
        Key::Revoke { id } => {
            let path = format!("/admin/keys/{}", encode(&id));
            api.call(Method::DELETE, &path, None).await?;
            output.result(&json!({ "revoked": id }), "");
        }
    }
    Ok(0)
}
