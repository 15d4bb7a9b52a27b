//! What a host must have before there can be slots.

use warder_freebsd::sys::{kld, sysctl};

use crate::LinksError;

/// Modules, with what to do without them.
const MODULES: [(&str, &str, &str); 3] = [
    (
        "if_epair",
        "the module if_epair",
        "`kldload if_epair`, and if_epair_load=\"YES\" in /boot/loader.conf",
    ),
    (
        "pf",
        "the module pf",
        "`kldload pf`, and pf_enable=\"YES\" in /etc/rc.conf",
    ),
    (
        "pflog",
        "the module pflog",
        "`kldload pflog`, and pflog_load=\"YES\" in /boot/loader.conf",
    ),
];

/// Looks.
pub(super) fn check() -> Result<(), LinksError> {
    if !sysctl::exists("kern.features.vimage") {
        return Err(LinksError::Missing {
            what: "the kernel's option VIMAGE",
            remedy: "use the GENERIC kernel, or one with that option",
        });
    }
    match MODULES.iter().find(|(name, ..)| !kld::has(name)) {
        None => Ok(()),
        Some((_, what, remedy)) => Err(LinksError::Missing { what, remedy }),
    }
}
