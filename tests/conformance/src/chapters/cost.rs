//! What things cost here: printed, never judged.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::{Bad, Check, Outcome, Row, of_rows};
use crate::scene::Scene;

const ROWS: &[Row] = &[
    (
        "create",
        "create, first output and kill, one at a time, 20 times",
        "figures",
        create,
    ),
    (
        "exec",
        "run /bin/echo 40 times in a living sandbox",
        "figures",
        exec,
    ),
    (
        "pause",
        "pause with memory and resume, 10 times",
        "figures",
        pause,
    ),
    (
        "snapshot",
        "snapshot of a sandbox with a megabyte changed, 5 times",
        "figures",
        snapshot,
    ),
    ("idle", "ten idle sandboxes", "figures", idle),
];

pub(super) fn checks() -> Vec<Check> {
    of_rows("cost", ROWS)
}

/// Median and the worst, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |d: Option<&Duration>| d.map_or(0.0, |d| d.as_secs_f64() * 1000.0);
    format!(
        "median {:.1} ms, worst {:.1} ms of {}",
        ms(times.get(times.len() / 2)),
        ms(times.last()),
        times.len()
    )
}

fn timed<T>(times: &mut Vec<Duration>, act: impl FnOnce() -> Result<T, Bad>) -> Result<T, Bad> {
    let begun = Instant::now();
    let done = act()?;
    times.push(begun.elapsed());
    Ok(done)
}

fn create(scene: &mut Scene) -> Outcome {
    let (mut first, mut kills) = (Vec::new(), Vec::new());
    let stack = scene.stack()?;
    for _ in 0..20 {
        let sandbox = timed(&mut first, || {
            let sandbox = stack.create(&json!({}))?;
            stack.said(&sandbox, "user", "echo")?;
            Ok(sandbox)
        })?;
        timed(&mut kills, || stack.remove(&sandbox))?;
    }
    let (first, kills) = (spread(first), spread(kills));
    scene.figure("create to first output", first.clone());
    scene.figure("kill until answered", kills);
    Ok(first)
}

fn exec(scene: &mut Scene) -> Outcome {
    let mut times = Vec::new();
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    for _ in 0..40 {
        timed(&mut times, || stack.said(&sandbox, "user", "echo"))?;
    }
    let seen = spread(times);
    scene.figure("command, start to end", seen.clone());
    Ok(seen)
}

fn pause(scene: &mut Scene) -> Outcome {
    let (mut pauses, mut wakes) = (Vec::new(), Vec::new());
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    for _ in 0..10 {
        let path = |what: &str| format!("/sandboxes/{}/{what}", sandbox.id());
        timed(&mut pauses, || {
            stack.ask("POST", &path("pause"), &json!({ "memory": true }), 204)
        })?;
        timed(&mut wakes, || {
            stack.ask("POST", &path("connect"), &json!({ "timeout": 600 }), 201)
        })?;
    }
    let seen = spread(pauses);
    scene.figure("pause with memory", seen.clone());
    scene.figure("resume", spread(wakes));
    Ok(seen)
}

fn snapshot(scene: &mut Scene) -> Outcome {
    let mut times = Vec::new();
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    stack.said(
        &sandbox,
        "user",
        "dd if=/dev/zero of=/home/user/block bs=1024 count=1024 2>/dev/null",
    )?;
    let mut names = Vec::new();
    for _ in 0..5 {
        let path = format!("/sandboxes/{}/snapshots", sandbox.id());
        let made = timed(&mut times, || stack.ask("POST", &path, &json!({}), 201))?;
        names.push(made["snapshotID"].as_str().unwrap_or_default().to_owned());
    }
    for name in names {
        let path = format!(
            "/templates/{}",
            name.replace('/', "%2F").replace(':', "%3A")
        );
        stack.ask("DELETE", &path, &serde_json::Value::Null, 204)?;
    }
    let seen = spread(times);
    scene.figure("snapshot", seen.clone());
    Ok(seen)
}

fn idle(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let resident = || -> Result<Vec<(i32, u64)>, String> {
        let all = warder_harness::processes::all()?.into_iter();
        Ok(all
            .filter(|p| p.name.rsplit('/').next() == Some("envd"))
            .map(|p| (p.pid, p.resident))
            .collect())
    };
    let before = resident()?;
    for _ in 0..10 {
        stack.create(&json!({}))?;
    }
    let new: Vec<u64> = resident()?
        .into_iter()
        .filter(|(pid, _)| !before.iter().any(|(p, _)| p == pid))
        .map(|(_, kib)| kib)
        .collect();
    if new.is_empty() {
        return Err(Bad::NotHere(
            "the agents are not to be seen from here".to_owned(),
        ));
    }
    // Pages that all agents share are counted for each.
    let each = new.iter().sum::<u64>() / new.len() as u64;
    scene.figure(
        "idle agent, resident with what is shared",
        format!("{each} KiB"),
    );
    Ok(format!("{each} KiB each"))
}
