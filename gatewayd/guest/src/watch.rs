//! Watches: who wants to know what happens in which directory.

mod hub;
mod tree;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc;
use warder_connect::filesystem::{Empty, FilesystemEvent, WatchDirRequest, WatchDirResponse};
use warder_connect::{Code, ConnectError, envelope};

use crate::filesystem::failed;
use hub::{Hub, Sink};

/// Events that wait for a client; when more come, they are lost and the client is told.
const QUEUE: usize = 16 * 1024;
/// Most watches at a time.
const MOST: usize = 1024;

/// All watches. The kernel's side is there only while there are any.
#[derive(Debug, Default)]
pub(crate) struct Watches(Rc<RefCell<Option<Rc<Hub>>>>);

/// Ends a watch when dropped.
pub(crate) struct Guard {
    watches: Rc<RefCell<Option<Rc<Hub>>>>,
    id: u64,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            forget(&self.watches, self.id);
        }
    }
}

/// Removes a watch, and the kernel's side with the last one. Says whether there was one.
fn forget(watches: &RefCell<Option<Rc<Hub>>>, id: u64) -> bool {
    let hub = watches.borrow().clone();
    let Some(hub) = hub else { return false };
    let known = hub.remove(id);
    if hub.is_empty() {
        hub.stop();
        let mut current = watches.borrow_mut();
        if current
            .as_ref()
            .is_some_and(|current| Rc::ptr_eq(current, &hub))
        {
            *current = None;
        }
    }
    known
}

impl Watches {
    /// A watch as a stream of encoded events, `start` in front.
    pub(crate) async fn stream(
        &self,
        path: PathBuf,
        request: &WatchDirRequest,
    ) -> Result<(mpsc::Receiver<Bytes>, Guard), ConnectError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let start = WatchDirResponse {
            start: Some(Empty {}),
            ..WatchDirResponse::default()
        };
        // The queue is empty.
        let _ = sender.try_send(envelope::message(&start));
        let guard = self.add(path, request, Sink::Stream(sender)).await?;
        Ok((receiver, guard))
    }

    /// A watch that keeps its events until they are asked for; returns its name.
    pub(crate) async fn create(
        &self,
        path: PathBuf,
        request: &WatchDirRequest,
    ) -> Result<String, ConnectError> {
        let mut guard = self.add(path, request, Sink::new_queue()).await?;
        // It lives until it is removed by name.
        guard.armed = false;
        Ok(format!("w{}", guard.id))
    }

    async fn add(
        &self,
        path: PathBuf,
        request: &WatchDirRequest,
        sink: Sink,
    ) -> Result<Guard, ConnectError> {
        check(&path, request.allow_network_mounts)?;
        let hub = {
            let mut current = self.0.borrow_mut();
            match &*current {
                Some(hub) => Rc::clone(hub),
                None => {
                    let hub = Hub::start().map_err(|error| exhausted(&error))?;
                    Rc::clone(current.insert(hub))
                }
            }
        };
        if hub.len() >= MOST {
            return Err(ConnectError::new(
                Code::ResourceExhausted,
                format_args!("there are {MOST} watches already; remove some"),
            ));
        }
        // From here on the guard cleans up, whatever fails and wherever this is dropped.
        let guard = Guard {
            id: hub.reserve(path.clone(), request, sink),
            watches: Rc::clone(&self.0),
            armed: true,
        };
        hub.cover(guard.id)
            .await
            .map_err(|error| match error.raw_os_error() {
                Some(code)
                    if [rustix::io::Errno::NOSPC, rustix::io::Errno::MFILE]
                        .iter()
                        .any(|e| e.raw_os_error() == code) =>
                {
                    exhausted(&error)
                }
                _ => failed("watching", &path, &error),
            })?;
        Ok(guard)
    }

    /// The events since the last question.
    pub(crate) fn take(&self, name: &str) -> Result<Vec<FilesystemEvent>, ConnectError> {
        let hub = self.0.borrow().clone();
        parse(name)
            .and_then(|id| hub?.take(id))
            .unwrap_or_else(|| Err(unknown(name)))
    }

    /// Ends a watch that [`Self::create`] made.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ConnectError> {
        let is_queue = |id: &u64| {
            self.0
                .borrow()
                .as_ref()
                .is_some_and(|hub| hub.is_queue(*id))
        };
        match parse(name).filter(is_queue) {
            Some(id) if forget(&self.0, id) => Ok(()),
            _ => Err(unknown(name)),
        }
    }
}

fn check(path: &Path, allow_remote: bool) -> Result<(), ConnectError> {
    let about = std::fs::metadata(path).map_err(|error| failed("watching", path, &error))?;
    let shown = path.display();
    if !about.is_dir() {
        return Err(ConnectError::invalid(format_args!(
            "path '{shown}' is not a directory"
        )));
    }
    let remote = !allow_remote
        && warder_guest_sys::mounts::is_remote(path)
            .map_err(|error| failed("watching", path, &error))?;
    if remote {
        return Err(ConnectError::invalid(format_args!(
            "path '{shown}' is on a network mount, where changes made elsewhere go unseen; set allow_network_mounts to watch it anyway"
        )));
    }
    Ok(())
}

fn exhausted(error: &std::io::Error) -> ConnectError {
    ConnectError::new(
        Code::ResourceExhausted,
        format_args!("the kernel gives no more watches: {error}"),
    )
}

fn parse(name: &str) -> Option<u64> {
    name.strip_prefix('w')?.parse().ok()
}

fn unknown(name: &str) -> ConnectError {
    ConnectError::not_found(format_args!("watcher with id {name} not found"))
}

/// The sign of life of a watch stream.
pub(crate) fn keepalive() -> Bytes {
    envelope::message(&WatchDirResponse {
        keepalive: Some(Empty {}),
        ..WatchDirResponse::default()
    })
}
