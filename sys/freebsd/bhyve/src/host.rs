//! What a host must have, and what to do where it has not.

/// What was found on a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// The kernel has vmm(4): `hw.vmm.maxcpu` is there.
    pub module: bool,
    /// It works: /dev/vmmctl is there (FreeBSD 15), or `hw.vmm.create` can be written (14).
    pub works: bool,
    /// On a processor of Intel's: whether it can run a guest's firmware, which begins in real mode
    /// (`hw.vmm.vmx.cap.unrestricted_guest`).
    pub unrestricted: Option<bool>,
    /// bhyve(8) is installed.
    pub program: bool,
    /// The firmware is.
    pub firmware: bool,
}

/// What is missing, and how to come by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missing {
    /// What.
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The first thing that a host lacks for machines.
#[must_use]
pub fn missing(found: &Found) -> Option<Missing> {
    let is = |missing: bool, what, remedy| missing.then_some(Missing { what, remedy });
    is(
        !found.module,
        "vmm(4)",
        "vmm_load=\"YES\" in /boot/loader.conf",
    )
    .or(is(
        !found.works,
        "a processor that vmm(4) can use",
        "Intel VT-x with EPT, or AMD SVM with nested paging and NRIP save, switched on in the firmware; dmesg says what is missing",
    ))
    .or(is(
        found.unrestricted == Some(false),
        "unrestricted guest mode of VT-x",
        "a processor of Intel's from 2010 or later: firmware cannot be booted without it",
    ))
    .or(is(
        !found.program,
        "bhyve(8)",
        "the base system's package FreeBSD-bhyve",
    ))
    .or(is(
        !found.firmware,
        "the firmware /usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
        "`pkg install edk2-bhyve`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Found = Found {
        module: true,
        works: true,
        unrestricted: Some(true),
        program: true,
        firmware: true,
    };

    #[test]
    fn the_first_thing_that_is_missing_is_named() {
        assert_eq!(missing(&WHOLE), None);
        let amd = Found {
            unrestricted: None,
            ..WHOLE
        };
        assert_eq!(missing(&amd), None);
        let nothing = Found {
            module: false,
            works: false,
            unrestricted: None,
            program: false,
            firmware: false,
        };
        let named = |found: Found| missing(&found).expect("something").what;
        assert_eq!(named(nothing), "vmm(4)");
        let remedy = missing(&nothing).expect("something").remedy;
        assert_eq!(remedy, "vmm_load=\"YES\" in /boot/loader.conf");
        let loaded = Found {
            module: true,
            ..nothing
        };
        assert!(named(loaded).contains("processor"));
        let old = Found {
            unrestricted: Some(false),
            ..WHOLE
        };
        assert!(named(old).contains("VT-x"));
        let plain = Found {
            firmware: false,
            ..WHOLE
        };
        assert!(named(plain).contains("BHYVE_UEFI.fd"));
    }
}
