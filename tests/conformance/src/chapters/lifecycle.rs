//! The life of a sandbox over HTTP, and commands in it through E2B's agent API.

use serde_json::{Value, json};
use warder_harness::wait::until;

use crate::check::{Check, Outcome, Row, is, of_rows, that};
use crate::scene::Scene;

const ROWS: &[Row] = &[
    ("health", "GET /health without a key", "2xx", health),
    (
        "no-key",
        "GET /v2/sandboxes without a key, and with a wrong one",
        "401 each",
        no_key,
    ),
    (
        "unknown-template",
        "create of a template that is not there",
        "404 and no sandbox",
        unknown_template,
    ),
    (
        "create",
        "create, detail, list, kill, detail",
        "it is there, then it is not",
        create,
    ),
    (
        "metadata",
        "create with metadata, list by it",
        "that one alone",
        metadata,
    ),
    (
        "kill-unknown",
        "kill of a sandbox that is not there",
        "404",
        kill_unknown,
    ),
    (
        "deadline",
        "a sandbox with one second to live",
        "it is gone by itself",
        deadline,
    ),
    (
        "timeout",
        "move a deadline to later and to sooner",
        "endAt moves both ways",
        timeout,
    ),
    (
        "variables",
        "create with variables, read by a command",
        "the command has them",
        variables,
    ),
    (
        "exec",
        "run commands: output, errors, exit codes",
        "as they are",
        exec,
    ),
    (
        "users",
        "run commands as root and as user",
        "ids 0 and not 0",
        users,
    ),
    (
        "many-commands",
        "twenty commands one after the other",
        "each its own output",
        many_commands,
    ),
    (
        "list-processes",
        "list processes, signal one",
        "it is listed, then it is gone",
        processes,
    ),
    (
        "port",
        "a server on 127.0.0.1 in a sandbox, through the gateway",
        "its answer",
        port,
    ),
    (
        "port-closed",
        "a port on which nothing listens, through the gateway",
        "502",
        port_closed,
    ),
    (
        "foreign-token",
        "run a command with another sandbox's token",
        "401 or 403",
        foreign_token,
    ),
    (
        "templates",
        "list templates",
        "base is among them",
        templates,
    ),
    (
        "at-once",
        "eight creates at once, a command in each",
        "eight sandboxes that work",
        at_once,
    ),
];

pub(super) fn checks() -> Vec<Check> {
    of_rows("lifecycle", ROWS)
}

fn health(scene: &mut Scene) -> Outcome {
    let answer = scene.stack()?.send("GET", "/health", &[], b"")?;
    that((200..300).contains(&answer.status), || {
        answer.status.to_string()
    })?;
    Ok(answer.status.to_string())
}

fn no_key(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    for headers in [
        vec![],
        vec![("X-API-KEY", "e2b_0000000000000000000000000000000000000000")],
    ] {
        let answer = stack.send("GET", "/v2/sandboxes", &headers, b"")?;
        is("status", &answer.status, &401)?;
    }
    Ok("401, 401".to_owned())
}

fn unknown_template(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let before = stack.listed()?.len();
    stack.ask(
        "POST",
        "/v2/sandboxes",
        &json!({ "templateID": "no-such-template" }),
        404,
    )?;
    is("sandboxes", &stack.listed()?.len(), &before)?;
    Ok("404".to_owned())
}

fn create(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let made = stack.create(&json!({}))?;
    let path = format!("/sandboxes/{}", made.id());
    let detail = stack.described(&made)?;
    is("state", &detail["state"], &json!("running"))?;
    that(stack.listed()?.iter().any(|id| id == made.id()), || {
        "it is not listed".to_owned()
    })?;
    stack.remove(&made)?;
    stack.ask("GET", &path, &Value::Null, 404)?;
    that(stack.listed()?.iter().all(|id| id != made.id()), || {
        "it is still listed".to_owned()
    })?;
    Ok("201, 200, 204, 404".to_owned())
}

fn metadata(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let made = stack.create(&json!({ "metadata": { "part": "one" } }))?;
    stack.create(&json!({ "metadata": { "part": "two" } }))?;
    let list = stack.ask(
        "GET",
        "/v2/sandboxes?metadata=part%3Done",
        &Value::Null,
        200,
    )?;
    let ids: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["sandboxID"].as_str())
        .collect();
    is("listed", &ids, &vec![made.id()])?;
    Ok("that one".to_owned())
}

fn kill_unknown(scene: &mut Scene) -> Outcome {
    scene.stack()?.ask(
        "DELETE",
        "/sandboxes/i00000000000000000000",
        &Value::Null,
        404,
    )?;
    Ok("404".to_owned())
}

fn deadline(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    // Made with a longer one: a host on which a create takes a second would end it before it was there.
    let made = stack.create(&json!({}))?;
    let path = format!("/sandboxes/{}", made.id());
    let soon = json!({ "timeout": 1 });
    stack.ask("POST", &format!("{path}/timeout"), &soon, 204)?;
    until("its end", || {
        let answer = stack.api("GET", &path, &Value::Null).ok()?;
        (answer.status == 404).then_some(())
    })?;
    Ok("gone".to_owned())
}

fn timeout(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let made = stack.create(&json!({ "timeout": 100 }))?;
    let path = format!("/sandboxes/{}", made.id());
    let mut ends = Vec::new();
    for seconds in [100, 2000, 50] {
        stack.ask(
            "POST",
            &format!("{path}/timeout"),
            &json!({ "timeout": seconds }),
            204,
        )?;
        let detail = stack.ask("GET", &path, &Value::Null, 200)?;
        // As texts, times of one form and zone are in order.
        ends.push(detail["endAt"].as_str().unwrap_or_default().to_owned());
    }
    that(ends[0] < ends[1] && ends[2] < ends[1], || ends.join(", "))?;
    Ok("later, then sooner".to_owned())
}

fn variables(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let made = stack.create(&json!({ "envVars": { "COLOUR": "blue and red" } }))?;
    is(
        "COLOUR",
        &stack.said(&made, "user", "echo $COLOUR")?.as_str(),
        &"blue and red",
    )?;
    Ok("it has".to_owned())
}

fn exec(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let ran = stack.shell(&sandbox, "user", "echo out; echo err >&2; exit 7")?;
    is("exit code", &ran.exit, &Some(7))?;
    is(
        "output",
        &(ran.stdout.as_str(), ran.stderr.as_str()),
        &("out\n", "err\n"),
    )?;
    let ran = stack.shell(&sandbox, "user", "kill -9 $$")?;
    that(ran.exit != Some(0), || format!("{ran:?}"))?;
    let long = stack.said(
        &sandbox,
        "user",
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done | tail -1",
    )?;
    is("the last of 20000 lines", &long.as_str(), &"line 19999")?;
    Ok("7, out and err apart, 20000 lines".to_owned())
}

fn users(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    is(
        "root",
        &stack.said(&sandbox, "root", "id -u")?.as_str(),
        &"0",
    )?;
    let user = stack.said(&sandbox, "user", "id -u")?;
    that(user.parse::<u32>().is_ok_and(|id| id != 0), || user.clone())?;
    let ran = stack.shell(&sandbox, "nobody-of-that-name", "id")?;
    that(ran.exit.is_none(), || {
        format!("an unknown user runs: {ran:?}")
    })?;
    Ok(format!("0 and {user}"))
}

fn many_commands(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    for number in 0..20 {
        is(
            "output",
            &stack.said(&sandbox, "user", &format!("echo {number}"))?,
            &number.to_string(),
        )?;
    }
    Ok("20".to_owned())
}

fn processes(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    let there = |stack: &crate::stack::Stack, pid: u64| -> Result<bool, crate::check::Bad> {
        let list = stack
            .agent(&sandbox, "/process.Process/List", &json!({}))?
            .json();
        let all = list["processes"].as_array().cloned().unwrap_or_default();
        Ok(all.iter().any(|p| p["pid"] == pid))
    };
    // Its own number is said by the shell, which becomes the program.
    let stack = &*stack;
    let (pid, signalled) = std::thread::scope(|scope| {
        let run =
            scope.spawn(|| stack.shell(&sandbox, "user", "echo $$ > /tmp/pid; exec sleep 600"));
        let pid = until("its number", || {
            stack
                .said(&sandbox, "user", "cat /tmp/pid")
                .ok()?
                .parse::<u64>()
                .ok()
        });
        let told = pid.clone().and_then(|pid| {
            let listed = there(stack, pid).map_err(|bad| format!("{bad:?}"))?;
            let body = json!({ "process": { "pid": pid }, "signal": "SIGNAL_SIGKILL" });
            let answer = stack
                .agent(&sandbox, "/process.Process/SendSignal", &body)
                .map_err(|bad| format!("{bad:?}"))?;
            Ok((listed, answer.status))
        });
        let _ = run.join();
        (pid, told)
    });
    let (listed, status) = signalled?;
    is("listed, signalled", &(listed, status), &(true, 200))?;
    let pid = pid?;
    until("its end", || {
        (!there(stack, pid).unwrap_or(true)).then_some(())
    })?;
    Ok("listed, signalled, gone".to_owned())
}

fn port(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    stack.said(&sandbox, "user", &background("serve 127.0.0.1 8123"))?;
    let answer = until("an answer", || {
        let answer = stack
            .inside(&sandbox, 8123, ("GET", "/"), "text/plain", b"")
            .ok()?;
        (answer.status == 200).then_some(answer)
    })?;
    is("body", &answer.text().as_str(), &"served")?;
    Ok("200 served".to_owned())
}

/// The probe, left running.
pub(super) fn background(words: &str) -> String {
    format!(
        "{} probe {words} </dev/null >/tmp/{}.out 2>&1 & echo started",
        crate::stack::PROBE,
        words.split(' ').next().unwrap_or_default()
    )
}

fn port_closed(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let answer = scene
        .stack()?
        .inside(&sandbox, 8999, ("GET", "/"), "text/plain", b"")?;
    is("status", &answer.status, &502)?;
    Ok("502".to_owned())
}

fn foreign_token(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let (one, mut other) = (stack.create(&json!({}))?, stack.create(&json!({}))?);
    other.0["envdAccessToken"] = one.0["envdAccessToken"].clone();
    let answer = stack.agent(&other, "/process.Process/List", &json!({}))?;
    that([401, 403].contains(&answer.status), || {
        answer.status.to_string()
    })?;
    Ok(answer.status.to_string())
}

fn templates(scene: &mut Scene) -> Outcome {
    let list = scene.stack()?.ask("GET", "/templates", &Value::Null, 200)?;
    that(list.to_string().contains("\"base\""), || list.to_string())?;
    Ok("base".to_owned())
}

fn at_once(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let body = json!({ "templateID": "base", "timeout": 600 });
    let asked = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| stack.ask("POST", "/v2/sandboxes", &body, 201)))
            .collect();
        all.into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    let mut made = Vec::new();
    for one in asked {
        made.push(crate::stack::Sandbox(
            one.map_err(|_| "a client panicked")??,
        ));
    }
    for sandbox in &made {
        stack.adopt(sandbox);
    }
    for (number, sandbox) in made.iter().enumerate() {
        is(
            "output",
            &stack.said(sandbox, "user", &format!("echo {number}"))?,
            &number.to_string(),
        )?;
    }
    Ok("8".to_owned())
}
