//! A cell's jail: its name, by which everything of it is found again, and its parameters (jail(8)).

use std::path::Path;

use warder_wire::priv_net::slot_jail;
use warder_wire::{InstanceTag, SandboxId};

/// The full name of a cell's jail: below that of its slot, whose network it has (jail(8), HIERARCHICAL JAILS).
#[must_use]
pub fn name(tag: InstanceTag, counter: u32, sandbox: &SandboxId) -> String {
    format!("{}.{sandbox}", slot_jail(tag, counter))
}

/// The slot's counter and the sandbox of a jail, if it is a cell's of this instance.
#[must_use]
pub fn parse(tag: InstanceTag, name: &str) -> Option<(u32, SandboxId)> {
    let (slot, sandbox) = name.split_once('.')?;
    let (_, counter) = slot.rsplit_once('-')?;
    let counter = counter.parse().ok()?;
    let sandbox = SandboxId::new(sandbox).ok()?;
    (slot == slot_jail(tag, counter)).then_some((counter, sandbox))
}

/// Whether the kernel's words, when it refuses to make a cell's jail, mean one that is dying: removed, and held by a
/// connection or a mount (kern_jail.c, `kern_jail_set`). A slot's that is takes no other; a cell's that is counts as the
/// one that a slot has room for. Of the name itself any number may be dying.
#[must_use]
pub fn is_held_up(words: &str) -> bool {
    words.ends_with(" is dying") || words == "prison limit exceeded"
}

/// Value of a parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// It is on by being there.
    Flag,
    /// A number.
    Int(i32),
    /// A text.
    Text(&'a str),
    /// A path.
    Path(&'a Path),
}

/// `JAIL_SYS_DISABLE`, `JAIL_SYS_NEW` and `JAIL_SYS_INHERIT` of sys/jail.h.
const DISABLE: i32 = 0;
const NEW: i32 = 1;
const INHERIT: i32 = 2;

/// Refused by name, whatever the kernel's defaults are: none of the privileges of jail(8)'s `allow.*` but
/// low ports, a root user and debugging of one's own processes, which a jail has unless they are taken away.
const REFUSED: [&str; 9] = [
    "allow.nochflags",
    "allow.nomlock",
    "allow.nomount",
    "allow.noquotas",
    "allow.noraw_sockets",
    "allow.noread_msgbuf",
    "allow.noset_hostname",
    "allow.nosocket_af",
    "allow.nosysvipc",
];

/// The parameters of a cell's jail. `vnet` is not among them on purpose: without it a jail has the network of
/// its parent and does not own it, so that root in it can change no address, route, interface or rule and has
/// no raw socket (prison_priv_check in kern_jail.c grants those only to a jail with a vnet of its own).
#[must_use]
pub fn parameters<'a>(
    name: &'a str,
    sandbox: &'a SandboxId,
    root: &'a Path,
    ruleset: u16,
) -> Vec<(&'static str, Value<'a>)> {
    let mut parameters = vec![
        ("name", Value::Text(name)),
        ("path", Value::Path(root)),
        ("host.hostname", Value::Text(sandbox.as_str())),
        ("securelevel", Value::Int(3)),
        ("children.max", Value::Int(0)),
        ("enforce_statfs", Value::Int(2)),
        ("devfs_ruleset", Value::Int(i32::from(ruleset))),
        ("ip4", Value::Int(INHERIT)),
        ("ip6", Value::Int(DISABLE)),
        // Keys of its own: what another jail has under the same key is another object.
        ("sysvmsg", Value::Int(NEW)),
        ("sysvsem", Value::Int(NEW)),
        ("sysvshm", Value::Int(NEW)),
    ];
    parameters.extend(REFUSED.map(|name| (name, Value::Flag)));
    parameters
}

/// Those of a machine's jail: the same, and what bhyve(8) asks of vmm(4) (vmm_dev.c).
#[must_use]
pub fn of_machine<'a>(
    name: &'a str,
    sandbox: &'a SandboxId,
    root: &'a Path,
    ruleset: u16,
) -> Vec<(&'static str, Value<'a>)> {
    let mut parameters = parameters(name, sandbox, root, ruleset);
    parameters.push(("allow.vmm", Value::Flag));
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> InstanceTag {
        InstanceTag::of_state_dir(b"/var/db/warder")
    }

    fn sandbox() -> SandboxId {
        SandboxId::new("iabcdefghij0123456789").expect("an id")
    }

    #[test]
    fn a_name_says_slot_and_sandbox() {
        let name = name(tag(), 17, &sandbox());
        assert_eq!(parse(tag(), &name), Some((17, sandbox())));
        assert_eq!(parse(InstanceTag::of_state_dir(b"/other"), &name), None);
    }

    #[test]
    fn names_of_others_are_nobodys() {
        let slot = slot_jail(tag(), 1);
        for foreign in [
            slot.clone(),
            format!("{slot}.www"),
            format!("{slot}.{}.child", sandbox()),
            format!("other.{}", sandbox()),
            format!("{}.{}", slot.replace("-1", "-01"), sandbox()),
            format!("{}.{}", slot.replace("-1", "-"), sandbox()),
            format!("{}.{}", slot.replace("-1", "-4294967296"), sandbox()),
            sandbox().to_string(),
            String::new(),
        ] {
            assert_eq!(parse(tag(), &foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_dying_jail_is_told_from_other_refusals() {
        for (words, dying) in [
            ("jail \"we40c292c-17\" is dying", true),
            ("prison limit exceeded", true),
            ("jail \"we40c292c-17\" not found", false),
            (
                "jail \"we40c292c-17.iabcdefghij0123456789\" already exists",
                false,
            ),
            ("no available jail IDs", false),
            ("", false),
        ] {
            assert_eq!(is_held_up(words), dying, "{words}");
        }
    }

    #[test]
    fn a_cell_does_not_own_its_network_and_may_nothing() {
        let (name, sandbox) = (name(tag(), 1, &sandbox()), sandbox());
        let list = parameters(&name, &sandbox, Path::new("/tree"), 22_272);
        let of = |name| list.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        assert_eq!(of("vnet"), None);
        assert_eq!(of("persist"), None);
        assert_eq!(of("path"), Some(Value::Path(Path::new("/tree"))));
        assert_eq!(of("children.max"), Some(Value::Int(0)));
        assert_eq!(of("enforce_statfs"), Some(Value::Int(2)));
        assert_eq!(of("securelevel"), Some(Value::Int(3)));
        assert_eq!(of("devfs_ruleset"), Some(Value::Int(22_272)));
        assert_eq!(of("ip4"), Some(Value::Int(2)));
        assert_eq!(of("ip6"), Some(Value::Int(0)));
        for (name, _) in &list {
            assert!(
                !name.starts_with("allow.") || name.starts_with("allow.no"),
                "{name}"
            );
        }
    }
}
