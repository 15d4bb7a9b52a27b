//! Trees of sandboxes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::{GuestPath, SandboxId, TemplateName};

use crate::calls::{self, KIND, STAMP};
use crate::error::{At, Result, ZfsError};
use crate::listing::Kind;
use crate::names::Place;
use crate::record::Record;
use crate::store::{Host, Site, Store, stamp};

/// A directory that is no link.
pub(crate) const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

/// A sandbox's root tree.
#[derive(Clone, Debug)]
pub struct Root<H> {
    at: Site<H>,
    sandbox: SandboxId,
    record: Record,
    path: PathBuf,
    volumes: Vec<VolumeMount>,
}

impl<H: Host> Root<H> {
    /// The tree with volumes mounted in it.
    #[must_use]
    pub fn with_volumes(mut self, volumes: &[VolumeMount]) -> Self {
        self.volumes = volumes.to_vec();
        self
    }

    /// Where the tree is, once it is made.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the tree wants [`crate::BASE_DIRS`] of the host.
    #[must_use]
    pub fn host_base(&self) -> bool {
        self.record.host_base
    }

    /// Each volume's content and where it goes. Mounted with [`Self::materialize`].
    pub fn volumes(&self) -> impl Iterator<Item = (PathBuf, &GuestPath)> {
        let path = |mount: &VolumeMount| self.at.layout.path(&Place::volume(&mount.volume));
        self.volumes
            .iter()
            .map(move |mount| (path(mount), &mount.at))
    }

    /// Makes the tree, if that was not done yet, and mounts it and the volumes. `disk` is how much may be written into it
    /// beside what it is cloned from; none leaves that as it is. Slow: for the child that sets up a cell, or a worker.
    ///
    /// # Errors
    /// [`ZfsError`].
    pub fn materialize(&self, disk: Option<u64>) -> Result<()> {
        let place = Place::sandbox(&self.sandbox);
        let dataset = self.at.layout.dataset(&place);
        let quota = disk.map(|disk| self.record.referenced.saturating_add(disk).to_string());
        let made = made(&self.sandbox, self.record.stamp);
        if self.at.files.has(&made) {
            if let Some(quota) = quota {
                self.at
                    .run(&calls::set(&dataset, &[("refquota", &quota)]), &dataset)?;
            }
            self.at.mount(&dataset, &self.path)?;
        } else {
            self.clone_origin(&place, quota.as_deref())?;
            self.at.mount(&dataset, &self.path)?;
            self.fill()?;
            self.at.files.write(&made, "")?;
        }
        for mount in &self.volumes {
            let place = Place::volume(&mount.volume);
            let layout = &self.at.layout;
            self.at
                .mount(&layout.dataset(&place), &layout.path(&place))?;
        }
        Ok(())
    }

    fn clone_origin(&self, place: &Place, quota: Option<&str>) -> Result<()> {
        let layout = &self.at.layout;
        let dataset = layout.dataset(place);
        let stamp = self.record.stamp.to_string();
        let mut properties = vec![(KIND, Kind::Sandbox.as_str()), (STAMP, &stamp)];
        properties.extend(quota.map(|quota| ("refquota", quota)));
        let (_, version) = self.record.origin.rsplit_once('.').unwrap_or_default();
        let origin = format!(
            "{}/templates/{}@{version}",
            layout.root(),
            self.record.origin
        );
        let call = calls::clone(layout, &origin, place, &properties);
        let exists = match self.at.run(&call, &dataset) {
            Ok(_) => return Ok(()),
            Err(ZfsError::Missing { .. }) => {
                return Err(ZfsError::Invalid(
                    "the template the sandbox is made of is gone",
                ));
            }
            Err(error) if error.says_exists() => error,
            Err(error) => return Err(error),
        };
        if self.at.property(KIND, &dataset)? != Kind::Sandbox.as_str() {
            return Err(ZfsError::Foreign {
                dataset,
                tag: self.at.property(calls::TAG, layout.root())?,
            });
        }
        if self.at.property(STAMP, &dataset)? == stamp {
            // Half-made: by a child that was killed.
            return match quota {
                Some(quota) => self
                    .at
                    .run(&calls::set(&dataset, &[("refquota", quota)]), &dataset)
                    .map(drop),
                None => Ok(()),
            };
        }
        // Of a former sandbox by that name, which is discarded.
        self.at.unmount(&dataset, &self.path)?;
        self.at
            .run(&calls::destroy(&dataset), &dataset)
            .map_err(|_| exists)?;
        self.at.run(&call, &dataset).map(drop)
    }

    /// Writes the names it is known by. The tree may come from anybody: no link is followed.
    fn fill(&self) -> Result<()> {
        let tree =
            rustix::fs::openat(CWD, &self.path, DIRECTORY, Mode::empty()).at("open a tree")?;
        match rustix::fs::mkdirat(&tree, "etc", Mode::RWXU) {
            Ok(()) => {
                rustix::fs::chmodat(&tree, "etc", Mode::from_raw_mode(0o755), AtFlags::empty())
                    .at("make /etc of a sandbox")?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("make /etc of a sandbox"),
        }
        let etc = match rustix::fs::openat(&tree, "etc", DIRECTORY, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => {
                return Err(ZfsError::Invalid("/etc of the template is not a directory"));
            }
            etc => etc.at("open /etc of a sandbox")?,
        };
        let resolvers = self.record.resolvers.iter();
        let resolv_conf: String = resolvers
            .map(|server| format!("nameserver {server}\n"))
            .collect();
        write_over(&etc, "hosts", &hosts(&self.sandbox))?;
        write_over(&etc, "resolv.conf", &resolv_conf)
    }
}

fn hosts(sandbox: &SandboxId) -> String {
    format!("127.0.0.1 localhost {sandbox}\n")
}

/// Puts a file in place of whatever is there.
fn write_over(directory: &OwnedFd, name: &str, text: &str) -> Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("replace a file in /etc of a sandbox"),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        .at("make a file in /etc of a sandbox")?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).at("fchmod")?;
    std::io::Write::write_all(&mut fs::File::from(file), text.as_bytes())
        .at("write /etc of a sandbox")
}

/// What says that a clone is whole.
pub(crate) fn made(sandbox: &SandboxId, stamp: u64) -> String {
    format!("made/{sandbox}.{stamp}")
}

fn record(sandbox: &SandboxId) -> String {
    format!("sandboxes/{sandbox}")
}

impl<H: Host> Store<H> {
    /// Records what a sandbox's tree is to be cloned from. [`Root::materialize`] makes it.
    ///
    /// # Errors
    /// `Invalid` when there is no such template, or the sandbox has a tree already; `File`.
    pub fn clone_template(
        &mut self,
        sandbox: &SandboxId,
        template: &TemplateName,
        resolvers: &[Ipv4Addr],
    ) -> Result<()> {
        let base = self
            .templates
            .get(template)
            .ok_or(ZfsError::Invalid("no such template"))?;
        if self.sandboxes.contains_key(sandbox) {
            return Err(ZfsError::Invalid("the sandbox has a tree"));
        }
        let fresh = Record {
            stamp: stamp(),
            origin: Place::template(template, base.stamp).leaf,
            referenced: base.referenced,
            lineage: base.lineage.clone(),
            host_base: base.host_base,
            resolvers: resolvers.to_vec(),
        };
        self.at.files.write(&record(sandbox), &fresh.to_text())?;
        self.sandboxes.insert(sandbox.clone(), fresh);
        Ok(())
    }

    /// The tree of a sandbox.
    ///
    /// # Errors
    /// `Invalid` when it has none.
    pub fn root(&self, sandbox: &SandboxId) -> Result<Root<H>> {
        let record = self.record_of(sandbox)?.clone();
        Ok(Root {
            path: self.at.layout.path(&Place::sandbox(sandbox)),
            at: self.at.clone(),
            sandbox: sandbox.clone(),
            record,
            volumes: Vec::new(),
        })
    }

    pub(crate) fn record_of(&self, sandbox: &SandboxId) -> Result<&Record> {
        let record = self.sandboxes.get(sandbox);
        record.ok_or(ZfsError::Invalid("the sandbox has no tree"))
    }

    /// Takes a sandbox's tree out of use; false if there is none. [`Self::empty_trash`] destroys it. No process may run in
    /// it, and nothing be mounted below it.
    ///
    /// # Errors
    /// `File`.
    pub fn discard(&mut self, sandbox: &SandboxId) -> Result<bool> {
        let there = self.at.files.remove(&record(sandbox))?;
        Ok(self.sandboxes.remove(sandbox).is_some() || there)
    }

    /// Sandboxes that have a tree, or a record of what it is to be.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxId> {
        self.sandboxes.keys().cloned().collect()
    }

    /// Reads the records. One that cannot be read is as none: its tree is of no use.
    pub(crate) fn load_sandboxes(&mut self) -> Result<()> {
        for name in self.at.files.names("sandboxes")? {
            let Ok(sandbox) = SandboxId::new(&name) else {
                continue;
            };
            let text = self.at.files.read(&record(&sandbox))?;
            match text.as_deref().map(Record::parse) {
                Some(Ok(record)) => {
                    self.sandboxes.insert(sandbox, record);
                }
                _ => self.at.files.remove(&record(&sandbox)).map(drop)?,
            }
        }
        Ok(())
    }
}
