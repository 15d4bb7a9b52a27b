//! What of the configuration may be replaced while privd runs: the log file, certificates and their keys, which it
//! names, what templates may use of the network, and how large sandboxes are.
//! They are opened by the names in the configuration only, at start and again when told to.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, lstat, open as open_file};
use rustix::io::Errno;
use warder_wire::gateway_priv::{Answer, Event};
use warder_wire::{Fault, FaultCode, SandboxId};

use crate::config::Config;
use crate::privd::Privd;
use crate::supervise::ReplyTo;

/// Longest chain or key in bytes; the gateway reads no more either.
const MOST_BYTES: i64 = 128 * 1024;
/// Mode bits that a certificate's file must not have, and those of a key's.
const CHAIN: Mode = Mode::WGRP.union(Mode::WOTH);
const KEY: Mode = Mode::WGRP.union(Mode::RWXO);

impl Privd {
    /// Opens everything anew. What cannot be opened stays as it was, and the log says so.
    pub(crate) fn reload(&mut self) -> Answer {
        let log = self.log.reopen().err().map(|e| {
            self.log.own(format_args!("cannot open the log file: {e}"));
            Fault::new(FaultCode::System, format_args!("the log file: {e}"))
        });
        let networks = self.reread().err().map(|why| {
            self.log
                .own(format_args!("the configuration stays as it was: {why}"));
            // What stands in the file is not for the gateway to see.
            let detail = "the configuration is wrong; privd's log says where";
            Fault::new(FaultCode::Refused, detail)
        });
        let round = self.hand_over_certificates();
        self.log.own(format_args!(
            "log file and {} certificates opened anew",
            self.config.certificates.len()
        ));
        Answer::Reloaded {
            round,
            log,
            networks,
        }
    }

    /// Reads the configuration again and takes over what it says of templates.
    fn reread(&mut self) -> Result<(), String> {
        let text = std::fs::read_to_string(&self.config_file).map_err(|e| e.to_string())?;
        let fresh = Config::parse(&text).map_err(|e| e.to_string())?;
        let changed = fresh.template_networks != self.config.template_networks;
        let resized = fresh.template_limits != self.config.template_limits;
        let now = &mut self.config;
        now.template_networks.clone_from(&fresh.template_networks);
        // For those that are made from now on.
        now.template_limits.clone_from(&fresh.template_limits);
        let all: Vec<SandboxId> = self.ledger.book().keys().cloned().collect();
        all.iter().for_each(|sandbox| self.post_change(sandbox));
        if changed {
            self.log
                .own("new networks of templates, from each sandbox's next policy on");
        }
        if resized {
            self.log
                .own("new sizes of templates, for sandboxes made from now on");
        }
        if fresh != self.config {
            self.log
                .own("what else has changed holds from the next start of privd on");
        }
        Ok(())
    }

    /// `Reload`.
    pub(crate) fn reload_asked(&mut self, to: &ReplyTo) {
        let answer = self.reload();
        self.answer_gateway(to, Ok(answer), Vec::new());
    }

    /// Gives the gateway every certificate; the number of this round.
    pub(crate) fn hand_over_certificates(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        let of = u8::try_from(self.config.certificates.len()).unwrap_or(u8::MAX);
        for index in 0..of {
            let pair = &self.config.certificates[usize::from(index)];
            let (fds, fault) = match open(pair) {
                Ok(fds) => (Vec::from(fds), None),
                Err(fault) => {
                    let names = format!("{} and {}", pair.0.display(), pair.1.display());
                    self.log
                        .own(format_args!("certificate {names}: {}", fault.detail));
                    (Vec::new(), Some(fault))
                }
            };
            let event = Event::Certificate {
                round,
                index,
                of,
                fault,
            };
            self.event_gateway(event, fds);
        }
        round
    }
}

/// Opens a certificate's chain and its key.
///
/// # Errors
/// `Refused`, with what to change; it names no path.
pub(crate) fn open((chain, key): &(PathBuf, PathBuf)) -> Result<[OwnedFd; 2], Fault> {
    Ok([open_one(chain, CHAIN, "chain")?, open_one(key, KEY, "key")?])
}

fn open_one(path: &Path, forbidden: Mode, what: &str) -> Result<OwnedFd, Fault> {
    let refused = |why: &str| Fault::new(FaultCode::Refused, format_args!("its {what} {why}"));
    let failed = |errno: Errno| refused(&format!("cannot be opened: {errno}"));
    // Without waiting for the other end, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = open_file(path, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&fd).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("is not a regular file"));
    }
    // Or whoever renews certificates without being root could show the gateway any file of the host.
    let name = lstat(path).map_err(failed)?;
    if name.st_uid != 0 && name.st_uid != stat.st_uid {
        return Err(refused("is named by a link whose owner does not own it"));
    }
    if stat.st_size > MOST_BYTES {
        return Err(refused("is too long"));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(forbidden) {
        return Err(refused(if forbidden == KEY {
            "may be written by its group or used by others: chmod g-w,o-rwx"
        } else {
            "may be written by others than its owner: chmod go-w"
        }));
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_files_that_others_cannot_change_are_opened() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "x").expect("writes");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("owner");
            path
        };
        let (chain, key) = (at("chain", 0o644), at("key", 0o640));
        assert!(open(&(chain.clone(), key.clone())).is_ok());
        let long = at("long", 0o600);
        std::fs::write(&long, vec![0; 128 * 1024 + 1]).expect("writes");
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .expect("makes");
        for bad in [
            at("others", 0o646),
            at("group", 0o664),
            long,
            pipe,
            dir.path().to_owned(),
            dir.path().join("missing"),
        ] {
            let fault = open(&(bad.clone(), key.clone())).expect_err("refused");
            assert!(fault.detail.starts_with("its chain "), "{fault}");
            assert!(!fault.detail.contains('/'), "no path: {fault}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&chain, &link).expect("links");
        assert!(open(&(link.clone(), key.clone())).is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(12_345), None).expect("root");
            let fault = open(&(link, key.clone())).expect_err("refused");
            assert!(fault.detail.contains("owner"), "{fault}");
        }
        for mode in [0o644, 0o660] {
            let fault = open(&(chain.clone(), at("open", mode))).expect_err("refused");
            assert!(fault.detail.starts_with("its key "), "{fault}");
        }
    }
}
