//! What it means that FreeBSD's kernel refused a step of making a slot. Pure.

use rustix::io::Errno;
use warder_common::Said;

use crate::LinksError;

/// What was to be made, under which name.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Step<'a> {
    /// A slot's jail.
    #[error("jail {0}")]
    Jail(&'a str),
    /// Leave for a machine in it.
    #[error("room for a machine in jail {0}")]
    Machine(&'a str),
    /// An interface of a kind, with what has the host make such.
    #[error("{0}")]
    Kind(&'static str, &'static str),
    /// The name of an interface.
    #[error("interface {0}")]
    Name(&'a str),
}

pub(super) const PAIR: Step<'_> = Step::Kind(
    "epair",
    "`kldload if_epair`, and if_epair_load=\"YES\" in /boot/loader.conf",
);
pub(super) const TAP: Step<'_> = Step::Kind(
    "tap",
    "`kldload if_tuntap`, and if_tuntap_load=\"YES\" in /boot/loader.conf",
);

impl Step<'_> {
    /// The error for what the kernel said.
    pub(super) fn refused(self, said: impl Into<Said>) -> LinksError {
        let said = said.into();
        match (self, said.errno) {
            (Self::Jail(_) | Self::Name(_), Errno::EXIST) => LinksError::Taken(self.to_string()),
            // kern_jail_set: no number is free.
            (Self::Jail(_), Errno::AGAIN) => LinksError::Exhausted("jail"),
            // The same: what is changed must be alive. A jail that is made may have the name of dying ones.
            (Self::Machine(slot), Errno::NOENT) => LinksError::Dying(slot.to_owned()),
            (Self::Machine(_), Errno::INVAL) => LinksError::Missing {
                what: "vmm(4)",
                remedy: "vmm_load=\"YES\" in /boot/loader.conf",
            },
            // ifc_alloc_unit, epair_clone_match: no number is free.
            (Self::Kind(what, _), Errno::NOSPC | Errno::EXIST) => LinksError::Exhausted(what),
            // ifc_create_ifp_nl: nobody makes any of this kind.
            (Self::Kind(what, remedy), Errno::INVAL) => LinksError::Missing { what, remedy },
            _ => failed(&format!("make {self}"), said),
        }
    }
}

/// A failed call, with the kernel's own words for it where it had some.
pub(super) fn failed(what: &str, said: Said) -> LinksError {
    let words = match said.text.as_str() {
        "" => String::new(),
        text => format!(" ({text})"),
    };
    LinksError::io(format!("{what}{words}"), said.errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAIL: Step<'_> = Step::Jail("we40c292c-7");
    const MACHINE: Step<'_> = Step::Machine("we40c292c-7");
    const NAME: Step<'_> = Step::Name("se40c292c7");

    fn said(step: Step<'_>, errno: Errno, text: &str) -> LinksError {
        let text = text.to_owned();
        step.refused(Said { errno, text })
    }

    #[test]
    fn what_is_used_up_is_named() {
        for (step, errno, what) in [
            (PAIR, Errno::NOSPC, "epair"),
            (PAIR, Errno::EXIST, "epair"),
            (TAP, Errno::NOSPC, "tap"),
            (TAP, Errno::EXIST, "tap"),
            (JAIL, Errno::AGAIN, "jail"),
        ] {
            let error = step.refused(errno);
            assert!(
                matches!(error, LinksError::Exhausted(is) if is == what),
                "{step}: {error}"
            );
        }
    }

    #[test]
    fn what_somebody_else_has_is_named() {
        for (step, what) in [(JAIL, "jail we40c292c-7"), (NAME, "interface se40c292c7")] {
            let error = said(step, Errno::EXIST, "jail \"we40c292c-7\" already exists");
            assert!(
                matches!(&error, LinksError::Taken(is) if is == what),
                "{error}"
            );
        }
    }

    #[test]
    fn a_module_that_is_missing_comes_with_its_line() {
        for (step, line) in [
            (PAIR, "if_epair_load=\"YES\""),
            (TAP, "if_tuntap_load=\"YES\""),
            (MACHINE, "vmm_load=\"YES\""),
        ] {
            let error = said(step, Errno::INVAL, "unknown parameter: allow.vmm");
            assert!(matches!(error, LinksError::Missing { .. }), "{error}");
            assert!(error.to_string().contains(line), "{error}");
        }
    }

    #[test]
    fn a_jail_that_is_dying_is_said_to_be() {
        let error = said(MACHINE, Errno::NOENT, "jail 7 not found");
        assert!(
            matches!(&error, LinksError::Dying(name) if name == "we40c292c-7"),
            "{error}"
        );
        assert!(error.to_string().contains("jls -d"), "{error}");
    }

    #[test]
    fn the_rest_is_told_as_the_kernel_told_it() {
        for step in [JAIL, MACHINE, NAME, PAIR, TAP] {
            for errno in [Errno::NXIO, Errno::NOMEM, Errno::PERM] {
                let error = step.refused(errno);
                assert!(
                    matches!(error, LinksError::System { .. }),
                    "{step}: {error}"
                );
            }
        }
        assert_eq!(
            said(NAME, Errno::NXIO, "").to_string(),
            format!(
                "make interface se40c292c7: {}",
                std::io::Error::from(Errno::NXIO)
            )
        );
        assert_eq!(
            said(JAIL, Errno::PERM, "vnet jails are not allowed").to_string(),
            format!(
                "make jail we40c292c-7 (vnet jails are not allowed): {}",
                std::io::Error::from(Errno::PERM)
            )
        );
    }
}
