//! How a machine ends, by itself or from outside, and what is to be done about what is found after a crash.

use std::collections::BTreeSet;

use warder_wire::{InstanceTag, SandboxId};

use crate::name;

/// How bhyve(8) ended, by its exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The guest asked for a reboot. A sandbox has none: it ends.
    Rebooted,
    /// The guest switched itself off, or did so when the power button was pressed.
    Off,
    /// The guest halted without switching off.
    Halted,
    /// A triple fault.
    Fault,
    /// bhyve could not begin, or go on. It has said why on standard error.
    Error,
    /// It was suspended, which nothing here asks for.
    Suspended,
    /// What its manual does not know.
    Unknown(i32),
}

/// What an exit status says (bhyve(8), EXIT STATUS).
#[must_use]
pub fn ended(status: i32) -> Ended {
    match status {
        0 => Ended::Rebooted,
        1 => Ended::Off,
        2 => Ended::Halted,
        3 => Ended::Fault,
        // Where it gives up by err(3), of sysexits(3).
        4 | 64..=78 => Ended::Error,
        5 => Ended::Suspended,
        other => Ended::Unknown(other),
    }
}

/// The next thing to do to end a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Press the power button: SIGTERM to bhyve (bhyve(8), SIGNAL HANDLING).
    PowerButton,
    /// Look again later.
    Wait,
    /// End the process with its jail.
    RemoveJail,
    /// Have the kernel destroy the machine ([`crate::command::DESTROY`]).
    Destroy,
    /// Nothing is left.
    Done,
}

/// What is there of a machine that is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Left {
    /// bhyve runs.
    pub process: bool,
    /// The kernel has the machine.
    pub machine: bool,
    /// How long ago the button was pressed, in milliseconds.
    pub pressed_ms: Option<u64>,
}

/// The step to take. A guest is given `patience_ms` to switch itself off; none, and the button is not pressed. The
/// machine goes last: bhyve maps its memory.
#[must_use]
pub fn next(left: Left, patience_ms: u64) -> Step {
    match (left.process, left.pressed_ms) {
        (true, None) if patience_ms > 0 => Step::PowerButton,
        (true, Some(since)) if since < patience_ms => Step::Wait,
        (true, _) => Step::RemoveJail,
        (false, _) if left.machine => Step::Destroy,
        (false, _) => Step::Done,
    }
}

/// Machines of this instance, of those below /dev/vmm, whose cell is not among the living: to be destroyed. Those of
/// anybody else are not touched.
#[must_use]
pub fn strays<'a>(
    tag: InstanceTag,
    machines: impl IntoIterator<Item = &'a str>,
    living: &BTreeSet<(u32, SandboxId)>,
) -> Vec<&'a str> {
    let stray = |machine: &&str| name::parse(tag, machine).is_some_and(|of| !living.contains(&of));
    machines.into_iter().filter(stray).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exit_statuses_are_the_manuals() {
        for (status, meant) in [
            (0, Ended::Rebooted),
            (1, Ended::Off),
            (2, Ended::Halted),
            (3, Ended::Fault),
            (4, Ended::Error),
            (5, Ended::Suspended),
            (64, Ended::Error),
            (71, Ended::Error),
            (99, Ended::Unknown(99)),
        ] {
            assert_eq!(ended(status), meant, "{status}");
        }
    }

    #[test]
    fn a_machine_without_a_cell_is_destroyed_and_no_other() {
        let (a, b) = (
            InstanceTag::of_state_dir(b"/a"),
            InstanceTag::of_state_dir(b"/b"),
        );
        let id = |n: u8| SandboxId::from_random(&[n; 20]);
        let lives = name::of(a, 1, &id(1));
        let lost = name::of(a, 2, &id(2));
        // The slot of its last life, not of this one.
        let former = name::of(a, 3, &id(1));
        let foreign = name::of(b, 2, &id(2));
        let found = [
            lives.as_str(),
            lost.as_str(),
            former.as_str(),
            foreign.as_str(),
            "vm0",
        ];
        let living = BTreeSet::from([(1, id(1))]);
        assert_eq!(strays(a, found, &living), [lost.as_str(), former.as_str()]);
        assert!(strays(a, [], &living).is_empty());
    }

    proptest! {
        /// Whatever the guest does, it comes to an end, in this order, and the machine is never taken from under bhyve.
        #[test]
        fn an_end_is_reached(patience in 0_u64..10_000, obeys_after in 0_u64..20_000) {
            let (mut now, mut pressed) = (0, None);
            let (mut process, mut machine) = (true, true);
            for _ in 0..64 {
                let pressed_ms = pressed.map(|at: u64| now - at);
                match next(Left { process, machine, pressed_ms }, patience) {
                    Step::PowerButton => {
                        prop_assert!(patience > 0 && pressed.is_none());
                        pressed = Some(now);
                    }
                    Step::Wait => prop_assert!(process),
                    Step::RemoveJail => process = false,
                    Step::Destroy => {
                        prop_assert!(!process);
                        machine = false;
                    }
                    Step::Done => {
                        prop_assert!(!process && !machine);
                        return Ok(());
                    }
                }
                now += 500;
                process &= pressed.is_none_or(|at| now - at < obeys_after.max(1));
            }
            prop_assert!(false, "no end");
        }
    }
}
