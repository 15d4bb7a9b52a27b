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
    all.push(Check {
        id: "isolation.commands".to_owned(),
        tries: format!(
            "as root and as user: {} commands that change or show the host",
            backend.commands().len()
        ),
        expects: "that each fails".to_owned(),
        run: Box::new(commands),
    });
    all
}

fn probe(scene: &mut Scene, user: &str, words: &[&str]) -> Outcome {
    if !scene.backend.shares_the_kernel() {
        return Err(Bad::NotHere("a kernel of its own".to_owned()));
    }
    let sandbox = scene.probed()?;
    scene.stack()?.holds(&sandbox, user, words)
}

fn commands(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let commands = scene.backend.commands();
    let stack = scene.stack()?;
    let mut absent = Vec::new();
    for user in ["root", "user"] {
        for command in commands {
            let ran = stack.shell(&sandbox, user, command)?;
            match ran.exit {
                Some(0) | None => return Err(Bad::Fails(format!("{user}: {command}: {ran:?}"))),
                Some(126 | 127) => absent.push(command.split(' ').next().unwrap_or_default()),
                Some(_) => {}
            }
        }
    }
    absent.sort_unstable();
    absent.dedup();
    let note = if absent.is_empty() {
        String::new()
    } else {
        format!("; not there: {}", absent.join(", "))
    };
    Ok(format!("{} fail{note}", 2 * commands.len()))
}
