//! What this host offers, for `warder doctor`: each line says what is missing and where to write what.

use std::path::Path;

use warder_common::{At, Result};
use warder_wire::gateway_priv::Feature;

use crate::sys;

/// `kern.osreldate` of the oldest release on which every call of this crate is known to work: 14.3.
const RELEASE: i32 = 1_403_000;

/// How a feature is looked for.
enum Look {
    /// A module of the kernel (modfind(2)).
    Module(&'static str),
    /// A sysctl that is not 0.
    Sysctl(&'static str),
    /// A program of the base system.
    Program(&'static str),
}

/// What is looked for: name, how, and what to do when it is not there.
const WANTED: [(&str, Look, &str); 13] = [
    (
        "jails with networks of their own",
        Look::Sysctl("kern.features.vimage"),
        "kernel option VIMAGE, which GENERIC has: each sandbox has a network of its own",
    ),
    (
        "limits",
        Look::Sysctl("kern.racct.enable"),
        "kern.racct.enable=1 in /boot/loader.conf, then reboot: without it sandboxes have no limits",
    ),
    (
        "zfs",
        Look::Module("zfs"),
        "zfs_load=\"YES\" in /boot/loader.conf and zfs_enable=\"YES\" in /etc/rc.conf: sandboxes are clones of datasets",
    ),
    (
        "nullfs",
        Look::Module("nullfs"),
        "nullfs_load=\"YES\" in /boot/loader.conf: templates and volumes are mounted with it",
    ),
    (
        "tmpfs",
        Look::Module("tmpfs"),
        "tmpfs_load=\"YES\" in /boot/loader.conf: /tmp of sandboxes",
    ),
    (
        "pf",
        Look::Module("pf"),
        "pf_load=\"YES\" in /boot/loader.conf and pf_enable=\"YES\" in /etc/rc.conf: netd filters with it",
    ),
    (
        "epair",
        Look::Module("if_epair"),
        "if_epair_load=\"YES\" in /boot/loader.conf: joins a sandbox's network with the host's",
    ),
    (
        "capability mode",
        Look::Sysctl("kern.features.security_capability_mode"),
        "kernel option CAPABILITY_MODE, which GENERIC has: daemons are confined with it",
    ),
    (
        "capabilities",
        Look::Sysctl("kern.features.security_capabilities"),
        "kernel option CAPABILITIES, which GENERIC has: descriptors are confined with them",
    ),
    (
        "bhyve",
        Look::Module("vmm"),
        "vmm_load=\"YES\" in /boot/loader.conf, on a processor with VT-x or SVM: only the bhyve backend needs it",
    ),
    (
        "program zfs",
        Look::Program("/sbin/zfs"),
        "part of the base system (package FreeBSD-zfs of pkgbase)",
    ),
    (
        "program pfctl",
        Look::Program("/sbin/pfctl"),
        "part of the base system (package FreeBSD-pf of pkgbase)",
    ),
    (
        "program bhyve",
        Look::Program("/usr/sbin/bhyve"),
        "part of the base system (package FreeBSD-bhyve of pkgbase): only the bhyve backend needs it",
    ),
];

/// An identifier of this boot: differs after every restart of the host (`kern.boot_id`).
///
/// # Errors
/// `System`.
pub fn boot_id() -> Result<String> {
    let bytes = sys::sysctl::bytes("kern.boot_id").at("sysctl kern.boot_id")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Every feature looked at, for storage in `state_dir`. Limits are not among them one by one: see
/// [`crate::cell::Controllers::limits_in_force`].
#[must_use]
pub fn report(state_dir: &Path) -> Vec<Feature> {
    let mut features = vec![release()];
    features.extend(
        WANTED
            .iter()
            .map(|(name, look, note)| feature(*name, look.finds(), *note)),
    );
    features.extend(crate::storage::features(state_dir));
    features.push(feature(
        "jail descriptors",
        sys::jail::has_descriptors(),
        "FreeBSD 15 has them; without them jails are found by name",
    ));
    features
}

fn feature(name: impl Into<String>, present: bool, note: impl Into<String>) -> Feature {
    Feature {
        name: name.into(),
        present,
        note: note.into(),
    }
}

impl Look {
    fn finds(&self) -> bool {
        match self {
            Self::Module(name) => sys::kld::has(name),
            Self::Sysctl(name) => sys::sysctl::int(name).is_ok_and(|value| value != 0),
            Self::Program(path) => rustix::fs::access(*path, rustix::fs::Access::EXEC_OK).is_ok(),
        }
    }
}

/// The kernel that runs, which may be older than the programs installed.
fn release() -> Feature {
    let name = sys::sysctl::text("kern.osrelease").unwrap_or_default();
    let present = sys::sysctl::int("kern.osreldate").is_ok_and(|date| date >= RELEASE);
    feature(
        format!("kernel {name}"),
        present,
        "FreeBSD 14.3 or newer is needed",
    )
}
