//! Duties of pid 1: reap every child and orphan, end the sandbox when the host asks.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use warder_guest_sys::signals::{Event, Signals};
use warder_guest_sys::watched::Watched;

use crate::agent::Agent;

/// How long processes have to end by themselves when the sandbox ends.
const GRACE: Duration = Duration::from_secs(2);
/// Pause in which streams move on.
const FLUSH: Duration = Duration::from_millis(2);
/// Children reaped before others get a turn.
const BATCH: usize = 256;

/// Runs until the host asks the sandbox to end; `Ok` is that.
pub(crate) async fn watch(agent: Agent, signals: Signals) -> io::Result<()> {
    let signals = Watched::for_reading(signals)?;
    // Something may have ended before the descriptor was there.
    reap(&agent).await;
    loop {
        let mut ready = signals.readable().await?;
        match signals.get().read()? {
            Some(Event::Child) => {
                reap(&agent).await;
            }
            Some(Event::Terminate) => break,
            None => ready.clear_ready(),
        }
    }
    warder_guest_sys::signals::terminate_all();
    let until = tokio::time::Instant::now() + GRACE;
    while reap(&agent).await == Left::Some {
        let event = tokio::time::timeout_at(until, signals.readable()).await;
        let Ok(ready) = event else { break };
        let mut ready = ready?;
        if signals.get().read()?.is_none() {
            ready.clear_ready();
        }
    }
    // What they said last is still on its way to clients.
    while agent.processes.any_running() && tokio::time::Instant::now() < until {
        tokio::time::sleep(FLUSH).await;
    }
    tokio::time::sleep(FLUSH).await;
    Ok(())
}

#[derive(Eq, PartialEq)]
enum Left {
    Some,
    None,
}

/// Takes all that ended. Says whether there are children left.
async fn reap(agent: &Agent) -> Left {
    loop {
        for _ in 0..BATCH {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let pid = pid.as_raw_nonzero().get().cast_unsigned();
                    agent.processes.exited(pid, status, &agent.log);
                }
                Ok(None) => return Left::Some,
                Err(Errno::INTR) => {}
                // ECHILD: there are none.
                Err(_) => return Left::None,
            }
        }
        tokio::task::yield_now().await;
    }
}
