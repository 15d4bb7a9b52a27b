//! Attempts to get out, made inside a sandbox as root and as its user: see sys/probe.

use warder_probe::Who;

use crate::backend::Backend;
use crate::check::{Bad, Check, Outcome};
use crate::scene::Scene;

pub(super) fn checks(backend: Backend) -> Vec<Check> {
    let mut all = Vec::new();
    for attempt in warder_probe::attempts() {
        let users: &[&'static str] = match attempt.who {
            Who::Both => &["root", "user"],
            Who::User => &["user"],
        };
        for user in users {
            let (name, user) = (attempt.name, *user);
            all.push(Check {
                id: format!("isolation.{user}.{name}"),
                tries: format!("as {user}: {}", attempt.tries),
                expects: "that it is refused, or leads nowhere".to_owned(),
                run: Box::new(move |scene| probe(scene, user, &["attempt", name])),
            });
        }
    }
    for command in backend.commands() {
        all.push(Check {
            id: format!("isolation.command.{}", slug(command)),
            tries: format!("as root and as user: {command}"),
            expects: "that it fails".to_owned(),
            run: Box::new(move |scene| fails(scene, command)),
        });
    }
    all
}

fn probe(scene: &mut Scene, user: &str, words: &[&str]) -> Outcome {
    if !scene.backend.shares_the_kernel() {
        return Err(Bad::NotHere("a kernel of its own".to_owned()));
    }
    let sandbox = scene.probed()?;
    scene.stack()?.holds(&sandbox, user, words)
}

/// The words of a command line as a word of an id.
fn slug(command: &str) -> String {
    let words = command.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

/// A program that is not there bans nothing, and neither does one that cannot be run: then nothing was tried.
fn fails(scene: &mut Scene, command: &str) -> Outcome {
    if !scene.backend.shares_the_kernel() {
        return Err(Bad::NotHere("a kernel of its own".to_owned()));
    }
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let program = command.split(' ').next().unwrap_or_default();
    let path = "PATH=$PATH:/sbin:/usr/sbin; export PATH";
    let mut seen = Vec::new();
    for user in ["root", "user"] {
        let there = stack.shell(&sandbox, user, &format!("{path}; command -v {program}"))?;
        if there.exit != Some(0) {
            return Err(Bad::NotHere(format!("the sandbox has no {program}")));
        }
        let ran = stack.shell(&sandbox, user, &format!("{path}; {command}"))?;
        match ran.exit {
            Some(0) | None => return Err(Bad::Fails(format!("{user}: {ran:?}"))),
            Some(126 | 127) => {
                return Err(Bad::NotHere(format!(
                    "{user} cannot run it: {}",
                    ran.stderr
                )));
            }
            Some(status) => seen.push(format!("{user}: {status} {}", ran.stderr.trim())),
        }
    }
    Ok(seen.join("; "))
}
