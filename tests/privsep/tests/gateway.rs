//! A captured gateway against privd, netd and a plugin host. privd must outlive every attack, and what a correct
//! gateway cannot send must end the gateway and leave an audit line.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use warder_harness::{Instance, Stage, skip};
use warder_privsep::broken_frames;

fn attack(name: &str) -> (Instance, String) {
    let hostile = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    let instance = Instance::builder()
        .replace("gatewayd", hostile)
        .line(&format!("domain {name}.test"))
        .without_http()
        .start();
    let line = instance.await_log(&format!("hostile {name}: "));
    let outcome = line
        .split_once(&format!("hostile {name}: "))
        .map(|(_, o)| o.trim().to_owned())
        .unwrap_or_default();
    (instance, outcome)
}

/// The attack's outcome, after which privd still runs and stops cleanly.
fn outcome(name: &str) -> String {
    let (instance, outcome) = attack(name);
    instance.finish();
    outcome
}

/// Attacks that end the gateway before it can report, so the test reads what privd says of it: the attack,
/// and the reason privd ended it for.
fn violations(attacks: &[(&str, &str)]) {
    let hostile = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    for (name, why) in attacks {
        let instance = Instance::builder()
            .replace("gatewayd", hostile)
            .line(&format!("domain {name}.test"))
            .without_http()
            .start();
        let line = instance.await_log(": ended");
        assert!(
            line.contains(" privd: audit: gatewayd ") && line.contains(why),
            "{name}: {line}"
        );
        let log = instance.log_text();
        assert!(
            !log.contains(&format!("hostile {name}: still open")),
            "{log}"
        );
        instance.await_few_descriptors(100);
        instance.finish();
    }
}

#[test]
fn what_is_not_a_message_ends_the_gateway() {
    violations(&[
        ("unknown-verb", "body is not a known message"),
        ("padded", "body is not a known message"),
        ("empty", "body is not a known message"),
    ]);
    violations(&broken_frames(!Stage::find().jails()));
}

#[test]
fn descriptors_nobody_asked_for_end_the_gateway() {
    violations(&[
        ("surplus-descriptors", "wrong number of descriptors"),
        ("too-many-descriptors", "too much at once"),
        ("descriptor-storm", "too much at once"),
        ("no-descriptor", "wrong number of descriptors"),
        (
            "wrong-descriptor",
            "something else than the reading end of a pipe",
        ),
    ]);
}

/// Closing what it passed waits for an hour if nothing ends that: privd must go on with messages, restarts,
/// deadlines and signals meanwhile.
#[test]
fn sockets_hidden_in_the_queues_of_others_hold_up_nothing() {
    let unread = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = unread.local_addr().expect("bound").port();
    let hostile = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    let instance = Instance::builder()
        .replace("gatewayd", hostile)
        .line(&format!("domain hidden-{port}.test"))
        .without_http()
        .start();
    let line = instance.await_log(": ended");
    assert!(
        line.contains(" privd: audit: gatewayd wrong number of descriptors"),
        "{line}"
    );
    instance.await_log(" ended: Expired");
    // The next gateway is heard too, and does the same again.
    instance.await_log("gatewayd ended: ");
    let log = instance.log_text();
    assert!(!log.contains(": still open"), "{log}");
    instance.await_few_descriptors(100);
    instance.finish();
}

#[test]
fn the_wrong_phase_ends_the_gateway() {
    violations(&[
        ("before-ready", "body is not a known message"),
        ("twice-ready", "body is not a known message"),
    ]);
    assert_eq!(outcome("too-early"), "Leased Conflict Conflict");
}

#[test]
fn a_flood_ends_the_gateway_and_not_privd() {
    violations(&[("flood", "does not read its messages")]);
}

#[test]
fn sandboxes_that_are_not_there_cannot_be_named() {
    assert_eq!(outcome("foreign-link"), "NotFound");
    assert_eq!(outcome("foreign-lease"), "NotFound");
    assert_eq!(outcome("net-foreign"), "NotFound");
}

#[test]
fn leases_have_bounds() {
    assert_eq!(outcome("greedy-lease"), "Refused");
    assert_eq!(outcome("immortal-lease"), "Refused");
    assert_eq!(outcome("immortal-extension"), "Leased then Refused");
    assert_eq!(outcome("lease-twice"), "Leased then Conflict");
    assert_eq!(outcome("unknown-backend"), "NotFound");
}

#[test]
fn no_directory_leads_out() {
    let seen = outcome("dotdot");
    assert!(
        !seen.is_empty() && seen.split(' ').all(|s| s == "stays"),
        "{seen}"
    );
}

#[test]
fn a_gateway_confined_as_the_real_one_reaches_nothing() {
    let seen = outcome("captured");
    assert_eq!(seen.split(' ').count(), 12, "{seen}");
    // On FreeBSD its state directory is left to it, by its descriptor (docs/trust.md), and nothing else.
    let kept = Stage::find().jails().then_some("state:done");
    let done: Vec<&str> = seen
        .split(' ')
        .filter(|s| !s.ends_with(":refused"))
        .collect();
    assert_eq!(done, Vec::from_iter(kept), "{seen}");
}

/// A directory and a file in it that anybody may write to; removed at the end.
struct Canary(String);

impl Canary {
    fn new(attack: &str) -> Self {
        let path = warder_privsep::canary(attack);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a fresh directory");
        fs::write(format!("{path}/file"), "whole").expect("a fresh file");
        for (name, mode) in [(path.clone(), 0o777), (format!("{path}/file"), 0o666)] {
            fs::set_permissions(name, fs::Permissions::from_mode(mode)).expect("ours");
        }
        Self(path)
    }

    fn assert_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.0)
            .expect("still there")
            .map(|entry| entry.expect("listed").file_name())
            .collect();
        assert_eq!(names, ["file"]);
        let file = format!("{}/file", self.0);
        assert_eq!(fs::read_to_string(&file).expect("still there"), "whole");
        for name in [&self.0, &file] {
            let stat = fs::symlink_metadata(name).expect("still there");
            assert_eq!((stat.uid(), stat.gid()), (0, 0), "{name}");
        }
        let links = fs::metadata(&file).expect("still there").nlink();
        assert_eq!(links, 1, "it has another name now");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn links_lead_nowhere() {
    let canary = Canary::new("links");
    assert_eq!(outcome("links"), "started again");
    canary.assert_untouched();
    let canary = Canary::new("archive");
    let outcome = outcome("archive");
    if Stage::find().jails() && !fs::exists("/rescue/tar").unwrap_or(true) {
        assert_eq!(outcome, "Unsupported");
        let why = "no archive is unpacked on this host: it has no /rescue/tar (package FreeBSD-rescue of pkgbase)";
        skip("links_lead_nowhere", why);
    } else {
        assert!(["Done", "Refused"].contains(&outcome.as_str()), "{outcome}");
    }
    canary.assert_untouched();
}

#[test]
fn netd_and_the_plugin_host_hang_up_too() {
    let framing = broken_frames(!Stage::find().jails()).map(|(kind, _)| kind);
    let others = ["unknown-verb", "padded", "empty", "storm"];
    for kind in framing.into_iter().chain(others) {
        assert_eq!(outcome(&format!("net-{kind}")), "closed", "{kind}");
        assert_eq!(outcome(&format!("plugin-{kind}")), "closed", "{kind}");
    }
}

#[test]
fn a_plugin_host_cannot_be_talked_into_a_cell_without_a_lease() {
    let refused = outcome("plugin-without-lease");
    assert!(
        ["NotFound", "Refused", "Conflict"].contains(&refused.as_str()),
        "{refused}"
    );
}
