//! Files and sockets of the host, by name.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use warder_probe::Said;

/// Most entries looked at: a sandbox sees the base system's.
const MOST: usize = 2_000_000;

/// Looks through everything for a name with `mark` in it. It holds when there is none.
pub(super) fn find(mark: &str) -> Said {
    let (mut looked, mut waiting) = (0_usize, vec![PathBuf::from("/")]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(mark) {
                return Said::broke(format!("{} is seen", entry.path().display()));
            }
            looked += 1;
            let shown =
                dir.as_os_str() == "/" && ["proc", "sys"].iter().any(|n| entry.file_name() == *n);
            if entry.file_type().is_ok_and(|t| t.is_dir()) && !shown {
                waiting.push(entry.path());
            }
        }
        if looked > MOST {
            return Said::broke(format!("more than {MOST} files are seen"));
        }
    }
    Said::held(format!("not among {looked} names"))
}

/// Tries to read files. It holds when nothing is read of any.
pub(super) fn closed(paths: &[&str]) -> Said {
    for path in paths {
        let mut byte = [0];
        if let Ok(mut file) = fs::File::open(path)
            && file.read(&mut byte).is_ok_and(|n| n > 0)
        {
            return Said::broke(format!("{path} is read"));
        }
    }
    Said::held(format!("{} closed", paths.len()))
}

/// Connects to a socket of the host. It holds when that is refused.
pub(super) fn unix(path: &str) -> Said {
    match UnixStream::connect(path) {
        Ok(_) => Said::broke("connected"),
        Err(error) => Said::held(error.to_string()),
    }
}
