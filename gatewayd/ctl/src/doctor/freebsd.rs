//! What Warder needs of a FreeBSD host, each with the line that gets it: loader.conf(5), sysctl.conf(5), rc.conf(5).

use std::process::{Command, Stdio};

use super::checks::{Check, Need, at_least};

/// A program of the base system with its arguments; what it printed, if it ended well.
pub(crate) type Ask<'a> = &'a dyn Fn(&str, &[&str]) -> Option<String>;

/// Asks the host.
pub(crate) fn asked(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Everything, for a system of this release.
pub(super) fn all(release: &str, ask: Ask<'_>) -> Vec<Check> {
    let mut checks = vec![Check {
        name: "FreeBSD 14.3 or newer",
        need: Need::Required,
        present: at_least(release, (14, 3)),
        finding: release.to_owned(),
        fix: "freebsd-update -r 15.1-RELEASE upgrade".into(),
    }];
    checks.extend(FEATURES.map(|feature| feature.look(ask)));
    checks.extend(MODULES.map(|module| module.look(ask)));
    checks.push(pipes(ask));
    checks.push(watches(ask));
    checks.push(queues(ask));
    checks
}

/// A number of sysctl(8) that must not be 0.
struct Feature {
    name: &'static str,
    variable: &'static str,
    need: Need,
    without: &'static str,
    fix: &'static str,
}

const FEATURES: [Feature; 5] = [
    Feature {
        name: "networks of jails (VIMAGE)",
        variable: "kern.features.vimage",
        need: Need::Required,
        without: "jails have no network of their own",
        fix: "use a kernel with `options VIMAGE` (GENERIC has it)",
    },
    Feature {
        name: "Capsicum",
        variable: "kern.features.security_capability_mode",
        need: Need::Required,
        without: "the daemons cannot be confined",
        fix: "use a kernel with `options CAPABILITY_MODE` (GENERIC has it)",
    },
    Feature {
        name: "limits of jails (RACCT, RCTL)",
        variable: "kern.features.rctl",
        need: Need::Useful,
        without: "memory, process and processor limits do not hold",
        fix: "use a kernel with `options RACCT` and `options RCTL` (GENERIC has them)",
    },
    Feature {
        name: "limits of jails enabled",
        variable: "kern.racct.enable",
        need: Need::Useful,
        without: "memory, process and processor limits do not hold",
        fix: "loader.conf: kern.racct.enable=1   (then reboot)",
    },
    Feature {
        name: "process descriptors",
        variable: "kern.features.process_descriptors",
        need: Need::Required,
        without: "the daemons cannot watch what they start",
        fix: "use a kernel with `options PROCDESC` (GENERIC has it)",
    },
];

impl Feature {
    fn look(self, ask: Ask<'_>) -> Check {
        let value = ask("/sbin/sysctl", &["-n", self.variable]);
        let value = value.as_deref().map(str::trim);
        let present = value.is_some_and(|value| value != "0");
        Check {
            name: self.name,
            need: self.need,
            present,
            finding: if present { "" } else { self.without }.to_owned(),
            fix: self.fix.into(),
        }
    }
}

/// A module, loaded or part of the kernel (kldstat(8), `-m`).
struct Module {
    name: &'static str,
    module: &'static str,
    need: Need,
    fix: &'static str,
}

const MODULES: [Module; 8] = [
    Module {
        name: "ZFS",
        module: "zfs",
        need: Need::Required,
        fix: "rc.conf: zfs_enable=\"YES\"; now: kldload zfs",
    },
    Module {
        name: "packet filter",
        module: "pf",
        need: Need::Required,
        fix: "loader.conf: pf_load=\"YES\"; now: kldload pf",
    },
    Module {
        name: "log of the packet filter",
        module: "pflog",
        need: Need::Required,
        fix: "loader.conf: pflog_load=\"YES\"; now: kldload pflog",
    },
    Module {
        name: "pairs of interfaces",
        module: "if_epair",
        need: Need::Required,
        fix: "loader.conf: if_epair_load=\"YES\"; now: kldload if_epair",
    },
    Module {
        name: "nullfs",
        module: "nullfs",
        need: Need::Required,
        fix: "loader.conf: nullfs_load=\"YES\"; now: kldload nullfs",
    },
    Module {
        name: "tmpfs",
        module: "tmpfs",
        need: Need::Required,
        fix: "loader.conf: tmpfs_load=\"YES\"; now: kldload tmpfs",
    },
    Module {
        name: "bounds on bandwidth",
        module: "dummynet",
        need: Need::Useful,
        fix: "loader.conf: dummynet_load=\"YES\"; now: kldload dummynet",
    },
    Module {
        name: "virtual machines",
        module: "vmm",
        need: Need::Useful,
        fix: "loader.conf: vmm_load=\"YES\"; now: kldload vmm",
    },
];

impl Module {
    fn look(self, ask: Ask<'_>) -> Check {
        let present = ask("/sbin/kldstat", &["-q", "-m", self.module]).is_some();
        Check {
            name: self.name,
            need: self.need,
            present,
            finding: if present {
                String::new()
            } else {
                format!("no module {}", self.module)
            },
            fix: self.fix.into(),
        }
    }
}

/// The program that sets bounds on bandwidth, which asks the module: it is asked only where that is.
fn pipes(ask: Ask<'_>) -> Check {
    let loaded = ask("/sbin/kldstat", &["-q", "-m", "dummynet"]).is_some();
    let present = !loaded || ask("/sbin/dnctl", &["-n", "pipe", "1", "config"]).is_some();
    Check {
        name: "program for bounds on bandwidth",
        need: Need::Required,
        present,
        finding: if present {
            String::new()
        } else {
            "dummynet is loaded and /sbin/dnctl does not run: no sandbox can be made".to_owned()
        },
        fix: "install the base system's ipfw (dnctl is part of it); or: kldunload dummynet".into(),
    }
}

/// Watches on directories: the agents of all sandboxes are root, which counts as one user.
fn watches(ask: Ask<'_>) -> Check {
    const ENOUGH: u32 = 4096;
    let most = ask("/sbin/sysctl", &["-n", "vfs.inotify.max_user_instances"]);
    let most = most.and_then(|text| text.trim().parse::<u32>().ok());
    Check {
        name: "watches on directories",
        need: Need::Useful,
        present: most.is_some_and(|most| most >= ENOUGH),
        finding: match most {
            None => "no inotify(2): watchDir is refused before FreeBSD 15.0".to_owned(),
            Some(most) if most >= ENOUGH => String::new(),
            Some(most) => format!("at most {most}, for all sandboxes together"),
        },
        fix: "sysctl.conf: vfs.inotify.max_user_instances=4096   (now: sysctl vfs.inotify.max_user_instances=4096)".into(),
    }
}

/// Connections that wait to be accepted: listen(2) cuts what the daemons ask for down to this number, and says nothing.
fn queues(ask: Ask<'_>) -> Check {
    /// What egressd's listeners ask for; the gateway's ask for a quarter.
    const ENOUGH: u32 = 4096;
    let most = ask("/sbin/sysctl", &["-n", "kern.ipc.soacceptqueue"]);
    let most = most.and_then(|text| text.trim().parse::<u32>().ok());
    Check {
        name: "queues of listening sockets",
        need: Need::Useful,
        present: most.is_some_and(|most| most >= ENOUGH),
        finding: match most {
            None => "how long they may be is not known".to_owned(),
            Some(most) if most >= ENOUGH => String::new(),
            Some(most) => format!("at most {most}: bursts of connections beyond that are refused or dropped"),
        },
        fix: "sysctl.conf: kern.ipc.soacceptqueue=4096   (now: sysctl kern.ipc.soacceptqueue=4096; then restart Warder)"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that has everything, with what one program says replaced.
    fn host(changed: (&str, Option<&str>)) -> Vec<Check> {
        let ask = |program: &str, arguments: &[&str]| -> Option<String> {
            let asked = format!("{program} {}", arguments.join(" "));
            if asked == changed.0 {
                return changed.1.map(str::to_owned);
            }
            let said = match (program, arguments) {
                (
                    "/sbin/sysctl",
                    [
                        "-n",
                        "vfs.inotify.max_user_instances" | "kern.ipc.soacceptqueue",
                    ],
                ) => "4096\n",
                ("/sbin/sysctl", ["-n", _]) => "1\n",
                ("/sbin/kldstat", ["-q", "-m", _])
                | ("/sbin/dnctl", ["-n", "pipe", "1", "config"]) => "",
                _ => return None,
            };
            Some(said.to_owned())
        };
        all("15.1-RELEASE-p1", &ask)
    }

    fn lacking(changed: (&str, Option<&str>)) -> Vec<String> {
        let checks = host(changed);
        checks.iter().filter_map(Check::advice).collect()
    }

    #[test]
    fn a_host_with_everything_lacks_nothing() {
        assert_eq!(lacking(("", None)), [""; 0]);
    }

    #[test]
    fn what_freebsd_prints_is_read() {
        // sysctl(8) of FreeBSD 15.1 prints, the last two as they are without any setting:
        let racct = ("/sbin/sysctl -n kern.racct.enable", Some("1\n"));
        assert_eq!(lacking(racct), [""; 0]);
        for asked in [
            ("/sbin/sysctl -n kern.ipc.soacceptqueue", Some("128\n")),
            (
                "/sbin/sysctl -n vfs.inotify.max_user_instances",
                Some("256\n"),
            ),
        ] {
            assert_eq!(lacking(asked).len(), 1, "{asked:?}");
        }
    }

    #[test]
    fn what_lacks_is_named_with_its_line() {
        for (asked, said, line) in [
            (
                "/sbin/sysctl -n kern.racct.enable",
                Some("0\n"),
                "loader.conf: kern.racct.enable=1",
            ),
            (
                "/sbin/sysctl -n kern.features.vimage",
                None,
                "options VIMAGE",
            ),
            (
                "/sbin/kldstat -q -m if_epair",
                None,
                "loader.conf: if_epair_load=\"YES\"",
            ),
            (
                "/sbin/dnctl -n pipe 1 config",
                None,
                "install the base system's ipfw",
            ),
            (
                "/sbin/kldstat -q -m dummynet",
                None,
                "loader.conf: dummynet_load=\"YES\"",
            ),
            (
                "/sbin/sysctl -n vfs.inotify.max_user_instances",
                Some("256\n"),
                "sysctl.conf: vfs.inotify.max_user_instances=4096",
            ),
            (
                "/sbin/sysctl -n vfs.inotify.max_user_instances",
                None,
                "sysctl.conf: vfs.inotify.max_user_instances=4096",
            ),
            (
                "/sbin/sysctl -n kern.ipc.soacceptqueue",
                Some("128\n"),
                "sysctl.conf: kern.ipc.soacceptqueue=4096",
            ),
            (
                "/sbin/sysctl -n kern.ipc.soacceptqueue",
                None,
                "sysctl.conf: kern.ipc.soacceptqueue=4096",
            ),
        ] {
            let lacking = lacking((asked, said));
            assert_eq!(lacking.len(), 1, "{asked}: {lacking:?}");
            assert!(lacking[0].contains(line), "{asked}: {lacking:?}");
        }
    }
}
