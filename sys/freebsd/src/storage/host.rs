//! This host, as `warder-zfs` needs it.

use std::io;
use std::path::{Path, PathBuf};

use warder_tool::{Call, Host as Tools, Output, Run};
use warder_zfs::{Host, Lies};

use crate::sys::{Params, mount};

/// This host.
#[derive(Clone, Copy, Debug)]
pub(super) struct System;

impl Run for System {
    fn run(&self, call: &Call) -> warder_tool::Result<Output> {
        Tools.run(call)
    }
}

impl Host for System {
    fn lies(&self, path: &Path) -> io::Result<Lies> {
        let of = mount::of(path)?;
        Ok(Lies {
            kind: of.kind,
            from: of.from.to_string_lossy().into_owned(),
            on: of.on,
            free: u64::try_from(of.available)
                .unwrap_or(0)
                .saturating_mul(of.block),
        })
    }

    // What zfs(8) does too (zfs_mount_at and do_mount of libzfs), in one call.
    fn mount(&self, dataset: &str, on: &Path) -> io::Result<()> {
        let params = Params::new().text("fspath", on).text("from", dataset);
        Ok(mount::mount("zfs", &params, 0)?)
    }

    fn mounts_below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let below = |found: &mount::Mounted| found.on != path && found.on.starts_with(path);
        let mounted = mount::mounted()?.into_iter().filter(below);
        Ok(mounted.map(|found| found.on).collect())
    }

    // By number: what a guest left on the way may be links, which unmount(2) follows.
    fn unmount(&self, on: &Path) -> io::Result<()> {
        let mounted = mount::mounted()?;
        match mounted.iter().rev().find(|found| found.on == on) {
            Some(found) => Ok(mount::unmount(found.fsid, true)?),
            None => Err(rustix::io::Errno::INVAL.into()),
        }
    }
}
