//! kill -9 of each daemon, by its number: nothing is lost, nothing is left, and it serves again.

use serde_json::{Value, json};
use warder_harness::leftovers;
use warder_harness::wait::until;

use crate::check::{Bad, Check, Outcome, Row, is, of_rows, that};
use crate::scene::Scene;
use crate::stack::{Sandbox, Stack};

const ROWS: &[Row] = &[
    (
        "netd",
        "kill -9 of netd under living sandboxes",
        KEPT,
        |scene| daemon(scene, "netd"),
    ),
    (
        "egressd",
        "kill -9 of egressd under living sandboxes",
        KEPT,
        |scene| daemon(scene, "egressd"),
    ),
    (
        "pluginhost",
        "kill -9 of pluginhost under living sandboxes",
        KEPT,
        |scene| daemon(scene, "pluginhost"),
    ),
    (
        "gatewayd",
        "kill -9 of gatewayd under living sandboxes",
        KEPT,
        |scene| daemon(scene, "gatewayd"),
    ),
    (
        "privd",
        "kill -9 of privd under living sandboxes, then start it",
        KEPT,
        privd,
    ),
    (
        "deadline",
        "a deadline that passes while privd is dead",
        "the sandbox is gone once it is back",
        deadline,
    ),
    (
        "envd",
        "kill -9 of the first process of a sandbox, from the host",
        "that sandbox ends, another lives",
        envd,
    ),
    (
        "leftovers",
        "what there is of the instance after all that, against what it was before",
        "no more",
        leftovers_after,
    ),
];

const KEPT: &str = "files, processes and policies are kept, and sandboxes can be made and ended";

pub(super) fn checks() -> Vec<Check> {
    of_rows("crash", ROWS)
}

/// A sandbox with something to lose.
struct Resident {
    sandbox: Sandbox,
    pid: String,
}

impl Resident {
    fn settle(stack: &mut Stack) -> Result<Self, Bad> {
        let sandbox = stack.create_with_probe(&json!({}))?;
        stack.ask(
            "PUT",
            &format!("/sandboxes/{}/network", sandbox.id()),
            &json!({ "denyOut": ["0.0.0.0/0"] }),
            204,
        )?;
        stack.said(&sandbox, "user", "echo kept > /home/user/word")?;
        let pid = stack.said(
            &sandbox,
            "user",
            "sleep 100000 </dev/null >/dev/null 2>&1 & echo $!",
        )?;
        Ok(Self { sandbox, pid })
    }

    fn is_whole(&self, stack: &Stack) -> Result<(), Bad> {
        let told = stack.said(
            &self.sandbox,
            "user",
            &format!("cat /home/user/word; kill -0 {} && echo lives", self.pid),
        )?;
        is("the sandbox", &told.as_str(), &"kept\nlives")?;
        stack.holds(
            &self.sandbox,
            "user",
            &["tcp", &crate::world::ALPHA.to_string(), "7"],
        )?;
        let listed = stack.listed()?;
        that(listed.iter().any(|id| id == self.sandbox.id()), || {
            "it is not listed".to_owned()
        })
    }
}

/// A create, a command and a kill; refused for now is not refused.
fn usable(stack: &mut Stack) -> Result<(), Bad> {
    let mut last = None;
    until("a sandbox that can be made", || {
        let made = stack.create(&json!({}));
        let done = made.and_then(|s| {
            is(
                "a command",
                &stack.said(&s, "user", "echo works")?.as_str(),
                &"works",
            )?;
            stack.remove(&s)
        });
        match done {
            Ok(()) => Some(()),
            Err(bad) => {
                last = Some(bad);
                None
            }
        }
    })
    .map_err(|why| Bad::Fails(format!("{why}: {last:?}")))
}

fn daemon(scene: &mut Scene, name: &'static str) -> Outcome {
    let stack = scene.stack()?;
    let resident = Resident::settle(stack)?;
    let old = stack
        .daemon(name)?
        .ok_or_else(|| format!("there is no {name} below privd"))?
        .pid;
    warder_harness::processes::kill(old)?;
    let new = until("another one", || {
        stack.daemon(name).ok().flatten().filter(|p| p.pid != old)
    })?;
    stack.await_http()?;
    usable(stack)?;
    // What is proxied or asked for meanwhile may be refused; once it serves nothing is.
    resident.is_whole(stack)?;
    stack.remove(&resident.sandbox)?;
    Ok(format!("{old}, then {}", new.pid))
}

fn privd(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let resident = Resident::settle(stack)?;
    let old = stack.privd_pid();
    stack.kill_privd()?;
    stack.launch()?;
    stack.await_http()?;
    usable(stack)?;
    resident.is_whole(stack)?;
    stack.remove(&resident.sandbox)?;
    Ok(format!("{old:?}, then {:?}", stack.privd_pid()))
}

fn deadline(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    let path = format!("/sandboxes/{}/timeout", sandbox.id());
    stack.ask("POST", &path, &json!({ "timeout": 1 }), 204)?;
    stack.kill_privd()?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    stack.launch()?;
    stack.await_http()?;
    until("its end", || {
        let answer = stack
            .api("GET", &format!("/sandboxes/{}", sandbox.id()), &Value::Null)
            .ok()?;
        (answer.status == 404).then_some(())
    })?;
    Ok("gone".to_owned())
}

fn envd(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let other = stack.create(&json!({}))?;
    let before: Vec<i32> = agents()?;
    let victim = stack.create(&json!({}))?;
    let new: Vec<i32> = agents()?
        .into_iter()
        .filter(|pid| !before.contains(pid))
        .collect();
    // Others may come and go on this host; with more than one the right one is not known.
    let [pid] = new[..] else {
        return Err(Bad::NotHere(format!(
            "{} agents began meanwhile",
            new.len()
        )));
    };
    warder_harness::processes::kill(pid)?;
    until("its end", || {
        let answer = stack
            .api("GET", &format!("/sandboxes/{}", victim.id()), &Value::Null)
            .ok()?;
        (answer.status == 404).then_some(())
    })?;
    stack.said(&other, "user", "true")?;
    Ok("ended".to_owned())
}

fn agents() -> Result<Vec<i32>, String> {
    let all = warder_harness::processes::all()?.into_iter();
    Ok(all
        .filter(|p| p.name.rsplit('/').next() == Some("envd"))
        .map(|p| p.pid)
        .collect())
}

/// With no sandbox left it must come to what a fresh instance has: its ready slots and its own directories.
fn leftovers_after(scene: &mut Scene) -> Outcome {
    scene.forget_probed();
    let stack = scene.stack()?;
    for id in stack.listed()? {
        stack.ask("DELETE", &format!("/sandboxes/{id}"), &Value::Null, 204)?;
    }
    let sandboxes = |stack: &Stack| -> Vec<String> {
        let all = leftovers::of(&stack.tag.to_string(), stack.dir());
        // Sandbox ids are an i and twenty letters or digits; nothing else of an instance has such a word in its name.
        let named = |line: &String| {
            line.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|w| w.len() == 21 && w.starts_with('i'))
        };
        all.into_iter().filter(named).collect()
    };
    until("that nothing bears a sandbox's name", || {
        sandboxes(stack).is_empty().then_some(())
    })
    .map_err(|why| Bad::Fails(format!("{why}: {:?}", sandboxes(stack))))?;
    Ok("nothing of a sandbox".to_owned())
}
