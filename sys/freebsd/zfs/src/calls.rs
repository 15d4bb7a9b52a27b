//! The command lines (zfs(8), zpool(8)).

use std::path::Path;
use std::time::Duration;

use warder_tool::{Call, Tool};

use crate::names::{Layout, Place, Shelf};

/// Everything that is made carries the first, by inheritance; the others are set where they are meant.
pub(crate) const TAG: &str = "org.warder:tag";
pub(crate) const KIND: &str = "org.warder:kind";
pub(crate) const STAMP: &str = "org.warder:stamp";
pub(crate) const LINEAGE: &str = "org.warder:lineage";
pub(crate) const HOST_BASE: &str = "org.warder:host-base";
pub(crate) const MADE_OF: &str = "org.warder:made-of";

/// What a listing asks for, in this order.
pub(crate) const COLUMNS: [&str; 12] = [
    "name",
    "type",
    "used",
    "referenced",
    "origin",
    "creation",
    TAG,
    KIND,
    STAMP,
    LINEAGE,
    HOST_BASE,
    MADE_OF,
];

/// A listing of thousands of sandboxes, each with the names of all its templates.
const MOST_LISTED: usize = 64 << 20;
/// A command returns when what it did is on disk, which may have much to write first; whoever waits has a limit of its own.
const LONG: Duration = Duration::from_secs(300);

fn zfs<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Call {
    Call::new(Tool::Zfs, args).within(LONG)
}

/// `NAME=VALUE` options.
fn with(verb: &str, options: &[(&str, &str)], last: &[&str]) -> Call {
    let mut args = vec![verb.to_owned()];
    for (name, value) in options {
        args.extend(["-o".to_owned(), format!("{name}={value}")]);
    }
    args.extend(last.iter().map(|&arg| arg.to_owned()));
    zfs(args)
}

/// Everything below a dataset, itself included (zfs-list(8)): numbers exact, fields divided by tabs.
pub(crate) fn list(root: &str) -> Call {
    let columns = COLUMNS.join(",");
    zfs([
        "list",
        "-H",
        "-p",
        "-r",
        "-t",
        "filesystem,volume,snapshot",
        "-o",
        &columns,
        root,
    ])
    .most(MOST_LISTED)
}

/// What is used below a dataset, without snapshots.
pub(crate) fn usage(root: &str) -> Call {
    zfs([
        "list",
        "-H",
        "-p",
        "-r",
        "-d",
        "2",
        "-t",
        "filesystem",
        "-o",
        "name,used",
        root,
    ])
    .most(MOST_LISTED)
}

/// One property of one dataset, by itself.
pub(crate) fn get(property: &str, dataset: &str) -> Call {
    zfs([
        "list",
        "-H",
        "-p",
        "-t",
        "filesystem,snapshot",
        "-o",
        property,
        dataset,
    ])
}

/// The instance's own dataset. Nothing below it is mounted but by this crate, and what is not said here is inherited from the
/// operator's (compression, say). FreeBSD opens no device node outside of devfs(4), so there is no `devices` to turn off.
pub(crate) fn create_root(layout: &Layout, tag: &str, mountpoint: &str) -> Call {
    let options = [
        ("canmount", "noauto"),
        ("mountpoint", mountpoint),
        ("atime", "off"),
        ("exec", "on"),
        ("setuid", "on"),
        ("snapdir", "hidden"),
        (TAG, tag),
    ];
    with("create", &options, &[layout.root()])
}

/// One of the three that hold the others.
pub(crate) fn create_shelf(layout: &Layout, shelf: Shelf) -> Call {
    with("create", &[("canmount", "off")], &[&layout.shelf(shelf)])
}

/// An empty tree.
pub(crate) fn create(layout: &Layout, place: &Place, properties: &[(&str, &str)]) -> Call {
    let options = [&[("canmount", "noauto")], properties].concat();
    with("create", &options, &[&layout.dataset(place)])
}

/// A tree that begins as a snapshot. Not mounted by this: `canmount` is `noauto`.
pub(crate) fn clone(
    layout: &Layout,
    snapshot: &str,
    place: &Place,
    properties: &[(&str, &str)],
) -> Call {
    let options = [&[("canmount", "noauto")], properties].concat();
    with("clone", &options, &[snapshot, &layout.dataset(place)])
}

/// A snapshot of a tree.
pub(crate) fn snapshot(snapshot: &str, properties: &[(&str, &str)]) -> Call {
    with("snapshot", properties, &[snapshot])
}

/// Makes the origin of a clone depend on the clone (zfs-promote(8)).
pub(crate) fn promote(dataset: &str) -> Call {
    zfs(["promote", dataset])
}

/// Sets properties, all or none.
pub(crate) fn set(dataset: &str, properties: &[(&str, &str)]) -> Call {
    let mut args = vec!["set".to_owned()];
    args.extend(
        properties
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    args.push(dataset.to_owned());
    zfs(args)
}

/// Destroys a tree and its snapshots. A jail that is dying may still hold its root, so the unmounting is forced; no process
/// is left in it by then.
pub(crate) fn destroy(dataset: &str) -> Call {
    zfs(["destroy", "-r", "-f", dataset])
}

/// Destroys a snapshot.
pub(crate) fn destroy_snapshot(snapshot: &str) -> Call {
    zfs(["destroy", snapshot])
}

/// Writes everything out, not to the intent log only (zpool-sync(8)).
pub(crate) fn sync(pool: &str) -> Call {
    Call::new(Tool::Zpool, ["sync", pool]).within(LONG)
}

/// Makes the databases of master.passwd in `directory` and the passwd(5) beside it (pwd_mkdb(8)).
pub(crate) fn pwd_mkdb(directory: &Path) -> Option<Call> {
    let directory = directory.to_str()?;
    let file = format!("{directory}/master.passwd");
    Some(Call::new(
        Tool::PwdMkdb,
        ["-i", "-p", "-d", directory, &file],
    ))
}

#[cfg(test)]
mod tests {
    use warder_wire::{InstanceTag, TemplateName};

    use super::*;

    #[test]
    fn command_lines_are_these() {
        let tag = InstanceTag::of_state_dir(b"a");
        let layout = Layout::new("tank", tag, Path::new("/s")).expect("good");
        let root = "tank/warder-e40c292c";
        let template = Place::template(&TemplateName::new("py").expect("a name"), 7);
        let sandbox = layout
            .place(&format!("{root}/sandboxes/iabcdefghij0123456789"))
            .expect("one");
        let expected = [
            (
                create_root(&layout, "e40c292c", "/s/zfs"),
                "/sbin/zfs create -o canmount=noauto -o mountpoint=/s/zfs -o atime=off -o exec=on -o setuid=on \
                 -o snapdir=hidden -o org.warder:tag=e40c292c ROOT",
            ),
            (
                create_shelf(&layout, Shelf::Volumes),
                "/sbin/zfs create -o canmount=off ROOT/volumes",
            ),
            (
                create(&layout, &template, &[(KIND, "draft"), (STAMP, "7")]),
                "/sbin/zfs create -o canmount=noauto -o org.warder:kind=draft -o org.warder:stamp=7 ROOT/templates/py.7",
            ),
            (
                clone(
                    &layout,
                    &layout.snapshot(&template, 7),
                    &sandbox,
                    &[("refquota", "1048576")],
                ),
                "/sbin/zfs clone -o canmount=noauto -o refquota=1048576 ROOT/templates/py.7@7 \
                 ROOT/sandboxes/iabcdefghij0123456789",
            ),
            (
                snapshot(&layout.snapshot(&sandbox, 9), &[(KIND, "draft")]),
                "/sbin/zfs snapshot -o org.warder:kind=draft ROOT/sandboxes/iabcdefghij0123456789@9",
            ),
            (
                promote(&layout.dataset(&template)),
                "/sbin/zfs promote ROOT/templates/py.7",
            ),
            (
                set(&layout.dataset(&template), &[(KIND, "template")]),
                "/sbin/zfs set org.warder:kind=template ROOT/templates/py.7",
            ),
            (
                destroy(&layout.dataset(&sandbox)),
                "/sbin/zfs destroy -r -f ROOT/sandboxes/iabcdefghij0123456789",
            ),
            (
                list(root),
                "/sbin/zfs list -H -p -r -t filesystem,volume,snapshot -o name,type,used,referenced,origin,creation,\
                 org.warder:tag,org.warder:kind,org.warder:stamp,org.warder:lineage,org.warder:host-base,\
                 org.warder:made-of ROOT",
            ),
            (
                usage(root),
                "/sbin/zfs list -H -p -r -d 2 -t filesystem -o name,used ROOT",
            ),
            (sync(layout.pool()), "/sbin/zpool sync tank"),
            (
                pwd_mkdb(Path::new("/s/zfs/templates/base.1/etc")).expect("text"),
                "/usr/sbin/pwd_mkdb -i -p -d /s/zfs/templates/base.1/etc /s/zfs/templates/base.1/etc/master.passwd",
            ),
        ];
        for (call, line) in expected {
            assert_eq!(call.to_string(), line.replace("ROOT", root));
        }
    }
}
