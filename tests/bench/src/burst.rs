//! Many at once: a burst of clients that all ask in the same instant.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::stats::Samples;
use crate::warder::{ECHO, Sandbox, Server};

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    for (width, rounds) in [(16, 6), (50, 3)] {
        burst(server, width)?;
        for _ in 0..rounds {
            let times = burst(server, width)?;
            samples.times(&format!("warder first output echo at {width}"), times);
        }
    }
    Ok(())
}

/// One burst: from the common start to each one's first output. All are killed before the next.
fn burst(server: &Server, width: usize) -> Result<Vec<Duration>, String> {
    let times = at_once(width, |start| {
        let mut api = server.connect().map_err(|e| e.to_string())?;
        start.wait();
        let begin = Instant::now();
        let sandbox = server.create(&mut api).map_err(|e| e.to_string())?;
        let mut edge = server.connect_edge().map_err(|e| e.to_string())?;
        let connected = begin.elapsed();
        let ran = sandbox.run(&mut edge, ECHO).map_err(|e| e.to_string())?;
        Ok((sandbox, connected + ran.output))
    });
    let made: Vec<&Sandbox> = times.iter().flatten().map(|(sandbox, _)| sandbox).collect();
    let mut api = server.connect().map_err(|e| e.to_string())?;
    for sandbox in made {
        server.kill(&mut api, sandbox).map_err(|e| e.to_string())?;
    }
    times
        .into_iter()
        .map(|result| result.map(|(_, time)| time))
        .collect()
}

/// Runs `task` in `width` threads. Each waits at the barrier when it is ready to begin.
pub(crate) fn at_once<T: Send>(
    width: usize,
    task: impl Fn(&Gate<'_>) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    let barrier = Barrier::new(width);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..width)
            .map(|_| {
                scope.spawn(|| {
                    let gate = Gate {
                        barrier: &barrier,
                        passed: std::cell::Cell::new(false),
                    };
                    let result = task(&gate);
                    gate.wait();
                    result
                })
            })
            .collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .map(|end| end.unwrap_or_else(|_| Err("a client panicked".to_owned())))
            .collect()
    })
}

/// The barrier, passed once by each thread even if it fails before it gets there.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    barrier: &'a Barrier,
    passed: std::cell::Cell<bool>,
}

impl Gate<'_> {
    pub(crate) fn wait(&self) {
        if !self.passed.replace(true) {
            self.barrier.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_early_does_not_hold_up_the_rest() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let results = at_once(4, |gate| {
            if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                return Err("early".to_owned());
            }
            gate.wait();
            Ok(())
        });
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 3);
    }
}
