//! Names of machines: from the instance's tag, the slot's counter and the sandbox, so that what is found below /dev/vmm
//! says whose it is.

use warder_wire::priv_net::slot_jail;
use warder_wire::{InstanceTag, SandboxId};

/// Longest name that vmm(4) takes: `VM_MAX_NAMELEN` of dev/vmm/vmm_param.h on FreeBSD 14 and 15.
pub const LONGEST: usize = 229;

/// The machine of a sandbox. No dot: in the keys of a configuration a dot separates nodes.
#[must_use]
pub fn of(tag: InstanceTag, counter: u32, sandbox: &SandboxId) -> String {
    format!("{}-{sandbox}", slot_jail(tag, counter))
}

/// The slot's counter and the sandbox of a machine, if it is one of this instance.
#[must_use]
pub fn parse(tag: InstanceTag, name: &str) -> Option<(u32, SandboxId)> {
    let (slot, sandbox) = name.rsplit_once('-')?;
    let (_, counter) = slot.rsplit_once('-')?;
    let found = (counter.parse().ok()?, SandboxId::new(sandbox).ok()?);
    (of(tag, found.0, &found.1) == name).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox() -> SandboxId {
        SandboxId::new("iabcdefghij0123456789").expect("an id")
    }

    #[test]
    fn a_name_says_whose_it_is_and_the_kernel_takes_it() {
        let tag = InstanceTag::of_state_dir(b"/var/db/warder");
        let name = of(tag, u32::MAX, &sandbox());
        assert_eq!(parse(tag, &name), Some((u32::MAX, sandbox())));
        assert_eq!(parse(InstanceTag::of_state_dir(b"/b"), &name), None);
        assert!(name.len() <= LONGEST);
        assert!(name.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric()));
    }

    #[test]
    fn machines_of_others_are_nobodys() {
        let tag = InstanceTag::of_state_dir(b"/a");
        let own = of(tag, 1, &sandbox());
        for foreign in [
            "vm0".to_owned(),
            "freebsd-1-x".to_owned(),
            own.replace("-1-", "-01-"),
            own.replace("-1-", "--1-"),
            own.replace("-1-", "-+1-"),
            format!("{own}-x"),
            format!("x{own}"),
            own.to_uppercase(),
        ] {
            assert_eq!(parse(tag, &foreign), None, "{foreign}");
        }
    }
}
