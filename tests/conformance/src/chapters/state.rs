//! Pause, resume, snapshot, fork.

use serde_json::{Value, json};
use warder_harness::wait::until;

use crate::check::{Bad, Check, Outcome, Row, is, of_rows, that};
use crate::scene::Scene;
use crate::stack::{Sandbox, Stack};

const ROWS: &[Row] = &[
    (
        "pause-memory",
        "pause with memory while a process counts, resume",
        "the same process counts on from where it was",
        pause_memory,
    ),
    (
        "paused-stands",
        "look at a paused sandbox's file from its next life",
        "nothing went on while it was paused",
        paused_stands,
    ),
    (
        "pause-disk",
        "pause without memory, resume",
        "files are kept, processes are not",
        pause_disk,
    ),
    (
        "paused-refuses",
        "a command in a paused sandbox, a second pause",
        "502, 409",
        paused_refuses,
    ),
    (
        "paused-network",
        "a policy, then pause and resume",
        "the policy still holds",
        paused_network,
    ),
    (
        "deadline-pauses",
        "a sandbox that is to be paused at its deadline",
        "it is paused by itself, and wakes whole",
        deadline_pauses,
    ),
    (
        "snapshot",
        "snapshot of a running sandbox, another made of it",
        "files as they were then; the source runs on",
        snapshot,
    ),
    (
        "snapshot-apart",
        "change files in source and copy",
        "neither sees the other's",
        snapshot_apart,
    ),
    (
        "snapshot-lives",
        "end the source, use the snapshot, remove the snapshot",
        "it does not need the source; then it is gone",
        snapshot_lives,
    ),
    (
        "fork",
        "fork a sandbox in three",
        "each has the files and an id of its own",
        fork,
    ),
    (
        "kill-paused",
        "kill a paused sandbox",
        "404 afterwards",
        kill_paused,
    ),
];

pub(super) fn checks() -> Vec<Check> {
    of_rows("state", ROWS)
}

fn path(sandbox: &Sandbox, what: &str) -> String {
    format!("/sandboxes/{}{what}", sandbox.id())
}

fn pause(stack: &Stack, sandbox: &Sandbox, memory: bool) -> Result<(), Bad> {
    stack
        .ask(
            "POST",
            &path(sandbox, "/pause"),
            &json!({ "memory": memory }),
            204,
        )
        .map(drop)
}

fn wake(stack: &Stack, sandbox: &Sandbox) -> Result<(), Bad> {
    stack
        .ask(
            "POST",
            &path(sandbox, "/connect"),
            &json!({ "timeout": 600 }),
            201,
        )
        .map(drop)
}

/// A process that counts in a file; its number.
fn counter(stack: &Stack, sandbox: &Sandbox) -> Result<String, Bad> {
    let script = "n=0; while :; do n=$((n+1)); echo $n > /tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.02; done";
    let start = format!("sh -c '{script}' </dev/null >/dev/null 2>&1 & echo $!");
    let pid = stack.said(sandbox, "user", &start)?;
    counts_on(stack, sandbox, 0)?;
    Ok(pid)
}

fn count(stack: &Stack, sandbox: &Sandbox) -> Result<u64, Bad> {
    let text = stack.said(sandbox, "user", "cat /tmp/count")?;
    text.parse()
        .map_err(|_| Bad::Fails(format!("the counter says {text:?}")))
}

fn counts_on(stack: &Stack, sandbox: &Sandbox, from: u64) -> Result<u64, Bad> {
    Ok(until("the counter", || {
        count(stack, sandbox).ok().filter(|n| *n > from)
    })?)
}

fn pause_memory(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    let pid = counter(stack, &sandbox)?;
    let before = count(stack, &sandbox)?;
    pause(stack, &sandbox, true)?;
    let detail = stack.ask("GET", &path(&sandbox, ""), &Value::Null, 200)?;
    is("state", &detail["state"], &json!("paused"))?;
    wake(stack, &sandbox)?;
    stack.said(&sandbox, "user", &format!("kill -0 {pid}"))?;
    let after = counts_on(stack, &sandbox, before)?;
    Ok(format!("process {pid}: {before}, then {after}"))
}

fn paused_stands(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    counter(stack, &sandbox)?;
    // The file system is asked from outside of the processes: by a snapshot's copy of the disk after each pause.
    pause(stack, &sandbox, true)?;
    let resumed_at = |stack: &Stack| -> Result<u64, Bad> {
        wake(stack, &sandbox)?;
        count(stack, &sandbox)
    };
    // It would have counted fifty a second.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let first = resumed_at(stack)?;
    let grown = counts_on(stack, &sandbox, first + 20)?;
    pause(stack, &sandbox, true)?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let second = resumed_at(stack)?;
    that(second >= grown, || format!("{grown}, then {second}"))?;
    Ok(format!("{first}, {grown}, {second}"))
}

fn pause_disk(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({ "envVars": { "A": "b" } }))?;
    let pid = counter(stack, &sandbox)?;
    stack.said(&sandbox, "user", "echo kept > /home/user/word")?;
    pause(stack, &sandbox, false)?;
    wake(stack, &sandbox)?;
    is(
        "file",
        &stack
            .said(&sandbox, "user", "cat /home/user/word")?
            .as_str(),
        &"kept",
    )?;
    is(
        "variable",
        &stack.said(&sandbox, "user", "echo $A")?.as_str(),
        &"b",
    )?;
    let alive = stack.shell(
        &sandbox,
        "user",
        &format!("ps -axww -o pid= -o args= | grep -c '^ *{pid} .*count'"),
    )?;
    is("old processes", &alive.stdout.trim(), &"0")?;
    Ok("kept, and started anew".to_owned())
}

fn paused_refuses(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    pause(stack, &sandbox, true)?;
    let answer = stack.agent(&sandbox, "/process.Process/List", &json!({}))?;
    is("a command", &answer.status, &502)?;
    stack.ask("POST", &path(&sandbox, "/pause"), &json!({}), 409)?;
    Ok("502, 409".to_owned())
}

fn paused_network(scene: &mut Scene) -> Outcome {
    let (_, stack) = scene.internet()?;
    let sandbox = stack.create_with_probe(&json!({}))?;
    stack.ask(
        "PUT",
        &path(&sandbox, "/network"),
        &json!({ "denyOut": ["0.0.0.0/0"] }),
        204,
    )?;
    for memory in [true, false] {
        pause(stack, &sandbox, memory)?;
        wake(stack, &sandbox)?;
        // /tmp is memory on some systems, and goes with the processes.
        if stack
            .shell(
                &sandbox,
                "user",
                &format!("test -x {}", crate::stack::PROBE),
            )?
            .exit
            != Some(0)
        {
            stack.upload(
                &sandbox,
                "root",
                crate::stack::PROBE,
                &std::fs::read(std::env::current_exe()?)?,
            )?;
            stack.said(
                &sandbox,
                "root",
                &format!("chmod 755 {}", crate::stack::PROBE),
            )?;
        }
        stack.holds(
            &sandbox,
            "user",
            &["tcp", &crate::world::ALPHA.to_string(), "7"],
        )?;
    }
    Ok("refused each time".to_owned())
}

fn deadline_pauses(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({ "autoPause": true }))?;
    let pid = counter(stack, &sandbox)?;
    stack.ask(
        "POST",
        &path(&sandbox, "/timeout"),
        &json!({ "timeout": 1 }),
        204,
    )?;
    until("its pause", || {
        let detail = stack
            .ask("GET", &path(&sandbox, ""), &Value::Null, 200)
            .ok()?;
        (detail["state"] == "paused").then_some(())
    })?;
    wake(stack, &sandbox)?;
    stack.said(&sandbox, "user", &format!("kill -0 {pid}"))?;
    Ok("paused, then whole".to_owned())
}

/// A snapshot's name.
fn snap(stack: &Stack, sandbox: &Sandbox) -> Result<String, Bad> {
    let made = stack.ask("POST", &path(sandbox, "/snapshots"), &json!({}), 201)?;
    let name = made["snapshotID"].as_str().unwrap_or_default().to_owned();
    that(!name.is_empty(), || made.to_string())?;
    Ok(name)
}

fn unsnap(stack: &Stack, name: &str) -> Result<(), Bad> {
    let quoted = name.replace('/', "%2F").replace(':', "%3A");
    stack
        .ask("DELETE", &format!("/templates/{quoted}"), &Value::Null, 204)
        .map(drop)
}

fn snapshot(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let source = stack.create(&json!({}))?;
    let pid = counter(stack, &source)?;
    stack.said(&source, "user", "echo before > /home/user/word")?;
    let name = snap(stack, &source)?;
    stack.said(&source, "user", "echo after > /home/user/word")?;
    stack.said(&source, "user", &format!("kill -0 {pid}"))?;
    let copy = stack.create(&json!({ "templateID": name }))?;
    is(
        "the copy's file",
        &stack.said(&copy, "user", "cat /home/user/word")?.as_str(),
        &"before",
    )?;
    is(
        "the source's file",
        &stack.said(&source, "user", "cat /home/user/word")?.as_str(),
        &"after",
    )?;
    stack.remove(&copy)?;
    unsnap(stack, &name)?;
    Ok("before; after".to_owned())
}

fn snapshot_apart(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let source = stack.create(&json!({}))?;
    stack.said(
        &source,
        "root",
        "echo one > /etc/word; mkdir /var/deep; echo x > /var/deep/x",
    )?;
    let name = snap(stack, &source)?;
    let copy = stack.create(&json!({ "templateID": name }))?;
    stack.said(&copy, "root", "echo two > /etc/word; rm -r /var/deep")?;
    is(
        "the source",
        &stack
            .said(&source, "root", "cat /etc/word /var/deep/x")?
            .as_str(),
        &"one\nx",
    )?;
    let third = stack.create(&json!({ "templateID": name }))?;
    is(
        "another copy",
        &stack
            .said(&third, "root", "cat /etc/word /var/deep/x")?
            .as_str(),
        &"one\nx",
    )?;
    stack.remove(&copy)?;
    stack.remove(&third)?;
    unsnap(stack, &name)?;
    Ok("apart".to_owned())
}

fn snapshot_lives(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let source = stack.create(&json!({}))?;
    stack.said(&source, "user", "echo kept > /home/user/word")?;
    let name = snap(stack, &source)?;
    stack.remove(&source)?;
    let copy = stack.create(&json!({ "templateID": name }))?;
    is(
        "its file",
        &stack.said(&copy, "user", "cat /home/user/word")?.as_str(),
        &"kept",
    )?;
    unsnap(stack, &name)?;
    // Who was made of it goes on without it.
    is(
        "its file",
        &stack.said(&copy, "user", "cat /home/user/word")?.as_str(),
        &"kept",
    )?;
    stack.ask("POST", "/v2/sandboxes", &json!({ "templateID": name }), 404)?;
    Ok("kept, then 404".to_owned())
}

fn fork(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let source = stack.create(&json!({ "metadata": { "a": "b" } }))?;
    stack.said(&source, "user", "echo forked > /home/user/word")?;
    let forks = stack.ask("POST", &path(&source, "/fork"), &json!({ "count": 3 }), 201)?;
    let forks: Vec<Sandbox> = forks
        .as_array()
        .into_iter()
        .flatten()
        .map(|f| Sandbox(f["sandbox"].clone()))
        .collect();
    forks.iter().for_each(|f| stack.adopt(f));
    is("forks", &forks.len(), &3)?;
    let mut ids = vec![source.id()];
    for fork in &forks {
        that(!ids.contains(&fork.id()) && !fork.id().is_empty(), || {
            fork.0.to_string()
        })?;
        ids.push(fork.id());
        is(
            "its file",
            &stack.said(fork, "user", "cat /home/user/word")?.as_str(),
            &"forked",
        )?;
    }
    Ok("3".to_owned())
}

fn kill_paused(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    pause(stack, &sandbox, true)?;
    stack.remove(&sandbox)?;
    stack.ask("GET", &path(&sandbox, ""), &Value::Null, 404)?;
    Ok("204, 404".to_owned())
}
