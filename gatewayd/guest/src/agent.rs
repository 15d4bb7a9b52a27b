//! What every request may need.

use std::cell::RefCell;
use std::rc::Rc;

use crate::log::Log;
use crate::process::Processes;
use crate::settings::Settings;
use crate::watch::Watches;

/// The agent's state, shared by all tasks of its one thread.
#[derive(Clone)]
pub(crate) struct Agent(Rc<Inner>);

pub(crate) struct Inner {
    /// What `/init` set. Never borrowed across an await.
    pub(crate) settings: RefCell<Settings>,
    /// What clients started.
    pub(crate) processes: Processes,
    /// What happened.
    pub(crate) log: Log,
    /// Directories that clients watch.
    pub(crate) watches: Watches,
}

impl Agent {
    pub(crate) fn new() -> Self {
        let log = Log::default();
        log.agent("agent started");
        Self(Rc::new(Inner {
            log,
            settings: RefCell::new(Settings::default()),
            processes: Processes::default(),
            watches: Watches::default(),
        }))
    }
}

impl std::ops::Deref for Agent {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
