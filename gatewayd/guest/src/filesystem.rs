//! `filesystem.Filesystem`.
use crate::agent::Agent;
use crate::http::rpc::{Answer, Call};

pub(crate) async fn call(_agent: &Agent, _method: &str, _call: Call) -> Option<Answer> {
    None
}
