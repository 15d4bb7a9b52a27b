//! Processes of the host, by ps(1), which is the same everywhere.

use std::process::Command;

/// One process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Resident memory in KiB.
    pub(crate) resident: u64,
    /// The name of its program.
    pub(crate) name: String,
    pub(crate) command: String,
}

/// All of them.
pub(crate) fn all() -> Result<Vec<Process>, String> {
    let out = Command::new("ps")
        // One keyword an option: after a `=` FreeBSD's takes the rest of the word for a heading.
        .args("-axww -o pid= -o ppid= -o rss= -o comm= -o args=".split(' '))
        .output()
        .map_err(|e| format!("ps(1): {e}"))?;
    Ok(String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(parse)
        .collect())
}

fn parse(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    Some(Process {
        pid: words.next()?.parse().ok()?,
        parent: words.next()?.parse().ok()?,
        resident: words.next()?.parse().ok()?,
        name: words.next()?.to_owned(),
        command: words.collect::<Vec<_>>().join(" "),
    })
}

/// Whether a process ignores SIGHUP, the lowest of the set that ps(1) shows as a number to the base of 16.
pub(crate) fn ignores_hangups(pid: u32) -> bool {
    let out = Command::new("ps")
        .args(["-o", "sigignore=", "-p", &pid.to_string()])
        .output();
    out.is_ok_and(|out| lowest(&String::from_utf8_lossy(&out.stdout)))
}

fn lowest(set: &str) -> bool {
    let last = set.trim().chars().last().and_then(|c| c.to_digit(16));
    last.is_some_and(|digit| digit & 1 == 1)
}

/// Sends SIGKILL to one process, by its number.
pub(crate) fn kill(pid: i32) -> Result<(), String> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or("no process has the number 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)
        .map_err(|e| format!("kill: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangups_are_the_lowest() {
        assert!(lowest("0000000000001001\n") && lowest("1"));
        assert!(!lowest("0000000000001000\n") && !lowest("0") && !lowest(""));
    }

    #[test]
    fn lines_are_read() {
        let line = "  123     1   2048 privd    /usr/local/libexec/warder/privd -f x";
        let seen = parse(line).expect("whole");
        assert_eq!((seen.pid, seen.parent, seen.resident), (123, 1, 2048));
        assert_eq!(
            (seen.name.as_str(), seen.command.as_str()),
            ("privd", "/usr/local/libexec/warder/privd -f x")
        );
        assert_eq!(parse("PID PPID"), None);
    }
}
