//! Processes, and what they may use up.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use warder_probe::Said;

/// Signals a process of the host. It holds when there is none of that number, or it is another one: 0 kills nobody.
pub(super) fn signal(pid: &str) -> Said {
    let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else {
        return Said::broke("not a number");
    };
    match rustix::process::test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => Said::held("no such process"),
        Err(errno) => Said::broke(errno.to_string()),
        Ok(()) => Said::broke("it is there"),
    }
}

/// Starts processes until that is refused, `most` at most, and ends them. It holds when it was refused.
pub(super) fn spawn(most: &str) -> Said {
    let Ok(most) = most.parse::<usize>() else {
        return Said::broke("not a number");
    };
    let mut all: Vec<Child> = Vec::new();
    let mut refused = None;
    while all.len() < most && refused.is_none() {
        match Command::new("/bin/sleep").arg("600").spawn() {
            Ok(child) => all.push(child),
            Err(error) => refused = Some(error),
        }
    }
    let count = all.len();
    for child in &mut all {
        let _ = child.kill();
    }
    for child in &mut all {
        let _ = child.wait();
    }
    match refused {
        Some(error) => Said::held(format!("refused after {count}: {error}")),
        None => Said::broke(format!("{count} were started")),
    }
}

/// Starts threads until that is refused, `most` at most. They count as processes do, and take hardly any memory, of which
/// there may be less than so many programs need. It holds when it was refused.
pub(super) fn threads(most: &str) -> Said {
    let Ok(most) = most.parse::<usize>() else {
        return Said::broke("not a number");
    };
    let ended = Arc::new(AtomicBool::new(false));
    let mut all = Vec::new();
    let mut refused = None;
    while all.len() < most && refused.is_none() {
        let ended = Arc::clone(&ended);
        let wait = move || {
            while !ended.load(Ordering::Acquire) {
                std::thread::park();
            }
        };
        match Builder::new().stack_size(64 << 10).spawn(wait) {
            Ok(thread) => all.push(thread),
            Err(error) => refused = Some(error),
        }
    }
    let count = all.len();
    ended.store(true, Ordering::Release);
    for thread in all {
        thread.thread().unpark();
        let _ = thread.join();
    }
    match refused {
        Some(error) => Said::held(format!("refused after {count}: {error}")),
        None => Said::broke(format!("{count} were started")),
    }
}

/// Takes so much memory and touches all of it. It only comes back when it got it.
pub(super) fn eat(mib: &str) -> Said {
    let Ok(mib) = mib.parse::<usize>() else {
        return Said::broke("not a number");
    };
    // Not all zeros: such pages might be shared.
    let page = vec![0x5a_u8; 1 << 20];
    let mut blocks = Vec::new();
    for _ in 0..mib {
        let mut block = Vec::new();
        if block.try_reserve_exact(page.len()).is_err() {
            return Said::held(format!("refused after {} MiB", blocks.len()));
        }
        block.extend_from_slice(&page);
        blocks.push(block);
    }
    Said::broke(format!(
        "{} MiB were given",
        std::hint::black_box(blocks).len()
    ))
}

/// So many threads compute for so many milliseconds. What is seen is how many rounds they made.
pub(super) fn spin(threads: &str, ms: &str) -> Said {
    let (Ok(threads), Ok(ms)) = (threads.parse::<usize>(), ms.parse()) else {
        return Said::broke("not a number");
    };
    let end = Instant::now() + Duration::from_millis(ms);
    let spin = move || {
        let mut rounds = 0_u64;
        while Instant::now() < end {
            rounds += 1;
        }
        rounds
    };
    let all: Vec<_> = (0..threads).map(|_| std::thread::spawn(spin)).collect();
    let rounds: u64 = all.into_iter().filter_map(|t| t.join().ok()).sum();
    Said::held(rounds.to_string())
}
