//! Threads that carry what goes to sandboxes and comes from them. A client's connection stays on one of them, and so do
//! the connections to sandboxes that its requests use: what passes through wakes no other thread. The main thread asks
//! privd and netd, and answers the API.

use std::future::{Future, pending};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use warder_ipc::aio::{watch_this_thread, watched};

/// Most of them.
const MOST: usize = 4;

/// All of them.
#[derive(Debug)]
pub(crate) struct Carriers {
    threads: Vec<Handle>,
    next: AtomicUsize,
}

impl Carriers {
    /// Starts one for each processor, within reason. Before the last filter, which forbids threads.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = (0..processors.min(MOST)).map(|_| carrier());
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// Runs `task` on the one whose turn it is.
    pub(crate) fn carry(&self, task: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(thread) = self.threads.get(turn % self.threads.len().max(1)) {
            thread.spawn(task);
        }
    }
}

fn carrier() -> io::Result<Handle> {
    let (begun, beginning) = mpsc::channel();
    thread::Builder::new()
        .name("carrier".to_owned())
        .spawn(move || {
            let runtime = watch_this_thread().and_then(|()| {
                let mut builder = Builder::new_current_thread();
                watched(&mut builder).enable_io().enable_time().build()
            });
            match runtime {
                Ok(runtime) => {
                    let _ = begun.send(Ok(runtime.handle().clone()));
                    runtime.block_on(pending::<()>());
                }
                Err(error) => {
                    let _ = begun.send(Err(error));
                }
            }
        })?;
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    beginning.recv().map_err(gone)?
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn they_take_turns() {
        let carriers = Carriers::start().expect("threads");
        let count = carriers.threads.len();
        let (done, all) = mpsc::channel();
        for _ in 0..count * 3 {
            let done = done.clone();
            carriers.carry(async move {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                done.send(thread::current().id()).expect("awaited");
            });
        }
        drop(done);
        let ids: Vec<_> = all.into_iter().collect();
        assert_eq!(ids.len(), count * 3);
        let threads: HashSet<_> = ids.into_iter().collect();
        assert_eq!(threads.len(), count);
        assert!(!threads.contains(&thread::current().id()));
    }
}
