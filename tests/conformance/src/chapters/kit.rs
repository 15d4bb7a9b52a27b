//! The suite for backends of plugins/sdk, against the plugin as it will be loaded and a host that fails where it is told to.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use warder_abi::message::kind;
use warder_abi::{Answer, Head, HostCalls, Instance, Plugin, PluginCalls};
use warder_sdk::conformance;

use crate::check::{Bad, Check, Outcome};
use crate::scene::Scene;

/// One check in a process of its own: a broken one panics, and a panic ends the process.
pub(super) fn checks() -> Vec<Check> {
    let id = |name: &str| name.replace([' ', ','], "-").replace("--", "-");
    conformance::names()
        .into_iter()
        .map(|name| Check {
            id: format!("kit.{}", id(name)),
            tries: format!("the kit for backends: {name}"),
            expects: "that the backend keeps to it".to_owned(),
            run: Box::new(move |scene| in_a_child(scene, name)),
        })
        .collect()
}

fn in_a_child(scene: &mut Scene, name: &str) -> Outcome {
    let plugin = scene.plugin();
    if !plugin.exists() {
        let why = format!("there is no {}", plugin.display());
        return Err(Bad::NotHere(why));
    }
    let own = std::env::current_exe()?;
    let out = Command::new(own)
        .arg("kit")
        .arg(plugin)
        .arg(name)
        .output()?;
    if out.status.success() {
        Ok("kept".to_owned())
    } else {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(Bad::Fails(said))
    }
}

/// What was loaded, as the kit calls it.
struct Loaded(Instance);

impl PluginCalls for Loaded {
    fn call(&self, head: Head, body: &[u8]) -> Answer {
        self.0.call(head, body)
    }
}

/// The child.
pub(crate) fn main(path: &Path, name: &str) -> ExitCode {
    let plugin = match Plugin::load(path, kind::BACKEND) {
        Ok(plugin) => plugin,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let make = |host: Arc<dyn HostCalls>| -> Box<dyn PluginCalls> {
        match plugin.instantiate(host) {
            Ok(object) => Box::new(Loaded(object)),
            Err(error) => panic!("{error}"),
        }
    };
    if conformance::one(name, &make) {
        ExitCode::SUCCESS
    } else {
        eprintln!("the kit has no such check");
        ExitCode::FAILURE
    }
}
