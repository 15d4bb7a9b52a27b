//! Threads that carry what goes to sandboxes and comes from them. A client's connection stays on one of them, and so do
//! the connections to sandboxes that its requests use: what passes through wakes no other thread, but for what passes
//! through a machine's one stream, which is read where it was opened. The main thread asks privd and netd, and answers the
//! API, where it is asked without TLS.

use std::future::{Future, pending};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::runtime::{Builder, Handle};
use warder_ipc::aio::{watch_this_thread, watched};

/// Most of them.
const MOST: usize = 4;

/// All of them.
#[derive(Debug)]
pub(crate) struct Carriers(Vec<Carrier>);

#[derive(Debug)]
struct Carrier {
    thread: Handle,
    /// Each of its tasks holds one more.
    load: Arc<()>,
}

impl Carriers {
    /// Starts one for each processor, within reason. Before the last filter, which forbids threads.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let carriers = (0..processors.min(MOST)).map(|_| carrier());
        Ok(Self(carriers.collect::<io::Result<_>>()?))
    }

    /// Runs `task` on the one with the fewest: nobody chooses where his own are.
    pub(crate) fn carry(&self, task: impl Future<Output = ()> + Send + 'static) {
        let least = self.0.iter().min_by_key(|one| Arc::strong_count(&one.load));
        if let Some(Carrier { thread, load }) = least {
            let load = Arc::clone(load);
            thread.spawn(async move {
                let _load = load;
                task.await;
            });
        }
    }
}

fn carrier() -> io::Result<Carrier> {
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
    Ok(Carrier {
        thread: beginning.recv().map_err(gone)??,
        load: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_one_with_the_fewest_gets_the_next() {
        let carriers = Carriers::start().expect("threads");
        let count = carriers.0.len();
        let (done, all) = mpsc::channel();
        let rest = Arc::new(tokio::sync::Notify::new());
        for _ in 0..count * 3 {
            let (done, rest) = (done.clone(), Arc::clone(&rest));
            carriers.carry(async move {
                done.send(thread::current().id()).expect("awaited");
                rest.notified().await;
            });
        }
        let mut ids: Vec<_> = all.iter().take(count * 3).collect();
        for thread in ids.iter().collect::<HashSet<_>>() {
            assert_eq!(ids.iter().filter(|id| *id == thread).count(), 3);
        }
        // One place is free again: the next comes there.
        rest.notify_one();
        while carriers
            .0
            .iter()
            .map(|c| Arc::strong_count(&c.load))
            .sum::<usize>()
            == count * 4
        {
            thread::yield_now();
        }
        carriers.carry(async move { done.send(thread::current().id()).expect("awaited") });
        ids.push(all.recv().expect("told"));
        let most = |id| ids.iter().filter(|other| *other == id).count();
        assert_eq!(ids.iter().map(most).max(), Some(4));
        assert!(!ids.contains(&thread::current().id()));
    }
}
