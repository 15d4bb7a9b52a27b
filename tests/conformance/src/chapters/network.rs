//! The promises of docs/network-modes.md that one host can show.

use serde_json::{Value, json};
use warder_harness::wait::until;

use super::lifecycle::background;
use crate::check::{Bad, Check, Outcome, Row, is, of_rows, that};
use crate::scene::Scene;
use crate::stack::{Sandbox, Stack};
use crate::world::{ALPHA, BETA, DNS, HOST, Internet};

const ALL: &str = "0.0.0.0/0";

const ROWS: &[Row] = &[
    (
        "open",
        "without a policy: TCP and UDP to a server",
        "answers, and the server sees the host's address",
        open,
    ),
    (
        "deny-all",
        "deny everything, then TCP and UDP to two servers",
        "refused, and the servers see nothing",
        deny_all,
    ),
    (
        "allow-one",
        "deny everything but one address",
        "that one answers, the other does not",
        allow_one,
    ),
    (
        "deny-one",
        "deny one address",
        "that one does not answer, the other does",
        deny_one,
    ),
    (
        "create-rules",
        "a create with allow_internet_access false",
        "nothing answers",
        create_rules,
    ),
    (
        "loosening",
        "deny everything and lift it again",
        "it answers again",
        loosening,
    ),
    (
        "flows-end",
        "a flow that is open, then a policy that forbids it",
        "the flow has ended, its socket has an error",
        flows_end,
    ),
    (
        "flows-stay",
        "a flow that is open, then a policy that still allows it",
        "the flow goes on",
        flows_stay,
    ),
    (
        "private-ranges",
        "TCP and UDP to servers in ranges that are always denied, with a policy that allows them",
        "refused, and the servers see nothing",
        private_ranges,
    ),
    (
        "metadata-address",
        "TCP to 169.254.169.254",
        "refused",
        metadata_address,
    ),
    (
        "air-gap",
        "behind the air gap: TCP, UDP and DNS",
        "nothing leaves, and commands go on",
        air_gap,
    ),
    (
        "air-gap-flows",
        "a flow that is open, then the air gap",
        "the flow has ended",
        air_gap_flows,
    ),
    (
        "air-gap-lifted",
        "the air gap on and off",
        "it answers again",
        air_gap_lifted,
    ),
    ("dns", "resolve a name", "its address", dns),
    (
        "dns-names",
        "a name in the policy: ask for it and for another",
        "the one is answered; nobody outside hears of the other",
        dns_names,
    ),
    (
        "dns-silence",
        "ask behind the air gap, of any server",
        "no answer, and nobody outside hears of it",
        dns_silence,
    ),
    ("ipv6", "TCP over IPv6", "refused", ipv6),
    (
        "refusals",
        "a connection that is refused, then the sandbox's log",
        "it is in the log of that sandbox alone",
        refusals,
    ),
    (
        "wrong-policy",
        "a policy that makes no sense",
        "400, and the old one holds",
        wrong_policy,
    ),
    (
        "state",
        "generation and state of a policy in the details",
        "the one that was set, in force",
        state,
    ),
];

pub(super) fn checks() -> Vec<Check> {
    of_rows("network", ROWS)
}

/// A sandbox in which the probe lies, with rules of its own.
fn begin<'a>(
    scene: &'a mut Scene,
    body: &Value,
) -> Result<(&'a mut Internet, &'a mut Stack, Sandbox), Bad> {
    let (internet, stack) = scene.internet()?;
    let sandbox = stack.create_with_probe(body)?;
    Ok((internet, stack, sandbox))
}

fn put(stack: &Stack, sandbox: &Sandbox, policy: &Value) -> Result<(), Bad> {
    stack
        .ask(
            "PUT",
            &format!("/sandboxes/{}/network", sandbox.id()),
            policy,
            204,
        )
        .map(drop)
}

fn air(stack: &Stack, sandbox: &Sandbox, enabled: bool) -> Result<(), Bad> {
    let body = json!({ "enabled": enabled });
    stack
        .ask(
            "PUT",
            &format!("/sandboxes/{}/airgap", sandbox.id()),
            &body,
            204,
        )
        .map(drop)
}

/// Both protocols have to answer.
fn answers(stack: &Stack, sandbox: &Sandbox, address: &str) -> Result<(), Bad> {
    for protocol in ["tcp", "udp"] {
        let said = stack.probe(sandbox, "user", &[protocol, address, "7"])?;
        that(!said.holds, || {
            format!("{protocol} {address}: {}", said.seen)
        })?;
    }
    Ok(())
}

/// Neither protocol may.
fn closed(stack: &Stack, sandbox: &Sandbox, address: &str) -> Result<String, Bad> {
    let tcp = stack.holds(sandbox, "user", &["tcp", address, "7"])?;
    let udp = stack.holds(sandbox, "user", &["udp", address, "7"])?;
    Ok(format!("tcp {tcp}, udp {udp}"))
}

/// Nothing came to one of `addresses` since.
fn silent(internet: &mut Internet, mark: usize, addresses: &[String]) -> Result<(), Bad> {
    let seen = internet.since(mark)?;
    let heard: Vec<_> = seen
        .iter()
        .filter(|l| addresses.iter().any(|a| l.split(' ').any(|w| w == a)))
        .collect();
    that(heard.is_empty(), || format!("a server saw {heard:?}"))
}

fn alpha() -> String {
    ALPHA.to_string()
}

fn beta() -> String {
    BETA.to_string()
}

fn open(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    let mark = internet.mark();
    answers(stack, &sandbox, &alpha())?;
    let seen = internet.since(mark)?;
    let from = format!("from {HOST}");
    let all = seen
        .iter()
        .filter(|l| l.contains(&alpha()))
        .all(|l| l.contains(&from));
    that(all && !seen.is_empty(), || {
        format!("the server saw {seen:?}")
    })?;
    Ok(from)
}

fn deny_all(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    answers(stack, &sandbox, &alpha())?;
    put(stack, &sandbox, &json!({ "denyOut": [ALL] }))?;
    let mark = internet.mark();
    let seen = closed(stack, &sandbox, &alpha())?;
    closed(stack, &sandbox, &beta())?;
    silent(internet, mark, &[alpha(), beta()])?;
    Ok(seen)
}

fn allow_one(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    put(
        stack,
        &sandbox,
        &json!({ "allowOut": [alpha()], "denyOut": [ALL] }),
    )?;
    answers(stack, &sandbox, &alpha())?;
    let mark = internet.mark();
    let seen = closed(stack, &sandbox, &beta())?;
    silent(internet, mark, &[beta()])?;
    Ok(seen)
}

fn deny_one(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    put(stack, &sandbox, &json!({ "denyOut": ["192.0.2.0/28"] }))?;
    answers(stack, &sandbox, &beta())?;
    let mark = internet.mark();
    let seen = closed(stack, &sandbox, &alpha())?;
    silent(internet, mark, &[alpha()])?;
    Ok(seen)
}

fn create_rules(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({ "allow_internet_access": false }))?;
    closed(stack, &sandbox, &alpha())
}

fn loosening(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    put(stack, &sandbox, &json!({ "denyOut": [ALL] }))?;
    closed(stack, &sandbox, &alpha())?;
    put(stack, &sandbox, &json!({}))?;
    answers(stack, &sandbox, &alpha())?;
    Ok("answers".to_owned())
}

/// A conversation in the sandbox with a server; it has had answers.
fn talk(stack: &Stack, sandbox: &Sandbox) -> Result<(), Bad> {
    stack.said(sandbox, "user", &background(&format!("hold {ALPHA} 7")))?;
    until("the first answers", || {
        (dots(stack, sandbox).ok()?.0 > 2).then_some(())
    })?;
    Ok(())
}

/// How many answers it has had, and what it said at its end.
fn dots(stack: &Stack, sandbox: &Sandbox) -> Result<(usize, String), Bad> {
    let text = stack.said(sandbox, "user", "cat /tmp/hold.out")?;
    let end = text
        .lines()
        .find(|l| l.starts_with('{'))
        .unwrap_or_default()
        .to_owned();
    Ok((text.lines().filter(|l| *l == ".").count(), end))
}

fn ended(stack: &Stack, sandbox: &Sandbox) -> Outcome {
    let end = until("the end of the flow", || {
        let (_, end) = dots(stack, sandbox).ok()?;
        (!end.is_empty()).then_some(end)
    })?;
    let said = crate::probe::read(&end).ok_or("the flow said nothing of its end")?;
    that(said.holds, || said.seen.clone())?;
    Ok(said.seen)
}

fn flows_end(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    talk(stack, &sandbox)?;
    put(stack, &sandbox, &json!({ "denyOut": [ALL] }))?;
    ended(stack, &sandbox)
}

fn flows_stay(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    talk(stack, &sandbox)?;
    put(
        stack,
        &sandbox,
        &json!({ "allowOut": [alpha()], "denyOut": [ALL] }),
    )?;
    let (before, _) = dots(stack, &sandbox)?;
    let end = until("more answers", || {
        let (now, end) = dots(stack, &sandbox).ok()?;
        (now > before + 3 || !end.is_empty()).then_some(end)
    })?;
    that(end.is_empty(), || end.clone())?;
    Ok("goes on".to_owned())
}

/// Neither protocol, nor a port on which somebody else might judge by names.
fn unreachable(stack: &Stack, sandbox: &Sandbox, address: &str) -> Result<(), Bad> {
    closed(stack, sandbox, address)?;
    for port in ["22", "80", "443"] {
        stack.holds(sandbox, "user", &["tcp", address, port])?;
    }
    Ok(())
}

fn private_ranges(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    let everything = json!({ "allowOut": [ALL, "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15"] });
    let addresses: Vec<String> = internet.denied().iter().map(ToString::to_string).collect();
    let mark = internet.mark();
    for policy in [json!({}), everything] {
        put(stack, &sandbox, &policy)?;
        // All at once: each may be silence for a while.
        let (stack, sandbox) = (&*stack, &sandbox);
        let tried = std::thread::scope(|scope| {
            let all: Vec<_> = addresses
                .iter()
                .map(|address| scope.spawn(move || unreachable(stack, sandbox, address)))
                .collect();
            all.into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        for one in tried {
            one.map_err(|_| "a client panicked")??;
        }
    }
    silent(internet, mark, &addresses)?;
    Ok(format!("{} servers, none reached", addresses.len()))
}

fn metadata_address(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let seen = stack.holds(&sandbox, "root", &["tcp", "169.254.169.254", "80"])?;
    stack.holds(&sandbox, "root", &["udp", "169.254.169.254", "53"])?;
    Ok(seen)
}

fn air_gap(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    answers(stack, &sandbox, &alpha())?;
    air(stack, &sandbox, true)?;
    let mark = internet.mark();
    let seen = closed(stack, &sandbox, &alpha())?;
    stack.holds(&sandbox, "root", &["tcp", &alpha(), "443"])?;
    stack.holds(&sandbox, "root", &["dns", &DNS.to_string(), "alpha.test"])?;
    // New lists do not lift it.
    put(stack, &sandbox, &json!({ "allowOut": [ALL] }))?;
    closed(stack, &sandbox, &beta())?;
    silent(internet, mark, &[alpha(), beta(), DNS.to_string()])?;
    is(
        "a command",
        &stack.said(&sandbox, "user", "echo works")?.as_str(),
        &"works",
    )?;
    Ok(seen)
}

fn air_gap_flows(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    talk(stack, &sandbox)?;
    air(stack, &sandbox, true)?;
    ended(stack, &sandbox)
}

fn air_gap_lifted(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    air(stack, &sandbox, true)?;
    closed(stack, &sandbox, &alpha())?;
    air(stack, &sandbox, false)?;
    answers(stack, &sandbox, &alpha())?;
    Ok("answers".to_owned())
}

/// The address of a name, or that there is none.
fn resolve(stack: &Stack, sandbox: &Sandbox, name: &str) -> Result<Option<String>, Bad> {
    let said = stack.probe(sandbox, "user", &["dns", &DNS.to_string(), name])?;
    Ok((!said.holds).then_some(said.seen))
}

fn dns(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    is(
        "alpha.test",
        &resolve(stack, &sandbox, "alpha.test")?,
        &Some(alpha()),
    )?;
    is(
        "nobody.test",
        &resolve(stack, &sandbox, "nobody.test")?,
        &None,
    )?;
    Ok(alpha())
}

fn dns_names(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    put(
        stack,
        &sandbox,
        &json!({ "allowOut": ["alpha.test"], "denyOut": [ALL] }),
    )?;
    is(
        "alpha.test",
        &resolve(stack, &sandbox, "alpha.test")?,
        &Some(alpha()),
    )?;
    let mark = internet.mark();
    is("beta.test", &resolve(stack, &sandbox, "beta.test")?, &None)?;
    is(
        "a tunnel",
        &resolve(stack, &sandbox, "secret.of.the.sandbox.beta.test")?,
        &None,
    )?;
    let heard = internet.since(mark)?;
    that(!heard.iter().any(|l| l.contains("beta.test")), || {
        format!("heard outside: {heard:?}")
    })?;
    Ok("one answered, two kept".to_owned())
}

fn dns_silence(scene: &mut Scene) -> Outcome {
    let (internet, stack, sandbox) = begin(scene, &json!({}))?;
    air(stack, &sandbox, true)?;
    let mark = internet.mark();
    for server in [DNS.to_string(), alpha()] {
        let said = stack.probe(&sandbox, "user", &["dns", &server, "alpha.test"])?;
        that(said.holds, || said.seen.clone())?;
    }
    let heard = internet.since(mark)?;
    that(!heard.iter().any(|l| l.contains("alpha.test")), || {
        format!("heard outside: {heard:?}")
    })?;
    Ok("no answer, nothing heard".to_owned())
}

fn ipv6(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    scene.stack()?.holds(&sandbox, "root", &["six"])
}

fn refusals(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    let other = stack.create(&json!({}))?;
    put(stack, &sandbox, &json!({ "denyOut": [ALL] }))?;
    closed(stack, &sandbox, &beta())?;
    let log = |sandbox: &Sandbox| {
        stack.ask(
            "GET",
            &format!("/sandboxes/{}/network/log", sandbox.id()),
            &Value::Null,
            200,
        )
    };
    until("the refusal in the log", || {
        log(&sandbox)
            .ok()?
            .to_string()
            .contains(&beta())
            .then_some(())
    })?;
    that(!log(&other)?.to_string().contains(&beta()), || {
        "it is in another sandbox's log".to_owned()
    })?;
    Ok("in its own".to_owned())
}

fn wrong_policy(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({ "network": { "denyOut": [ALL] } }))?;
    let path = format!("/sandboxes/{}/network", sandbox.id());
    for wrong in [
        json!({ "allowOut": ["300.1.1.1"] }),
        json!({ "denyOut": "everything" }),
        json!({ "allowOut": ["10.0.0.0/40"] }),
    ] {
        stack.ask("PUT", &path, &wrong, 400)?;
    }
    closed(stack, &sandbox, &alpha())
}

fn state(scene: &mut Scene) -> Outcome {
    let (_, stack, sandbox) = begin(scene, &json!({}))?;
    put(
        stack,
        &sandbox,
        &json!({ "allowOut": [alpha()], "denyOut": [ALL] }),
    )?;
    let detail = stack.described(&sandbox)?;
    let state = &detail["networkState"];
    that(state.is_object(), || detail.to_string())?;
    that(detail["network"].to_string().contains(&alpha()), || {
        detail["network"].to_string()
    })?;
    Ok(state.to_string())
}
