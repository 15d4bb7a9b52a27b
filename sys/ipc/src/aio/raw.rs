//! A channel on tokio, for peers that do not keep to question and answer.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Reaper, Watched, watch};
use crate::{Channel, IpcError};

/// Whole messages with descriptors, awaited. Cancelling a call loses no message.
#[derive(Debug)]
pub struct AsyncChannel {
    watched: AsyncFd<Watched>,
    // Never held across an await.
    channel: Mutex<Channel>,
}

impl AsyncChannel {
    /// Takes over a channel; must be called on the runtime.
    ///
    /// # Errors
    /// [`IpcError::System`] when the runtime cannot watch the descriptor.
    pub fn new(channel: Channel) -> Result<Self, IpcError> {
        let watched = watch(channel.watched()).map_err(|(_, source)| IpcError::System {
            call: "epoll_ctl",
            source,
        })?;
        Ok(Self {
            watched,
            channel: Mutex::new(channel),
        })
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Channel) -> Result<T, IpcError>,
    ) -> Result<T, IpcError> {
        // A poisoned lock means a panic in here, which ends the process anyway (panic = "abort").
        let mut channel = self.channel.lock().map_err(|_| IpcError::Closed)?;
        act(&mut channel)
    }

    /// Queues a message without waiting; [`Self::flushed`] or the next send moves it on.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn post<T: Serialize>(&self, message: &T, fds: Vec<OwnedFd>) -> Result<(), IpcError> {
        self.with(|channel| channel.send(message, fds))
    }

    /// Sends a message and waits until the peer's queue has it.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send<T: Serialize>(&self, message: &T, fds: Vec<OwnedFd>) -> Result<(), IpcError> {
        self.post(message, fds)?;
        self.flushed().await
    }

    /// Waits until nothing is queued.
    ///
    /// # Errors
    /// As [`Channel::flush`].
    pub async fn flushed(&self) -> Result<(), IpcError> {
        loop {
            let waits = self.with(|channel| {
                channel.flush()?;
                Ok(channel.wants_write())
            })?;
            if !waits {
                return Ok(());
            }
            let mut ready = self.ready(Interest::WRITABLE).await?;
            let still = self.with(|channel| {
                channel.flush()?;
                Ok(channel.wants_write())
            })?;
            if still {
                ready.clear_ready();
            }
        }
    }

    /// Closes it on the reaper's thread: what a guest has sent may lie in it unread.
    pub fn bury(self, reaper: &Reaper) {
        let fd = Arc::clone(&self.watched.get_ref().0);
        drop(self);
        reaper.close_shared(fd);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// As [`Channel::recv`]; drop the channel then.
    pub async fn recv<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), IpcError> {
        loop {
            if let Some(got) = self.with(Channel::recv)? {
                return Ok(got);
            }
            let mut ready = self.ready(Interest::READABLE).await?;
            match self.with(Channel::recv)? {
                Some(got) => return Ok(got),
                None => ready.clear_ready(),
            }
        }
    }

    async fn ready(
        &self,
        what: Interest,
    ) -> Result<tokio::io::unix::AsyncFdReadyGuard<'_, Watched>, IpcError> {
        self.watched
            .ready(what)
            .await
            .map_err(|source| IpcError::System {
                call: "epoll_wait",
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_larger_than_the_kernel_takes_arrives_whole() {
        let (a, b) = Channel::pair().expect("socketpair");
        let (a, b) = (
            AsyncChannel::new(a).expect("epoll"),
            AsyncChannel::new(b).expect("epoll"),
        );
        let sender = tokio::spawn(async move {
            for n in 0..500_u32 {
                a.send(&(n, vec![0_u8; 8000]), Vec::new())
                    .await
                    .expect("open");
            }
        });
        for n in 0..500_u32 {
            let ((got, _), _) = b.recv::<(u32, Vec<u8>)>().await.expect("arrives");
            assert_eq!(got, n);
        }
        sender.await.expect("no panic");
        assert!(matches!(b.recv::<u32>().await, Err(IpcError::Closed)));
    }
}
