//! Limits of jails.

use rustix::io::Errno;
use warder_freebsd::process::{Exit, Process};
use warder_freebsd::sys::{self, Params, jail, rctl};
use warder_freebsd::text::pairs;

use crate::runner::{ended, own_name};

pub(crate) fn limits_hold_or_are_absent() {
    let name = own_name();
    let subject = format!("jail:{name}");
    if !rctl::enabled() {
        println!("    accounting is off: kern.racct.enable=1 in /boot/loader.conf, then reboot");
        assert_eq!(
            rctl::add(&format!("{subject}:maxproc:deny=3")),
            Err(Errno::NOSYS)
        );
        assert_eq!(rctl::usage(&subject), Err(Errno::NOSYS));
        return;
    }
    let jid = jail::create(
        &Params::new()
            .text("name", &name)
            .text("path", "/")
            .flag("persist"),
    );
    let jid = jid.expect("jail_set");
    rctl::add(&format!("{subject}:maxproc:deny=3")).expect("rule");
    rctl::add(&format!("{subject}:memoryuse:deny=268435456")).expect("rule");
    let rules = rctl::rules(&subject).expect("rules");
    assert_eq!(rules.split(',').count(), 2, "{rules}");
    assert!(
        rules.contains(&format!("{subject}:maxproc:deny=3")),
        "{rules}"
    );
    assert_eq!(rctl::add("jail:x:nonsense:deny=1"), Err(Errno::INVAL));
    // One process of a jail that may have three: two children, no third.
    let worker = Process::worker(&[], || {
        if jail::attach(jid).is_err() {
            return 1;
        }
        let sleeping = || rustix::event::poll(&mut [], None).map_or(1, |_| 0);
        let made: Vec<_> = (0..4)
            .map(|_| sys::process::fork(false, sleeping))
            .collect();
        let count = made.iter().filter(|made| made.is_ok()).count();
        let refused = made.into_iter().find_map(Result::err);
        if count == 2 && refused == Some(Errno::AGAIN) {
            0
        } else {
            2
        }
    });
    assert_eq!(ended(&worker.expect("worker")), Exit::Code(0));
    let usage = rctl::usage(&subject).expect("usage");
    let amount = |of: &str| {
        pairs(&usage)
            .find(|(name, _)| *name == of)
            .map(|(_, amount)| amount)
    };
    assert!(
        amount("maxproc").is_some() && amount("memoryuse").is_some(),
        "{usage}"
    );
    rctl::remove(&subject).expect("removed");
    assert_eq!(rctl::rules(&subject).expect("rules"), "");
    assert_eq!(rctl::remove(&subject), Err(Errno::SRCH));
    jail::remove(jid).expect("jail_remove");
}
