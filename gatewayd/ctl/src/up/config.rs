//! privd's configuration for this instance.

use std::fmt::Write as _;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use crate::args::Up;
use crate::error::Error;
use crate::place::Place;
use crate::up::programs::Programs;

/// The log's name below the state directory.
pub(crate) const LOG: &str = "log";
const FILE: &str = "privd.conf";

/// What is served, and where.
#[derive(Debug)]
pub(crate) struct Serving<'a> {
    /// The listener's descriptor.
    pub(crate) listener: RawFd,
    /// As clients are told them.
    pub(crate) domains: &'a [String],
    /// Chains and keys; without any, HTTP is served in the clear.
    pub(crate) certificates: &'a [(PathBuf, PathBuf)],
}

/// Writes it below the state directory; its path.
pub(crate) fn write(
    place: &Place,
    programs: &Programs,
    serving: &Serving<'_>,
    options: &Up,
) -> Result<PathBuf, Error> {
    let text = render(place, programs, serving, options)?;
    let path = place.state_dir().join(FILE);
    super::env_file::replace(&path, &text, None)?;
    Ok(path)
}

fn render(
    place: &Place,
    programs: &Programs,
    serving: &Serving<'_>,
    options: &Up,
) -> Result<String, Error> {
    let state = place.state_dir();
    let listen = if serving.certificates.is_empty() {
        "listen_fd"
    } else {
        "tls_listen_fd"
    };
    let mut lines = vec![
        ("state_dir", line(state)?),
        ("run_dir", line(&place.run_dir())?),
        (listen, serving.listener.to_string()),
        ("libexec_dir", line(&programs.libexec)?),
        ("plugin_dir", line(&programs.plugins)?),
        ("agent", line(&programs.libexec.join("envd"))?),
        ("backend", own_backend().to_owned()),
        (
            "on_stop",
            if options.keep { "keep" } else { "remove" }.to_owned(),
        ),
        (
            "pause_reclaim",
            if options.pause_reclaim { "yes" } else { "no" }.to_owned(),
        ),
        ("log_file", line(&state.join(LOG))?),
    ];
    if let Some(dataset) = &options.zfs_dataset {
        lines.push(("zfs_dataset", dataset.clone()));
    }
    for domain in serving.domains {
        lines.push(("domain", domain.clone()));
    }
    for (chain, key) in serving.certificates {
        lines.push(("tls_chain", line(chain)?));
        lines.push(("tls_key", line(key)?));
    }
    let mut text = String::from("# Written by `warder up` at each start.\n");
    for (keyword, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{keyword} {value}");
    }
    for line in &options.network {
        let _ = writeln!(text, "{line}");
    }
    for line in &options.limits {
        let _ = writeln!(text, "template_limits {line}");
    }
    Ok(text)
}

/// The backend of ours: there is one for each system.
fn own_backend() -> &'static str {
    if crate::doctor::on_freebsd() {
        "jail"
    } else {
        "namespace"
    }
}

/// A path that is one line of a configuration file.
fn line(path: &Path) -> Result<String, Error> {
    match path.to_str() {
        Some(text) if !text.contains(['\n', '\r']) && text.trim() == text => Ok(text.to_owned()),
        _ => Err(Error::Usage(format!(
            "{} cannot be written into a configuration file",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_smuggle_a_line() {
        assert!(line(Path::new("/a\nagent /b")).is_err());
        assert_eq!(line(Path::new("/a b")).expect("one line"), "/a b");
    }
}
