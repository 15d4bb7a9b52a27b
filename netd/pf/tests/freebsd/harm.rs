//! What an administrator does to pf, and what is left of sandboxes' networks then.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use warder_desired::Change;
use warder_freebsd::sys::process;
use warder_pf::filter::FilterError;
use warder_pf::host::Wrong;
use warder_wire::{Bounds, Policy};

use crate::guests::{Ended, chatter, inside, now, tcp};
use crate::trials::{at, denying, last_of};
use crate::world::{HOST, INSIDE, OTHER, SERVER, World, sh};

/// The host's own rules, kept for what is done to them.
struct HostRules(String);

impl HostRules {
    fn keep() -> Self {
        let listed =
            ["ether", "nat", "rules"].map(|what| sh(&format!("pfctl -s {what} 2>/dev/null")));
        Self(format!("set reassemble yes\n{}", listed.concat()))
    }

    fn load(&self, text: &str) {
        let file = std::env::temp_dir().join("warder-test-pf.conf");
        std::fs::write(&file, text).expect("writes");
        let said = sh(&format!("pfctl -q -f {}", file.display()));
        assert!(!said.contains("error"), "{said}\n{text}");
        let _ = std::fs::remove_file(file);
    }

    fn restore(&self) {
        self.load(&self.0);
    }
}

impl Drop for HostRules {
    fn drop(&mut self) {
        self.restore();
        sh("pfctl -q -e");
    }
}

pub(crate) fn harm_is_noticed(world: &mut World) {
    let slot = world.sandbox(&denying(&["198.51.100.0/24"]));
    let host = HostRules::keep();
    let look = |world: &mut World| world.filter.look().map(drop);
    let again = |world: &mut World| {
        // What was found stays found until all is anew.
        let _ = look(world);
        world.filter.renewed();
        let all: Vec<_> = slot.sandbox.iter().cloned().collect();
        world.filter.apply(Change::All(&all)).expect("rules load");
        world.filter.look().expect("as it was left");
    };
    let begun = Instant::now();
    for _ in 0..100 {
        look(world).expect("nothing was done");
    }
    println!(
        "    a look takes {:.2} ms",
        begun.elapsed().as_secs_f64() * 10.0
    );
    host.restore();
    look(world).expect("new rules in place of the old ones, at once");
    for (harm, mend) in [
        ("pfctl -q -d", "pfctl -q -e"),
        ("pfctl -q -F rules", ""),
        ("pfctl -q -F nat", ""),
        ("pfctl -q -F all", ""),
    ] {
        sh(harm);
        let found = look(world);
        assert!(
            matches!(
                found,
                Err(FilterError::Off | FilterError::Host(Wrong::Hooks(_)))
            ),
            "{harm}: {found:?}"
        );
        let found = found.map_err(|e| e.to_string());
        println!("    {harm}: {}", found.err().unwrap_or_default());
        assert!(look(world).is_err(), "{harm}: still");
        host.restore();
        sh(mend);
        again(world);
        // And when nobody looked meanwhile. pf tells the time in seconds.
        std::thread::sleep(Duration::from_secs(if mend.is_empty() { 0 } else { 4 }));
        sh(harm);
        host.restore();
        sh(mend);
        let found = look(world);
        assert!(
            matches!(found, Err(FilterError::Touched)),
            "{harm}: {found:?}"
        );
        again(world);
    }
    for lacks in ["nat-anchor", "rdr-anchor", "block drop quick on warder"] {
        let rest = host.0.lines().filter(|line| !line.starts_with(lacks));
        host.load(&(rest.collect::<Vec<_>>().join("\n") + "\n"));
        let found = look(world);
        assert!(
            matches!(&found, Err(FilterError::Host(Wrong::Hooks(all))) if all.len() == 1),
            "{found:?}"
        );
        host.restore();
        again(world);
    }
    let anchor = format!("warder/{}", world.tag);
    let own = sh(&format!("pfctl -v -a {anchor} -s Anchors"));
    let port = slot.port.name.as_str();
    let own = own.lines().map(str::trim).find(|line| line.ends_with(port));
    let own = own.expect("the sandbox's anchor").to_owned();
    for harm in [
        format!("pfctl -q -a {anchor} -F rules"),
        format!("pfctl -q -a {own} -F all"),
        format!("pfctl -q -a {own} -F nat"),
        format!("pfctl -q -a {own} -F Tables"),
        format!("pfctl -q -a {own} -t denied -T flush"),
        format!("pfctl -q -a {own} -t denied -T delete 198.51.100.0/24"),
        format!("echo pass | pfctl -q -a {own} -f -"),
    ] {
        sh(&harm);
        let found = look(world);
        assert!(
            matches!(found, Err(FilterError::Flushed(_))),
            "{harm}: {found:?}"
        );
        again(world);
    }
    assert!(world.filter.inspect().is_ok());
    sh("echo 'set skip on epair' | pfctl -q -m -O -f -");
    let found = world.filter.inspect();
    assert!(
        matches!(found, Err(FilterError::Host(Wrong::Skipped(_)))),
        "{found:?}"
    );
    world.filter.doubt();
    assert!(look(world).is_err(), "and then by every look");
    host.restore();
    again(world);
    assert_eq!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    world.remove(slot);
}

/// As netd does it, by the same calls in the same order.
pub(crate) fn switched_off_and_on(world: &mut World) {
    let mut slot = world.sandbox(&Policy::OPEN);
    let host = HostRules::keep();
    let reaches = |jid, to| inside(Some(jid), || tcp(at(to, 8080))) == Ended::Answered;
    world.put(&mut slot, &denying(&["203.0.113.2"]), Bounds::DEFAULT);
    assert!(reaches(slot.jid, SERVER) && !reaches(slot.jid, OTHER));
    assert!(!reaches(slot.jid, INSIDE));
    // A flow that goes on all the time.
    let (times, writes) = rustix::pipe::pipe().expect("a pipe");
    let (mut times, file) = (File::from(times), File::from(writes));
    let (pid, _process) = crate::guests::start(Some(slot.jid), || chatter(World::at(8080), file));
    let mut first = [0; 8];
    times.read_exact(&mut first).expect("it talks");
    sh("pfctl -q -d");
    let found = world.filter.look();
    assert!(matches!(found, Err(FilterError::Off)), "{found:?}");
    let port = slot.port.name.as_str().to_owned();
    world.router().seal(&port).expect("goes down");
    let sealed = now();
    for to in [SERVER, OTHER, INSIDE, HOST] {
        assert!(!reaches(slot.jid, to), "{to} while pf is off");
    }
    // Rules of somebody else, that let everything pass.
    host.load("pass all no state\n");
    sh("pfctl -q -e");
    assert!(matches!(
        world.filter.look(),
        Err(FilterError::Host(Wrong::Hooks(_)))
    ));
    for to in [SERVER, OTHER, INSIDE, HOST] {
        assert!(!reaches(slot.jid, to), "{to} under other rules");
    }
    sh("pfctl -q -a 'warder/*' -F all");
    host.restore();
    let found = world.filter.look();
    assert!(matches!(found, Err(FilterError::Touched)), "{found:?}");
    assert!(world.filter.look().is_err(), "until all is anew");
    world.filter.renewed();
    let all: Vec<_> = slot.sandbox.iter().cloned().collect();
    world.filter.apply(Change::All(&all)).expect("rules load");
    world.filter.end_instance().expect("states end");
    world.filter.look().expect("still whole");
    let pair = slot.pair;
    world
        .router()
        .unseal(slot.counter, &pair)
        .expect("comes up");
    assert!(reaches(slot.jid, SERVER), "open again");
    assert!(
        !reaches(slot.jid, OTHER) && !reaches(slot.jid, INSIDE),
        "as before"
    );
    let _ = process::wait(pid, true);
    let (_, behind) = last_of(times, sealed);
    assert!(
        behind < 2,
        "what was open heard {behind} answers behind the seal"
    );
    world.remove(slot);
}
