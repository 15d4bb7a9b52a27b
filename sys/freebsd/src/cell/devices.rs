//! The ruleset by which the devfs of every cell shows what is safe and nothing else.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};
use warder_freebsd_plan::devfs as plan;
use warder_wire::InstanceTag;

use crate::sys::devfs;

fn open() -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/dev", flags, Mode::empty()).at("open /dev")
}

/// The number of this instance's set, which is made or completed where needed. A set of anybody else's is not
/// touched.
pub(super) fn ruleset(tag: InstanceTag, of: plan::Of) -> Result<u16> {
    let dev = open()?;
    let rules = plan::rules(tag, of);
    // One more try for each that somebody else takes in between.
    for _ in 0..16 {
        let sets = devfs::sets(dev.as_fd()).at("list devfs rulesets")?;
        let own = |set: &&u16| {
            let first = devfs::next_rule(dev.as_fd(), **set, 0).ok().flatten();
            let pattern = first.and_then(|first| first.pattern());
            pattern.is_some_and(|pattern| plan::is_current(tag, of, &pattern))
        };
        let found = sets.iter().find(own).copied();
        let taken: BTreeSet<u16> = sets.iter().copied().collect();
        let set = found.or_else(|| plan::free_number(&taken));
        let set = set.ok_or(HostError::Invalid("every devfs ruleset is in use"))?;
        let mut lost = false;
        for (n, rule) in rules.iter().enumerate() {
            let pattern = rule.pattern.as_deref();
            match devfs::add_rule(dev.as_fd(), set, rule.number, pattern, rule.shown) {
                Ok(()) => {}
                // Of ours some are there already. A foreign set has come to this number first.
                Err(Errno::EXIST) => lost |= n == 0 && found.is_none(),
                Err(errno) => return Err(errno).at("add a devfs rule"),
            }
            if lost {
                break;
            }
        }
        if !lost {
            return Ok(set);
        }
    }
    Err(HostError::Invalid("devfs rulesets change all the time"))
}

/// Shows one more device in a devfs that is mounted at `dev`.
pub(super) fn show(dev: &std::path::Path, name: &str) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dev = rustix::fs::open(dev, flags, Mode::empty()).at("open a machine's /dev")?;
    devfs::show(dev.as_fd(), name).at("show a machine its tap")
}

/// Deletes the sets that this instance made.
pub(super) fn forget(tag: InstanceTag) -> Result<()> {
    let dev = open()?;
    for set in devfs::sets(dev.as_fd()).at("list devfs rulesets")? {
        let first = devfs::next_rule(dev.as_fd(), set, 0).at("read a devfs rule")?;
        let pattern = first.and_then(|first| first.pattern());
        if !pattern.is_some_and(|pattern| plan::is_own(tag, &pattern)) {
            continue;
        }
        // The mark last: what is cut off in between is still ours.
        let mut numbers = Vec::new();
        let mut after = 0;
        while let Some(rule) = devfs::next_rule(dev.as_fd(), set, after).at("read a devfs rule")? {
            after = rule.number();
            numbers.push(after);
        }
        for number in numbers.into_iter().rev() {
            devfs::delete_rule(dev.as_fd(), set, number).at("delete a devfs rule")?;
        }
    }
    Ok(())
}
