//! What is to be done about machines that are found after a crash.

use std::collections::BTreeSet;

use warder_wire::{InstanceTag, SandboxId};

use crate::name;

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
    use super::*;

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
}
