//! The end of an instance: what it had on the host is gone.

use serde_json::json;
use warder_harness::leftovers;
use warder_harness::wait::until;

use crate::check::{Bad, Check, Outcome, Row, of_rows, that};
use crate::scene::Scene;

const ROWS: &[Row] = &[
    (
        "visible",
        "what the host shows of a running instance with a sandbox",
        "something, or the next check would prove nothing",
        visible,
    ),
    (
        "clean",
        "stop privd with a running, a paused and an unfinished sandbox",
        "nothing of the instance is left on the host",
        clean,
    ),
];

pub(super) fn checks() -> Vec<Check> {
    of_rows("end", ROWS)
}

fn visible(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    stack.create(&json!({}))?;
    let seen = leftovers::of(&stack.tag.to_string(), stack.dir());
    that(!seen.is_empty(), || "nothing".to_owned())?;
    Ok(format!("{} names", seen.len()))
}

fn clean(scene: &mut Scene) -> Outcome {
    scene.forget_probed();
    let stack = scene.stack()?;
    stack.create(&json!({}))?;
    let paused = stack.create(&json!({}))?;
    stack.ask(
        "POST",
        &format!("/sandboxes/{}/pause", paused.id()),
        &json!({ "memory": true }),
        204,
    )?;
    // One that nobody waits for: its create may be anywhere when privd is told to end.
    let address = stack.address;
    drop(warder_harness::http::tcp(address));
    stack.stop()?;
    let (tag, dir) = (stack.tag.to_string(), stack.dir().to_owned());
    let left = || leftovers::of(&tag, &dir);
    until("that nothing is left", || left().is_empty().then_some(()))
        .map_err(|why| Bad::Fails(format!("{why}: {:?}", left())))?;
    Ok("nothing".to_owned())
}
