//! Processes of the host, by ps(1), which is the same everywhere.

use std::process::Command;
use std::sync::LazyLock;

use rustix::process::{Pid, Signal};

/// One process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Resident memory in KiB.
    pub resident: u64,
    /// What it is kept in: a number that its sandbox's processes share with no others.
    pub cell: String,
    /// The name of its program.
    pub name: String,
    /// Its command line.
    pub command: String,
}

/// The word by which ps(1) says what a process is kept in: its pid namespace, or its jail.
static CELL: LazyLock<&str> = LazyLock::new(|| {
    let own = std::process::id().to_string();
    let known = Command::new("ps")
        .args(["-o", "pidns=", "-p", &own])
        .output();
    match known {
        Ok(out) if out.status.success() => "pidns=",
        _ => "jid=",
    }
});

/// All of them.
///
/// # Errors
/// When there is no ps(1), or it cannot say.
pub fn all() -> Result<Vec<Process>, String> {
    let mut command = Command::new("ps");
    command.arg("-axww");
    // One keyword an option: after a `=` FreeBSD's takes the rest of the word for a heading.
    for keyword in ["pid=", "ppid=", "rss=", *CELL, "comm=", "args="] {
        command.args(["-o", keyword]);
    }
    let out = command.output().map_err(|e| format!("ps(1): {e}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(format!("ps(1): {} {said}", out.status));
    }
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
        cell: words.next()?.to_owned(),
        name: words.next()?.to_owned(),
        command: words.collect::<Vec<_>>().join(" "),
    })
}

/// All of them, for those who take none for a fact.
fn listed() -> Vec<Process> {
    all().unwrap_or_else(|why| panic!("{why}"))
}

/// The one of that number.
#[must_use]
pub fn of(pid: u32) -> Option<Process> {
    listed()
        .into_iter()
        .find(|process| u32::try_from(process.pid) == Ok(pid))
}

/// The child of a process whose program has that name, if there is one.
#[must_use]
pub fn child(parent: u32, name: &str) -> Option<Process> {
    // FreeBSD cuts the name of a program at 19 characters, Linux at 15; both are longer than ours.
    listed().into_iter().find(|process| {
        u32::try_from(process.parent) == Ok(parent) && process.name.rsplit('/').next() == Some(name)
    })
}

/// The one with that command line, if there is one.
#[must_use]
pub fn running(command: &str) -> Option<Process> {
    listed()
        .into_iter()
        .find(|process| process.command == command)
}

/// How many processes are kept where one was found: all of its sandbox.
#[must_use]
pub fn in_cell(cell: &str) -> usize {
    let all = listed().into_iter();
    all.filter(|process| process.cell == cell).count()
}

/// The last ancestor that is kept in the same cell: the first process of a sandbox, for any of its own.
#[must_use]
pub fn first_of_cell(process: &Process) -> Process {
    let all = listed();
    let mut at = process;
    let above = |at: &Process| {
        let mut parents = all.iter().filter(|p| p.pid == at.parent && p.pid != at.pid);
        parents.find(|p| p.cell == at.cell)
    };
    while let Some(parent) = above(at) {
        at = parent;
    }
    at.clone()
}

/// Whether a process is there and has not ended.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let out = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    out.is_ok_and(|out| {
        let state = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    })
}

/// How many descriptors a process has open; `None` when there is no such process.
#[must_use]
pub fn descriptors(pid: u32) -> Option<usize> {
    if let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) {
        return Some(open.count());
    }
    let out = Command::new("procstat")
        .args(["-h", "-f", &pid.to_string()])
        .output()
        .ok()?;
    let listed = String::from_utf8_lossy(&out.stdout).into_owned();
    (out.status.success() && !listed.is_empty()).then(|| numbered(&listed))
}

/// Lines of procstat(1) with a number for a descriptor; the others are a working directory, a root, a program.
fn numbered(listed: &str) -> usize {
    let descriptor = |line: &&str| {
        let third = line.split_whitespace().nth(2);
        third.is_some_and(|word| word.parse::<u32>().is_ok())
    };
    listed.lines().filter(descriptor).count()
}

/// Whether a process ignores SIGHUP, the lowest of the set that ps(1) shows as a number to the base of 16.
#[must_use]
pub fn ignores_hangups(pid: u32) -> bool {
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
///
/// # Errors
/// When there is none of that number.
pub fn kill(pid: i32) -> Result<(), String> {
    signal(pid, Signal::KILL)
}

/// Sends SIGTERM to one process, by its number.
///
/// # Errors
/// When there is none of that number.
pub fn terminate(pid: i32) -> Result<(), String> {
    signal(pid, Signal::TERM)
}

fn signal(pid: i32, signal: Signal) -> Result<(), String> {
    let pid = Pid::from_raw(pid).ok_or("no process has the number 0")?;
    rustix::process::kill_process(pid, signal).map_err(|e| format!("kill: {e}"))
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
        let line = "  123     1   2048    7 privd    /usr/local/libexec/warder/privd -f x";
        let seen = parse(line).expect("whole");
        assert_eq!((seen.pid, seen.parent, seen.resident), (123, 1, 2048));
        assert_eq!((seen.cell.as_str(), seen.name.as_str()), ("7", "privd"));
        assert_eq!(seen.command, "/usr/local/libexec/warder/privd -f x");
        assert_eq!(parse("PID PPID"), None);
    }

    #[test]
    fn descriptors_are_told_from_the_rest() {
        let listed = " 901 privd   text v r r-------   -       - -     /x/privd\n \
                      901 privd    cwd v d r-------   -       - -     /\n \
                      901 privd      0 v c rw------   5       0 -     /dev/null\n \
                      901 privd     12 s - rw------   1       0 UDS   -\n";
        assert_eq!(numbered(listed), 2);
    }

    #[test]
    fn this_process_is_found() {
        let own = std::process::id();
        let found = of(own).expect("it runs");
        assert!(runs(own) && found.resident > 0, "{found:?}");
        assert!(descriptors(own).is_some_and(|open| open >= 3));
        assert!(in_cell(&found.cell) >= 1);
        let first = first_of_cell(&found);
        assert_eq!(first.cell, found.cell);
        let mut child_process = Command::new("sleep").arg("600").spawn().expect("sleep(1)");
        let seen = loop {
            // Until it has become another program it has this one's name.
            if let Some(seen) = child(own, "sleep") {
                break seen;
            }
        };
        kill(seen.pid).expect("our child");
        let _ = child_process.wait();
        assert!(!runs(child_process.id()));
    }
}
