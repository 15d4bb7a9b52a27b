//! Jails.

use rustix::io::Errno;
use warder_freebsd::process::{Exit, Process, Signal};
use warder_freebsd::sys::{Params, jail, procs};

use crate::runner::{ended, own_name};

/// Removes a jail, and those below it, whatever the test came to.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Ok(Some(jid)) = jail::find(&self.0) {
            let _ = jail::remove(jid);
        }
    }
}

fn persisting(name: &str) -> Params {
    Params::new()
        .text("name", name)
        .text("path", "/var/empty")
        .text("host.hostname", "test")
        .flag("persist")
        .int("securelevel", 3)
        .int("enforce_statfs", 2)
        .int("children.max", 0)
}

/// A process in a jail that waits to be killed.
fn inmate(jid: i32) -> Process {
    let process = Process::worker(&[], || {
        if jail::attach(jid).is_err() {
            return 1;
        }
        rustix::event::poll(&mut [], None).map_or(2, |_| 3)
    });
    process.expect("worker")
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("not so after ten seconds: {what}");
}

pub(crate) fn a_jail_lives_and_dies() {
    let name = own_name();
    let removed = Removed(name.clone());
    let jid = jail::create(&persisting(&name)).expect("jail_set");
    assert_eq!(jail::find(&name).expect("jail_get"), Some(jid));
    let taken = jail::create(&persisting(&name)).expect_err("the name is taken");
    assert_eq!(taken.errno, Errno::EXIST, "{taken}");
    assert!(!taken.text.is_empty(), "the kernel says why");
    let listed = jail::list().expect("jail_get");
    let own = listed
        .iter()
        .find(|jail| jail.name == name)
        .expect("listed");
    assert_eq!((own.jid, own.parent, own.dying), (jid, 0, false));
    assert_eq!(jail::text(jid, "path").expect("jail_get"), "/var/empty");
    assert_eq!(jail::text(jid, "host.hostname").expect("jail_get"), "test");
    for (parameter, value) in [
        ("securelevel", 3),
        ("enforce_statfs", 2),
        ("children.max", 0),
        ("persist", 1),
        ("allow.mount", 0),
        ("allow.raw_sockets", 0),
    ] {
        assert_eq!(
            jail::int(jid, parameter).expect(parameter),
            value,
            "{parameter}"
        );
    }

    let process = inmate(jid);
    until("the process is in the jail", || {
        procs::get(process.pid())
            .expect("asked")
            .is_some_and(|found| found.jid == jid)
    });
    jail::update(&Params::new().int("jid", jid).flag("nopersist")).expect("jail_set");
    jail::remove(jid).expect("jail_remove");
    assert_eq!(ended(&process), Exit::Signal(libc::SIGKILL));
    until("the jail is gone", || {
        jail::find(&name).expect("jail_get").is_none()
    });
    // While it is dying, removing it once more is no error.
    assert!(matches!(jail::remove(jid), Ok(()) | Err(Errno::INVAL)));
    assert_eq!(jail::attach(jid), Err(Errno::INVAL));
    drop(removed);
}

/// The two levels that sandboxes have: a network's jail, and in it one that shares the network and owns nothing of it.
pub(crate) fn a_jail_in_a_slot_shares_its_network() {
    let slot = own_name();
    let _removed = Removed(slot.clone());
    let outer = Params::new()
        .text("name", &slot)
        .text("path", "/var/empty")
        .flag("persist")
        .int("securelevel", 3)
        .int("children.max", 1)
        .int("vnet", libc::JAIL_SYS_NEW);
    let outer = jail::create(&outer).expect("a jail with a network of its own");
    let name = format!("{slot}.inner");
    let inner = jail::create(&persisting(&name).int("ip4", libc::JAIL_SYS_INHERIT));
    let inner = inner.expect("a jail in it");
    let listed = jail::list().expect("jail_get");
    let found = listed
        .iter()
        .find(|jail| jail.jid == inner)
        .expect("listed");
    assert_eq!((found.name.as_str(), found.parent), (name.as_str(), outer));
    assert_eq!(
        jail::int(inner, "vnet").expect("vnet"),
        libc::JAIL_SYS_INHERIT
    );
    assert_eq!(jail::int(outer, "vnet").expect("vnet"), libc::JAIL_SYS_NEW);

    let process = inmate(inner);
    until("the process is in the inner jail", || {
        procs::get(process.pid())
            .expect("asked")
            .is_some_and(|found| found.jid == inner)
    });
    process.signal(Signal::Terminate).expect("signal");
    assert_eq!(ended(&process), Exit::Signal(libc::SIGTERM));
    jail::remove(outer).expect("jail_remove");
    until("both are gone", || {
        jail::find(&name).expect("jail_get").is_none()
            && jail::find(&slot).expect("jail_get").is_none()
    });
}

pub(crate) fn refusals_say_why() {
    let name = own_name();
    let _removed = Removed(name.clone());
    let unknown = jail::create(&persisting(&name).int("warder.nonsense", 1));
    let unknown = unknown.expect_err("no such parameter");
    assert_eq!(unknown.errno, Errno::INVAL);
    assert!(unknown.text.contains("warder.nonsense"), "{unknown}");
    let cut = jail::create(&Params::new().text("name", "a\0b")).expect_err("a zero byte");
    assert_eq!(cut.errno, Errno::INVAL);
    assert_eq!(jail::find("warder-test-no-such-jail").expect("asked"), None);
    let none = jail::int(999_998, "securelevel").expect_err("no such jail");
    assert_eq!(none.errno, Errno::NOENT, "{none}");
}

pub(crate) fn descriptors_stay_that_jails() {
    use std::os::fd::AsFd;
    let name = own_name();
    let _removed = Removed(name.clone());
    let jid = jail::create(&persisting(&name)).expect("jail_set");
    let Some(descriptor) = jail::descriptor(jid).expect("jail_get") else {
        println!("    this kernel has no descriptors of jails");
        assert!(!jail::has_descriptors());
        return;
    };
    jail::remove_descriptor(descriptor.as_fd()).expect("jail_remove_jd");
    until("the jail is gone", || {
        jail::find(&name).expect("jail_get").is_none()
    });
    assert!(jail::remove_descriptor(descriptor.as_fd()).is_err());
}
