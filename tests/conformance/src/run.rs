//! One run: the checks chosen, the stack they are made on, and what came of them.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::args::Args;
use crate::backend::Backend;
use crate::chapters;
use crate::check::{Bad, Check, matches};
use crate::remains::{self, RunDir};
use crate::report::{Report, Row, Verdict};
use crate::scene::Scene;
use crate::stack::{Stack, find_stage};
use crate::world::{DNS, Internet};

/// Says that this process has the host's network for itself.
const MARK: &str = "WARDER_CONFORMANCE_HOST";

pub(crate) fn main(args: &Args) -> ExitCode {
    let checks: Vec<Check> = chapters::all(args.backend)
        .into_iter()
        .filter(|check| args.only.is_empty() || args.only.iter().any(|p| matches(p, &check.id)))
        .collect();
    if args.list {
        let mut out = std::io::stdout().lock();
        for check in &checks {
            let (id, tries, expects) = (&check.id, &check.tries, &check.expects);
            // Who reads it may have seen enough.
            if writeln!(out, "{id:<38}  {tries}  |  expected: {expects}").is_err() {
                break;
            }
        }
        return ExitCode::SUCCESS;
    }
    // One that was meant and is not made would be taken for one that holds.
    let ids = chapters::all(args.backend);
    let nothing = |glob: &&String| !ids.iter().any(|check| matches(glob, &check.id));
    if let Some(glob) = args.only.iter().chain(&args.allow_missing).find(nothing) {
        eprintln!("warder-conformance: no check matches {glob}; see --list");
        return ExitCode::from(2);
    }
    // On Linux everything happens in a network of its own, and goes with the last process of it.
    if args.backend == Backend::Namespace
        && args.backend.fits_here()
        && std::env::var_os(MARK).is_none()
    {
        return in_a_network_of_its_own();
    }
    match run(args, checks) {
        Ok(report) => finish(args, &report),
        Err(why) => {
            eprintln!("warder-conformance: {why}");
            ExitCode::from(2)
        }
    }
}

fn in_a_network_of_its_own() -> ExitCode {
    let own = std::env::current_exe();
    // In this process, so that who ends it ends the run.
    let failed = own.map(|own| {
        Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--"])
            .arg(own)
            .args(std::env::args_os().skip(1))
            .env(MARK, "1")
            .exec()
    });
    let (Ok(error) | Err(error)) = failed;
    eprintln!("warder-conformance: unshare(1) of util-linux: {error}");
    ExitCode::from(2)
}

fn run(args: &Args, checks: Vec<Check>) -> Result<Report, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("privd makes sandboxes as root; run this as root".to_owned());
    }
    if !args.backend.fits_here() {
        return Err(format!(
            "the {} backend is for {}",
            args.backend,
            args.backend.system()
        ));
    }
    let stage = find_stage(args.stage.as_deref())?;
    let needed = checks.iter().any(|check| !check.id.starts_with("kit."));
    let mut scene = if let Some(why) = args.backend.lacks().filter(|_| needed) {
        Scene::none(args.backend, &stage, why)
    } else if needed {
        open(args, &stage)?
    } else {
        Scene::none(args.backend, &stage, "no check needs it")
    };
    let mut rows = Vec::new();
    for check in checks {
        let outcome = (check.run)(&mut scene);
        remains::stop_if_told();
        scene.sweep();
        let row = Row::new(&check.id, &check.tries, &check.expects, outcome);
        if !args.json {
            println!("{}", row.line());
        }
        rows.push(row);
    }
    remains::stop_if_told();
    let (stack, internet, figures) = scene.close();
    if let Ok(mut stack) = stack {
        if let Err(why) = stack.stop() {
            rows.push(Row::new(
                "stack.end",
                "stop privd at the end of the run",
                "that it ends well",
                Err(Bad::Fails(why)),
            ));
            if !args.json {
                rows.iter()
                    .last()
                    .iter()
                    .for_each(|row| println!("{}", row.line()));
            }
        }
        let failed = rows.iter().any(|row| row.verdict == Verdict::Fails);
        if failed {
            eprintln!("privd's log ends: {}", stack.log_end());
        }
        if args.keep
            && let Some(dir) = stack.keep_dir()
        {
            eprintln!("kept: {}", dir.display());
        }
    }
    drop(internet);
    let uname = rustix::system::uname();
    Ok(Report {
        backend: args.backend,
        system: format!(
            "{} {}",
            uname.sysname().to_string_lossy(),
            numbers(&uname.release().to_string_lossy())
        ),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rows,
        figures,
    })
}

/// The numbers of a release: what follows them names a machine's own build.
fn numbers(release: &str) -> String {
    let own = release.split(|c: char| !c.is_ascii_digit() && c != '.');
    own.take(1).collect()
}

/// The stack and what is around it. Without an internet the rest is tried all the same.
fn open(args: &Args, stage: &Path) -> Result<Scene, String> {
    remains::end_when_told()?;
    remains::clear_all();
    let log = RunDir::new()?;
    let internet = Internet::make(args.backend, log.path(), args.take_default_route);
    // Names in policies are resolved by the server beside the host, if there is one.
    let mut lines = args.line.clone();
    if internet.is_ok() && !lines.iter().any(|l| l.starts_with("dns_servers ")) {
        lines.push(format!("dns_servers {DNS}"));
    }
    let stack = Stack::start(stage, args.backend, &lines);
    remains::stop_if_told();
    let why = stack.as_ref().err().cloned();
    let mut scene = Scene::new(args.backend, stage, stack, internet);
    scene.log_dir(log);
    if let Some(why) = why {
        let row = Row::new(
            "stack.start",
            "start privd, and it the rest",
            "that it serves",
            Err(Bad::Fails(why)),
        );
        println!("{}", row.line());
        return Err("the stack does not start".to_owned());
    }
    Ok(scene)
}

fn finish(args: &Args, report: &Report) -> ExitCode {
    let text = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
    if args.json {
        print!("{text}");
    } else {
        println!("{}", report.summary());
    }
    if let Some(file) = &args.json_file
        && let Err(error) = std::fs::write(file, text)
    {
        eprintln!("warder-conformance: {}: {error}", file.display());
        return ExitCode::from(2);
    }
    let missing: Vec<&str> = report
        .rows
        .iter()
        .filter(|row| row.verdict == Verdict::NotHere)
        .map(|row| row.id.as_str())
        .filter(|id| !args.allow_missing.iter().any(|glob| matches(glob, id)))
        .collect();
    if !missing.is_empty() {
        eprintln!("warder-conformance: not tried here: {}", missing.join(" "));
    }
    let broken = report.count(Verdict::Fails) > 0 || !missing.is_empty();
    if !broken && report.count(Verdict::Holds) > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
