//! Limits: each is enforced, or reported as absent; both are looked at.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::check::{Bad, Check, Outcome, Row, is, of_rows, that};
use crate::scene::Scene;
use crate::stack::Stack;

const ROWS: &[Row] = &[
    (
        "reported",
        "ask what limits this host enforces",
        "a word for each of memory, cpu, pids, disk",
        reported,
    ),
    (
        "pids",
        "start 1100 threads where 1024 processes and threads are allowed",
        "refused, and a neighbour works; or reported as absent",
        pids,
    ),
    (
        "memory",
        "take 1280 MiB where 1024 are allowed",
        "refused or ended inside, and a neighbour works; or reported as absent",
        memory,
    ),
    (
        "cpu",
        "two threads at once where one processor is allowed",
        "the processor time of one; or reported as absent",
        cpu,
    ),
    (
        "disk",
        "the size of the root where 10 GiB are allowed",
        "no more; or reported as absent",
        disk,
    ),
    (
        "metrics",
        "ask for a sandbox's use of memory and disk",
        "numbers, with its limits",
        metrics,
    ),
];

/// What rctl(8) can say of a jail.
const RULES: &[Row] = &[(
    "rules",
    "ask rctl(8) for the rules of a sandbox's jail",
    "memory, processes, threads, processor time, open files; or reported as absent",
    rules,
)];

pub(super) fn checks(backend: Backend) -> Vec<Check> {
    let mut all = of_rows("limits", ROWS);
    if backend == Backend::Jail {
        all.extend(of_rows("limits", RULES));
    }
    all
}

fn word(stack: &Stack, name: &str) -> Result<String, Bad> {
    let report = stack.admin("GET", "/admin/host", &Value::Null)?.json();
    let word = report["limits"][name]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    that(
        ["enforced", "stand-in", "absent"].contains(&word.as_str()),
        || format!("{name}: {}", report["limits"]),
    )?;
    Ok(word)
}

/// What is absent is said to be, and nothing is promised of it.
fn unless_absent(stack: &Stack, name: &str) -> Result<String, Bad> {
    let word = word(stack, name)?;
    if word == "absent" {
        return Err(Bad::NotHere(format!(
            "this host reports the limit of {name} as absent"
        )));
    }
    Ok(word)
}

fn reported(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let mut all = Vec::new();
    for name in ["memory", "cpu", "pids", "disk"] {
        all.push(format!("{name} {}", word(stack, name)?));
    }
    Ok(all.join(", "))
}

fn pids(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    unless_absent(stack, "pids")?;
    let (greedy, other) = (
        stack.create_with_probe(&json!({}))?,
        stack.create(&json!({}))?,
    );
    let seen = stack.holds(&greedy, "user", &["threads", "1100"])?;
    stack.said(&other, "user", "true")?;
    stack.said(&greedy, "user", "true")?;
    Ok(seen)
}

fn rules(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    unless_absent(stack, "memory")?;
    let sandbox = stack.create(&json!({}))?;
    let told = |args: &[&str]| -> Result<String, Bad> {
        let out = std::process::Command::new("rctl").args(args).output()?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (all, id) = (told(&["jail:"])?, format!(".{}:", sandbox.id()));
    let own: Vec<&str> = all.lines().filter(|rule| rule.contains(&id)).collect();
    let mut seen = Vec::new();
    for resource in [
        "memoryuse",
        "swapuse",
        "maxproc",
        "nthr",
        "pcpu",
        "openfiles",
    ] {
        let marked = format!(":{resource}:deny=");
        let rule = own.iter().find_map(|rule| rule.split_once(&marked));
        let (_, most) = rule.ok_or_else(|| format!("no {resource} among {own:?}"))?;
        seen.push(format!("{resource} {most}"));
    }
    Ok(seen.join(", "))
}

fn memory(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    unless_absent(stack, "memory")?;
    let (greedy, other) = (
        stack.create_with_probe(&json!({}))?,
        stack.create(&json!({}))?,
    );
    // A probe that is killed for it says nothing.
    let seen = match stack.probe(&greedy, "user", &["eat", "1280"]) {
        Ok(said) if !said.holds => return Err(Bad::Fails(said.seen)),
        Ok(said) => said.seen,
        Err(_) => "ended".to_owned(),
    };
    stack.said(&other, "user", "true")?;
    Ok(seen)
}

fn cpu(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    unless_absent(stack, "cpu")?;
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return Err(Bad::NotHere(
            "this host has one processor, which is what a sandbox may use at least".to_owned(),
        ));
    }
    let made = stack.with_line("template_limits base cpu_percent 100", |stack| {
        stack.create_with_probe(&json!({}))
    });
    let sandbox = made?;
    let told = stack.described(&sandbox)?;
    is(
        "the processors that the API tells",
        &told["cpuCount"],
        &json!(1),
    )?;
    // A ratio within one second, not a time: rounds of two threads against those of one. Others on this host may have kept
    // that one from its processor, so it is asked thrice.
    let rounds = |threads: &str| -> Result<u64, Bad> {
        number(&stack.holds(&sandbox, "user", &["spin", threads, "1000"])?)
    };
    let mut one = 0;
    for _ in 0..3 {
        one = one.max(rounds("1")?);
    }
    let two = rounds("2")?;
    that(two < one * 3 / 2, || {
        format!("one thread made {one} rounds, two made {two}")
    })?;
    Ok(format!("{one} rounds with one, {two} with two"))
}

fn number(text: &str) -> Result<u64, Bad> {
    text.parse()
        .map_err(|_| Bad::Fails(format!("no number: {text}")))
}

fn disk(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let word = unless_absent(stack, "disk")?;
    if word == "stand-in" {
        return Err(Bad::NotHere(
            "a reserve for all stands in for a limit of each".to_owned(),
        ));
    }
    let sandbox = stack.create(&json!({}))?;
    let told = stack.said(&sandbox, "user", "df -k / | tail -1")?;
    let kib = told
        .split_whitespace()
        .nth(1)
        .map_or(Err(Bad::Fails(told.clone())), number)?;
    // What the root shares with its template is not counted by every file system.
    if kib <= 12 * 1024 * 1024 {
        return Ok(format!("{kib} KiB"));
    }
    // Btrfs shows what the host has; its quota refuses to set more aside, and the smaller file says that there is room.
    let tried =
        "cd /var/tmp; fallocate -l 1G one 2>&1 && fallocate -l 11G more 2>&1; ls; rm -f one more";
    let said = stack.said(&sandbox, "root", tried)?;
    let room = said.lines().any(|line| line == "one");
    that(room && said.contains("quota exceeded"), || {
        format!("{kib} KiB; {said}")
    })?;
    Ok(format!("{kib} KiB are shown, 11 GiB are refused"))
}

fn metrics(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let list = stack.ask(
        "GET",
        &format!("/sandboxes/{}/metrics", sandbox.id()),
        &Value::Null,
        200,
    )?;
    let newest = list
        .as_array()
        .and_then(|l| l.last())
        .cloned()
        .unwrap_or_default();
    that(
        newest["memTotal"].as_u64() > Some(0) && newest["diskTotal"].as_u64() > Some(0),
        || list.to_string(),
    )?;
    Ok(format!(
        "memUsed {}, diskUsed {}",
        newest["memUsed"], newest["diskUsed"]
    ))
}
