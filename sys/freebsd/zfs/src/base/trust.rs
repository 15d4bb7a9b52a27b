//! The certificate authorities that the base system trusts, in one file: `/etc/ssl/cert.pem`, as certctl(8) makes it. One
//! that the base system has also among those it distrusts is left out.
//!
//! They are read from /usr/share alone. What the host's administrator trusts or distrusts beside them is of the host's /etc.

use std::fs;
use std::path::Path;

use crate::error::{At, Result};

/// Puts every certificate of `trusted`, a directory of PEM files, that has no file of its name in `untrusted` into the new
/// file `bundle`; none when there is no such directory.
pub(super) fn bundle(trusted: &Path, untrusted: &Path, bundle: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(trusted) else {
        return Ok(());
    };
    let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut names = names.at("read the base system's certificates")?;
    let distrusted = |name: &Path| name.file_name().is_some_and(|n| untrusted.join(n).exists());
    names.retain(|name| name.extension().is_some_and(|end| end == "pem") && !distrusted(name));
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    let mut target = fs::File::create_new(bundle).at("make a file of certificates")?;
    super::set_mode(bundle, 0o644)?;
    for name in names {
        let mut source = fs::File::open(name).at("read the base system's certificates")?;
        std::io::copy(&mut source, &mut target).at("make a file of certificates")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_one_file_that_everyone_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let trusted = dir.path().join("trusted");
        let untrusted = dir.path().join("untrusted");
        let made = dir.path().join("cert.pem");
        bundle(&trusted, &untrusted, &made).expect("nothing to do");
        fs::create_dir(&trusted).expect("makes");
        fs::write(trusted.join("README"), "no certificate").expect("writes");
        bundle(&trusted, &untrusted, &made).expect("nothing to do");
        assert!(!made.exists());
        fs::create_dir(&untrusted).expect("makes");
        fs::write(untrusted.join("c.pem"), "c\n").expect("writes");
        for name in ["b", "a", "c"] {
            fs::write(trusted.join(format!("{name}.pem")), format!("{name}\n")).expect("writes");
        }
        bundle(&trusted, &untrusted, &made).expect("makes");
        assert_eq!(fs::read_to_string(&made).expect("there"), "a\nb\n");
        let mode = fs::metadata(&made).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        bundle(&trusted, &untrusted, &made).expect_err("it is there already");
    }
}
