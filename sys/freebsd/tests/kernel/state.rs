//! What the kernel says of itself.

use std::os::fd::AsFd;
use std::path::Path;

use warder_freebsd::features;
use warder_freebsd::sys::procs::{self, State};
use warder_freebsd::sys::{kld, peer, sysctl};

pub(crate) fn numbers_and_texts_by_name() {
    assert_eq!(sysctl::text("kern.ostype").expect("text"), "FreeBSD");
    let date = sysctl::int("kern.osreldate").expect("number");
    assert!(date >= 1_403_000, "too old a kernel: {date}");
    assert!(sysctl::u64("hw.physmem").expect("number") > 1 << 20);
    assert!(!sysctl::exists("warder.no.such.name"));
    assert!(kld::has("devfs"), "devfs is always there");
    assert!(!kld::has("warder_no_such_module"));
}

pub(crate) fn processes_are_listed() {
    let own = procs::get(std::process::id())
        .expect("asked")
        .expect("there");
    assert_eq!(own.pid, std::process::id());
    assert_eq!(own.jid, sysctl::int("security.jail.jailed").unwrap_or(0));
    assert_eq!(own.uid, 0);
    assert!(own.started > 0);
    let again = procs::get(own.pid).expect("asked").expect("there");
    assert_eq!(again.started, own.started, "a start does not move");
    let all = procs::all().expect("asked");
    assert!(all.iter().any(|found| found.pid == own.pid));
    let init = all.iter().find(|found| found.pid == 1).expect("init");
    assert!(init.started <= own.started);
    assert_eq!(init.state, State::Sleeping);
    let threads = procs::threads().expect("asked");
    assert!(threads.len() >= all.len());
    assert_eq!(procs::get(99_999_999).expect("asked"), None);
}

pub(crate) fn a_boot_has_a_name() {
    let name = features::boot_id().expect("asked");
    assert_eq!(name.len(), 32, "{name}");
    assert_eq!(features::boot_id().expect("asked"), name);
}

pub(crate) fn features_are_looked_at() {
    for feature in features::report(Path::new("/var/db")) {
        let there = if feature.present { "there" } else { "MISSING" };
        println!("    {}: {there} ({})", feature.name, feature.note);
    }
}

pub(crate) fn peers_are_known() {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    let peer = peer::of(ours.as_fd()).expect("asked");
    assert_eq!((peer.uid, peer.gid), (0, 0));
    let file = std::fs::File::open("/").expect("root");
    assert!(peer::of(file.as_fd()).is_err());
}
