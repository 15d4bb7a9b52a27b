//! One set of kernel watches for all clients: the kernel allows few sets, and counts them for all
//! sandboxes of a host together.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use warder_connect::filesystem::{EventType, FilesystemEvent, WatchDirRequest, WatchDirResponse};
use warder_connect::{Code, ConnectError, envelope};
use warder_guest_sys::inotify::{Change, Inotify, What};
use warder_guest_sys::watched::Watched;

use super::{QUEUE, tree};
use crate::files::on_helper;
use crate::filesystem::entry;
use crate::paths;
use crate::users::Names;

/// Where a watch's events go.
#[derive(Debug)]
pub(super) enum Sink {
    Stream(mpsc::Sender<Bytes>),
    Queue {
        events: VecDeque<FilesystemEvent>,
        lost: bool,
    },
}

impl Sink {
    pub(super) fn new_queue() -> Self {
        Self::Queue {
            events: VecDeque::new(),
            lost: false,
        }
    }

    fn send(&mut self, event: FilesystemEvent) {
        match self {
            Self::Stream(sender) => {
                let message = envelope::message(&WatchDirResponse {
                    filesystem: Some(event),
                    ..WatchDirResponse::default()
                });
                // One place is kept for the message that events were lost.
                if sender.capacity() > 1 {
                    let _ = sender.try_send(message);
                } else {
                    self.lose();
                }
            }
            Self::Queue { events, lost } if events.len() >= QUEUE => *lost = true,
            Self::Queue { events, .. } => events.push_back(event),
        }
    }

    /// Events were lost: a stream ends with an error, a queue tells at the next question.
    fn lose(&mut self) {
        match self {
            // When there is no room the error is in the queue already.
            Self::Stream(sender) => drop(sender.try_send(envelope::end(Some(lost())))),
            Self::Queue { lost, .. } => *lost = true,
        }
    }
}

fn lost() -> ConnectError {
    ConnectError::new(
        Code::DataLoss,
        "changes came faster than they were read and some were lost; look at the directory again",
    )
}

/// One watch of one client.
#[derive(Debug)]
struct Watcher {
    root: PathBuf,
    recursive: bool,
    include_entry: bool,
    sink: Sink,
}

/// All watches and their one reader.
#[derive(Debug)]
pub(super) struct Hub {
    inotify: Arc<Watched<Inotify>>,
    state: RefCell<State>,
    /// Watches being placed: the kernel keeps their events until their numbers are known.
    placing: Cell<u32>,
    placed: Notify,
    reader: RefCell<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    watchers: BTreeMap<u64, Watcher>,
    /// Kernel number to who watches, and where that directory is below the watcher's root.
    directories: HashMap<i32, Vec<(u64, PathBuf)>>,
    /// What was found in new directories and told, until the kernel's own news of it have passed.
    told: HashSet<(u64, PathBuf)>,
}

impl Hub {
    pub(super) fn start() -> io::Result<Rc<Self>> {
        let hub = Rc::new(Self {
            inotify: Arc::new(Watched::for_reading(Inotify::new()?)?),
            state: RefCell::new(State::default()),
            placing: Cell::new(0),
            placed: Notify::new(),
            reader: RefCell::new(None),
        });
        let reader = tokio::task::spawn_local(read(Rc::downgrade(&hub), Arc::clone(&hub.inotify)));
        *hub.reader.borrow_mut() = Some(reader.abort_handle());
        Ok(hub)
    }

    pub(super) fn stop(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.abort();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state.borrow().watchers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number for a watch that covers nothing yet.
    pub(super) fn reserve(&self, root: PathBuf, request: &WatchDirRequest, sink: Sink) -> u64 {
        let mut state = self.state.borrow_mut();
        state.next += 1;
        let id = state.next;
        state.watchers.insert(
            id,
            Watcher {
                root,
                recursive: request.recursive,
                include_entry: request.include_entry,
                sink,
            },
        );
        id
    }

    /// Places the kernel's watches for a reserved number.
    pub(super) async fn cover(&self, id: u64) -> io::Result<()> {
        let wanted = self
            .state
            .borrow()
            .watchers
            .get(&id)
            .map(|w| (w.root.clone(), w.recursive));
        let Some((root, recursive)) = wanted else {
            return Ok(());
        };
        let placing = Placing::new(self);
        let inotify = Arc::clone(&self.inotify);
        let work = move || Ok(tree::place(inotify.get(), &root, Path::new(""), recursive));
        let placed = on_helper(work).await;
        drop(placing);
        let (placed, outcome) = placed?;
        let mut state = self.state.borrow_mut();
        for (number, below, _) in placed {
            state
                .directories
                .entry(number)
                .or_default()
                .push((id, below));
        }
        outcome
    }

    pub(super) fn remove(&self, id: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let known = state.watchers.remove(&id).is_some();
        self.drop_directories(&mut state, |owner, _| owner == id);
        known
    }

    fn drop_directories(&self, state: &mut State, which: impl Fn(u64, &Path) -> bool) {
        state.directories.retain(|number, owners| {
            owners.retain(|(owner, below)| !which(*owner, below));
            if owners.is_empty() {
                self.inotify.get().remove(*number);
            }
            !owners.is_empty()
        });
    }

    pub(super) fn is_queue(&self, id: u64) -> bool {
        let state = self.state.borrow();
        matches!(
            state.watchers.get(&id),
            Some(Watcher {
                sink: Sink::Queue { .. },
                ..
            })
        )
    }

    pub(super) fn take(&self, id: u64) -> Option<Result<Vec<FilesystemEvent>, ConnectError>> {
        match &mut self.state.borrow_mut().watchers.get_mut(&id)?.sink {
            Sink::Queue { events, lost: told } => Some(if std::mem::take(told) {
                Err(lost())
            } else {
                Ok(std::mem::take(events).into())
            }),
            Sink::Stream(_) => None,
        }
    }

    /// Passes changes on. `all` says that the kernel has no more for now.
    fn handle(&self, changes: Vec<Change>, all: bool) {
        let mut names = None;
        for change in changes {
            if change.what == What::Overflow {
                for watcher in self.state.borrow_mut().watchers.values_mut() {
                    watcher.sink.lose();
                }
                continue;
            }
            if change.what == What::Ended {
                self.state.borrow_mut().directories.remove(&change.watch);
                continue;
            }
            let owners = self.state.borrow().directories.get(&change.watch).cloned();
            if owners.is_none() {
                // Left behind by a client that went while its watch was being placed.
                self.inotify.get().remove(change.watch);
            }
            for (id, below) in owners.unwrap_or_default() {
                self.handle_for(id, &below, &change, &mut names);
            }
        }
        if all {
            self.state.borrow_mut().told.clear();
        }
    }

    fn handle_for(&self, id: u64, below: &Path, change: &Change, names: &mut Option<Names>) {
        let name = match &change.name {
            Some(name) => below.join(name),
            // A directory below the root is reported by its parent as well.
            None if !below.as_os_str().is_empty() => return,
            None => PathBuf::from("."),
        };
        let appeared = matches!(change.what, What::Created | What::MovedHere);
        if change.is_dir && change.name.is_some() && change.what == What::MovedAway {
            let mut state = self.state.borrow_mut();
            self.drop_directories(&mut state, |owner, path| {
                owner == id && path.starts_with(&name)
            });
        }
        if appeared && self.state.borrow_mut().told.remove(&(id, name.clone())) {
            return;
        }
        self.tell(id, &name, event_type(change.what), names);
        if !(appeared && change.is_dir) {
            return;
        }
        let root = {
            let state = self.state.borrow();
            let Some(watcher) = state.watchers.get(&id).filter(|watcher| watcher.recursive) else {
                return;
            };
            watcher.root.clone()
        };
        // Gone again: nothing to see. No watches left: the client must not believe that it sees all.
        let (placed, outcome) = tree::place(self.inotify.get(), &root, &name, true);
        if outcome.is_err_and(|error| !tree::is_gone(&error))
            && let Some(watcher) = self.state.borrow_mut().watchers.get_mut(&id)
        {
            watcher.sink.lose();
        }
        for (number, path, children) in placed {
            let mut state = self.state.borrow_mut();
            let owners = state.directories.entry(number).or_default();
            if !owners.iter().any(|(owner, _)| *owner == id) {
                owners.push((id, path.clone()));
            }
            drop(state);
            if change.what == What::Created {
                self.tell_children(id, &path, children, names);
            }
        }
    }

    /// What was made in a new directory before it was watched.
    fn tell_children(
        &self,
        id: u64,
        directory: &Path,
        children: Vec<OsString>,
        names: &mut Option<Names>,
    ) {
        for child in children {
            let name = directory.join(child);
            if self.state.borrow_mut().told.insert((id, name.clone())) {
                self.tell(id, &name, EventType::Create, names);
            }
        }
    }

    fn tell(&self, id: u64, name: &Path, event_type: EventType, names: &mut Option<Names>) {
        let mut state = self.state.borrow_mut();
        let Some(watcher) = state.watchers.get_mut(&id) else {
            return;
        };
        let wanted = watcher.include_entry
            && matches!(
                event_type,
                EventType::Create | EventType::Write | EventType::Chmod
            );
        let entry = wanted.then(|| {
            let names = names.get_or_insert_with(Names::load);
            let path = if name == Path::new(".") {
                watcher.root.clone()
            } else {
                watcher.root.join(name)
            };
            entry::info(&path, names).ok()
        });
        watcher.sink.send(FilesystemEvent {
            name: paths::text(name),
            event_type,
            entry: entry.flatten(),
        });
    }
}

fn event_type(what: What) -> EventType {
    match what {
        What::Created | What::MovedHere => EventType::Create,
        What::Modified => EventType::Write,
        What::Attributes => EventType::Chmod,
        What::Removed => EventType::Remove,
        What::MovedAway => EventType::Rename,
        What::Ended | What::Overflow => EventType::Unspecified,
    }
}

/// Keeps the reader waiting while it lives.
struct Placing<'a>(&'a Hub);

impl<'a> Placing<'a> {
    fn new(hub: &'a Hub) -> Self {
        hub.placing.set(hub.placing.get() + 1);
        Self(hub)
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        self.0.placing.set(self.0.placing.get() - 1);
        self.0.placed.notify_one();
    }
}

/// Reads for as long as the hub lives.
async fn read(hub: Weak<Hub>, inotify: Arc<Watched<Inotify>>) {
    loop {
        let Ok(mut ready) = inotify.readable().await else {
            return;
        };
        let Some(hub) = hub.upgrade() else { return };
        if hub.placing.get() > 0 {
            hub.placed.notified().await;
            continue;
        }
        match inotify.get().read() {
            Ok(changes) if changes.is_empty() => {
                ready.clear_ready();
                hub.handle(changes, true);
            }
            Ok(changes) => hub.handle(changes, false),
            Err(_) => return,
        }
        drop(ready);
        tokio::task::yield_now().await;
    }
}
