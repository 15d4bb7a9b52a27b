//! Root trees of sandboxes, and the templates they are cloned from.
//!
//! In the state directory, all of it root's alone (guests' set-id files lie here):
//!
//! - `layers/<layer>/`: `tree`, a whole tree, and for one that shares the host's /usr also `mask`, whiteouts for parts
//!   of it; or `up` and perhaps `usr-up`, what a sandbox had changed in the layers below;
//! - `templates/<name>`: a manifest, the layers of a template;
//! - `cells/<id>/`: `layers`, the manifest of what it was cloned from; `up` and `wk`, the upper and work directory of
//!   the root overlay; `usr-up` and `usr-wk` where /usr is an overlay of its own;
//! - `volumes/<id>/`: `data`, which cells mount;
//! - `stage/`: empty mount points, used by each cell in its own mount namespace;
//! - `trash/`: what waits to be removed.
//!
//! All but the trash and the cells' upper directories have ids from 0 up.

mod base;
mod import;
mod layers;
mod measure;
mod quotas;
mod snapshot;
mod trash;
mod volumes;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Gid, IFlags, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::{GuestPath, SandboxId, TemplateName, VolumeId};

pub(crate) use base::link_merged_usr;
pub use layers::{Draft, MOST_LAYERS};

use crate::cell::IdRange;
use crate::quota::{self, Counted};

/// The state directory's storage.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
    path: PathBuf,
    manifests: layers::Manifests,
    volumes: BTreeSet<VolumeId>,
    /// What the file system holds to limits.
    quotas: Option<Counted>,
    /// Bytes that a volume to be made may hold.
    volume_quota: Option<u64>,
}

/// A sandbox's root tree, as [`crate::cell::spawn`] takes it.
#[derive(Clone, Debug)]
pub struct Root {
    state_dir: PathBuf,
    /// Where the writable directories are, wherever that is moved.
    cell: Arc<OwnedFd>,
    layers: layers::Names,
    shares_usr: bool,
    volumes: Vec<VolumeMount>,
    quotas: bool,
}

impl Root {
    /// The tree with volumes mounted in it.
    #[must_use]
    pub fn with_volumes(mut self, volumes: &[VolumeMount]) -> Self {
        self.volumes = volumes.to_vec();
        self
    }

    /// Each volume's content, below the state directory, and where it goes.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (String, &GuestPath)> {
        let mounts = self.volumes.iter();
        mounts.map(|mount| (volumes::content(&mount.volume), &mount.at))
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The directory of the writable ones.
    pub(crate) fn cell(&self) -> BorrowedFd<'_> {
        self.cell.as_fd()
    }

    /// What lies over the tree, the topmost first: directories with `up` and perhaps `usr-up`, below the state directory.
    pub(crate) fn uppers(&self) -> impl Iterator<Item = String> {
        let uppers = self
            .layers
            .split_last()
            .map_or(&[][..], |(_, uppers)| uppers);
        uppers.iter().map(|name| format!("layers/{name}"))
    }

    /// The tree, below the state directory.
    pub(crate) fn tree(&self) -> String {
        format!("{}/tree", bottom(&self.layers))
    }

    /// For one that shares the host's /usr: the layer that hides parts of it.
    pub(crate) fn mask(&self) -> Option<String> {
        self.shares_usr
            .then(|| format!("{}/mask", bottom(&self.layers)))
    }
}

fn bottom(layers: &[Arc<str>]) -> String {
    format!("layers/{}", layers.last().map_or("", |name| name))
}

pub(crate) const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);
const STAGE: [&str; 8] = [
    "tree",
    "usr",
    "mask",
    "cell",
    "root",
    "void",
    "lower",
    "usr-lower",
];

impl Store {
    /// Opens, and where needed makes, the storage in `state_dir`, which must exist.
    ///
    /// # Errors
    /// `System`; `Unsupported` where a dataset of ZFS is named.
    pub fn open(state_dir: &Path, dataset: Option<&str>) -> Result<Self> {
        if dataset.is_some() {
            return Err(HostError::Unsupported {
                operation: "storage on a dataset of ZFS (`zfs_dataset`)",
            });
        }
        let path = std::fs::canonicalize(state_dir).at("find the state directory")?;
        let directory =
            rustix::fs::open(&path, DIRECTORY, Mode::empty()).at("open the state directory")?;
        let mut store = Self {
            quotas: quota::in_force(directory.as_fd()),
            directory,
            path,
            manifests: layers::Manifests::default(),
            volumes: BTreeSet::new(),
            volume_quota: None,
        };
        for name in ["cells", "layers", "templates", "volumes", "trash", "stage"] {
            store.make_dir(name)?;
        }
        for name in STAGE {
            store.make_dir(&format!("stage/{name}"))?;
        }
        for n in 1..MOST_LAYERS {
            store.make_dir(&format!("stage/{n}"))?;
            store.make_dir(&format!("stage/u{n}"))?;
        }
        store.spread("cells")?;
        store.spread("layers")?;
        store.load_layers()?;
        store.load_volumes()?;
        store.make_bare()?;
        Ok(store)
    }

    /// Makes template `bare` if it is missing: nothing but what a cell mounts over.
    fn make_bare(&mut self) -> Result<()> {
        let bare = TemplateName::new("bare").map_err(|_| HostError::Invalid("template bare"))?;
        if self.has_template(&bare) {
            return Ok(());
        }
        let draft = self.draft(&bare, None)?;
        let tree = self.make_tree(&draft)?;
        import::make_mount_points(&tree)?;
        rustix::fs::mkdirat(&tree, "volume", Mode::RWXU).at("make template bare")?;
        self.keep_plain(&draft)?;
        self.settle(draft, true)
    }

    /// Makes the directory of a draft that is a whole tree.
    fn make_tree(&self, draft: &Draft) -> Result<OwnedFd> {
        let tree = format!("{}/tree", draft.place());
        self.make_dir(&tree)?;
        let tree = self.open_dir(&tree)?;
        rustix::fs::fchmod(&tree, Mode::from_raw_mode(0o755)).at("fchmod")?;
        Ok(tree)
    }

    /// Leaves the host as it was, when no sandbox is left: on this system nothing is mounted for the store.
    ///
    /// # Errors
    /// None here.
    pub fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Writes out everything that lies in the file system of the state directory, as its worker: this takes its
    /// time.
    ///
    /// # Errors
    /// `System`.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.directory).at("syncfs")
    }

    fn make_dir(&self, name: &str) -> Result<()> {
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno).at("make a directory of the store"),
        }
    }

    /// Asks ext4 to begin every directory in `name` in another block group, where it matters: without a journal
    /// a new file costs a look at each inode that was freed in its group within the last minute.
    fn spread(&self, name: &str) -> Result<()> {
        let directory = self.open_dir(name)?;
        if let Ok(flags) = rustix::fs::ioctl_getflags(&directory) {
            // Other file systems do not know this hint.
            let _ = rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR);
        }
        Ok(())
    }

    pub(crate) fn open_dir(&self, name: &str) -> Result<OwnedFd> {
        rustix::fs::openat(&self.directory, name, DIRECTORY, Mode::empty())
            .at("open a directory of the store")
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Makes a sandbox's writable tree over a template: empty but for the names it is known by. On failure
    /// nothing is left outside the trash.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Invalid` when there is no such template.
    pub fn clone_template(
        &mut self,
        sandbox: &SandboxId,
        template: &TemplateName,
        ids: IdRange,
        resolvers: &[Ipv4Addr],
    ) -> Result<()> {
        let layers = self.manifests.of_template(template)?;
        let shares_usr = self.has(&format!("{}/mask", bottom(&layers)));
        let cells = self.open_dir("cells")?;
        self.make_counted(cells.as_fd(), sandbox.as_str())
            .at("make a sandbox's directory")?;
        let filled = (|| {
            let cell = rustix::fs::openat(&cells, sandbox.as_str(), DIRECTORY, Mode::empty())
                .at("open a sandbox's directory")?;
            self.set_apart(&cell)?;
            let owner = Owner::from(ids);
            let up = owner.make_dir(cell.as_fd(), "up")?;
            self.imitate(&up, &layers, ("up", "tree"), ids)?;
            rustix::fs::mkdirat(&cell, "wk", Mode::RWXU).at("make a work directory")?;
            if shares_usr {
                let usr = owner.make_dir(cell.as_fd(), "usr-up")?;
                self.imitate(&usr, &layers, ("usr-up", "tree/usr"), ids)?;
                rustix::fs::mkdirat(&cell, "usr-wk", Mode::RWXU).at("make a work directory")?;
            }
            let etc = owner.make_dir(up.as_fd(), "etc")?;
            self.imitate(&etc, &layers, ("up/etc", "tree/etc"), ids)?;
            for (name, text) in names(sandbox) {
                owner.make_file(etc.as_fd(), name, &text)?;
            }
            owner.make_file(etc.as_fd(), "resolv.conf", &resolv_conf(resolvers))?;
            self.write_manifest(&format!("cells/{sandbox}/layers"), &layers)
                .map(drop)
        })();
        if filled.is_err() {
            self.discard(sandbox)?;
            return filled;
        }
        self.manifests.hold(&layers);
        self.manifests.cells.insert(sandbox.clone(), layers);
        Ok(())
    }

    /// A directory in an upper stands for those below it: gives it the owner and mode of the topmost, which is at
    /// `over` in a layer or at `bottom` in the last one.
    fn imitate(
        &self,
        upper: &OwnedFd,
        layers: &[Arc<str>],
        (over, bottom): (&str, &str),
        ids: IdRange,
    ) -> Result<()> {
        let places = std::iter::repeat_n(over, layers.len() - 1).chain([bottom]);
        let look = |(layer, place): (&Arc<str>, &str)| {
            let path = format!("layers/{layer}/{place}");
            rustix::fs::statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW).ok()
        };
        let Some(stat) = layers.iter().zip(places).find_map(look) else {
            return Ok(());
        };
        let within = stat.st_uid < ids.count && stat.st_gid < ids.count;
        if !within || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let owner = Owner(
            Uid::from_raw(ids.first + stat.st_uid),
            Gid::from_raw(ids.first + stat.st_gid),
        );
        owner.finish(upper, stat.st_mode)
    }

    /// The tree of a sandbox.
    ///
    /// # Errors
    /// `Invalid` when it has none.
    pub fn root(&self, sandbox: &SandboxId) -> Result<Root> {
        let layers = self.layers_of(sandbox)?;
        Ok(Root {
            state_dir: self.path.clone(),
            cell: self.open_dir(&format!("cells/{sandbox}"))?.into(),
            shares_usr: self.has(&format!("{}/mask", bottom(&layers))),
            layers,
            volumes: Vec::new(),
            quotas: self.quotas.is_some(),
        })
    }

    /// Makes a tree that was cloned ahead, as `from`, the one of `sandbox`; the names in it stay as they are. False when
    /// the template has become another one since, and nothing is changed.
    ///
    /// # Errors
    /// `System`; `Invalid` when there is no such tree or template.
    pub fn pass(
        &mut self,
        from: &SandboxId,
        sandbox: &SandboxId,
        template: &TemplateName,
    ) -> Result<bool> {
        let layers = self.layers_of(from)?;
        if *self.manifests.of_template(template)? != *layers {
            return Ok(false);
        }
        let (from_path, to) = (format!("cells/{from}"), format!("cells/{sandbox}"));
        let (store, new) = (&self.directory, RenameFlags::NOREPLACE);
        rustix::fs::renameat_with(store, from_path, store, to, new).at("pass a tree on")?;
        self.manifests.cells.remove(from);
        self.manifests.cells.insert(sandbox.clone(), layers);
        Ok(true)
    }

    /// Gives a tree that was passed on, and that nothing has run in, the names of its sandbox.
    ///
    /// # Errors
    /// `System`.
    pub fn rename(&self, sandbox: &SandboxId) -> Result<()> {
        write_names(&self.open_dir(&format!("cells/{sandbox}/up/etc"))?, sandbox)
    }

    /// Takes a sandbox's tree out of use, by moving it to the trash; false if there is none. No process may run in it.
    ///
    /// # Errors
    /// `System`.
    pub fn discard(&mut self, sandbox: &SandboxId) -> Result<bool> {
        let there = self.retire(&format!("cells/{sandbox}"), "")?;
        match self.manifests.cells.remove(sandbox) {
            Some(layers) => self.release(&layers).map(|()| there),
            None => Ok(there),
        }
    }

    /// Moves a tree to the trash, under a name of its own; false if there is none.
    fn move_away(&self, from: &str) -> Result<bool> {
        let name = from.rsplit('/').next().unwrap_or(from);
        loop {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos();
            let to = format!("trash/{name}.{now}");
            let moved = rustix::fs::renameat_with(
                &self.directory,
                from,
                &self.directory,
                to,
                RenameFlags::NOREPLACE,
            );
            match moved {
                Ok(()) => return Ok(true),
                Err(Errno::NOENT) => return Ok(false),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).at("move a tree away"),
            }
        }
    }

    /// Sandboxes that have a tree.
    ///
    /// # Errors
    /// `System`.
    pub fn list(&self) -> Result<Vec<SandboxId>> {
        self.names("cells", |name| SandboxId::new(name).ok())
    }

    /// Names in a directory of the store that `parse` takes, in order.
    fn names<T: Ord>(&self, directory: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.open_dir(directory)?).at("list a directory of the store")? {
            let entry = entry.at("list a directory of the store")?;
            names.extend(entry.file_name().to_str().ok().and_then(&parse));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Bytes free for unprivileged use and in all, where the state directory is.
    ///
    /// # Errors
    /// `System`.
    pub fn room(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::fstatvfs(&self.directory).at("statvfs")?;
        Ok((
            stat.f_bavail.saturating_mul(stat.f_frsize),
            stat.f_blocks.saturating_mul(stat.f_frsize),
        ))
    }
}

impl AsFd for Store {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Root of a sandbox, on disk.
#[derive(Clone, Copy)]
struct Owner(Uid, Gid);

impl From<IdRange> for Owner {
    fn from(ids: IdRange) -> Self {
        Self(Uid::from_raw(ids.first), Gid::from_raw(ids.first))
    }
}

impl Owner {
    fn make_dir(self, parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
        rustix::fs::mkdirat(parent, name, Mode::RWXU).at("make a directory")?;
        let dir =
            rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()).at("open a directory")?;
        self.finish(&dir, 0o755)?;
        Ok(dir)
    }

    fn make_file(self, parent: BorrowedFd<'_>, name: &str, text: &str) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).at("make a file")?;
        write_all(&file, text.as_bytes())?;
        self.finish(&file, 0o644)
    }

    fn finish(self, file: &OwnedFd, mode: u32) -> Result<()> {
        rustix::fs::fchown(file, Some(self.0), Some(self.1)).at("fchown")?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).at("fchmod")
    }
}

pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written =
            rustix::io::retry_on_intr(|| rustix::io::write(file, bytes)).at("write a file")?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Writes the names of `sandbox` into the files that are there for them.
pub(crate) fn write_names(etc: &OwnedFd, sandbox: &SandboxId) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for (name, text) in names(sandbox) {
        let file =
            rustix::fs::openat(etc, name, flags, Mode::empty()).at("open a file of names")?;
        write_all(&file, text.as_bytes())?;
    }
    Ok(())
}

/// The files of /etc that hold a sandbox's name.
fn names(sandbox: &SandboxId) -> [(&'static str, String); 2] {
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {sandbox}\n");
    [("hostname", format!("{sandbox}\n")), ("hosts", hosts)]
}

fn resolv_conf(resolvers: &[Ipv4Addr]) -> String {
    resolvers
        .iter()
        .map(|resolver| format!("nameserver {resolver}\n"))
        .collect()
}
