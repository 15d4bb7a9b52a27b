//! What checks are made in: the stack, the internet beside it, a sandbox with the probe in it.

use std::path::{Path, PathBuf};

use crate::backend::Backend;
use crate::check::Bad;
use crate::remains::RunDir;
use crate::report::Figure;
use crate::stack::{Sandbox, Stack, find_plugins};
use crate::world::Internet;

/// The scene of a run.
pub(crate) struct Scene {
    pub(crate) backend: Backend,
    stage: PathBuf,
    stack: Result<Stack, String>,
    internet: Result<Internet, String>,
    probed: Option<Sandbox>,
    log_dir: Option<RunDir>,
    pub(crate) figures: Vec<Figure>,
}

impl Scene {
    pub(crate) fn new(
        backend: Backend,
        stage: &Path,
        stack: Result<Stack, String>,
        internet: Result<Internet, String>,
    ) -> Self {
        Self {
            backend,
            stage: stage.to_owned(),
            stack,
            internet,
            probed: None,
            log_dir: None,
            figures: Vec::new(),
        }
    }

    /// Where the internet keeps its log, for as long as the scene is open.
    pub(crate) fn log_dir(&mut self, dir: RunDir) {
        self.log_dir = Some(dir);
    }

    /// A scene in which nothing runs.
    pub(crate) fn none(backend: Backend, stage: &Path, why: &str) -> Self {
        Self::new(backend, stage, Err(why.to_owned()), Err(why.to_owned()))
    }

    /// The backend's plugin.
    pub(crate) fn plugin(&self) -> PathBuf {
        let file = format!("lib{}.so", self.backend);
        find_plugins(&self.stage).join(file)
    }

    /// The running stack.
    pub(crate) fn stack(&mut self) -> Result<&mut Stack, Bad> {
        let missing = |why: &mut String| Bad::NotHere(format!("there is no stack: {why}"));
        self.stack.as_mut().map_err(missing)
    }

    /// What is around the host, and the stack.
    pub(crate) fn internet(&mut self) -> Result<(&mut Internet, &mut Stack), Bad> {
        let missing = |why: &mut String| {
            Bad::NotHere(format!("no internet could be made beside this host: {why}"))
        };
        let internet = self.internet.as_mut().map_err(missing)?;
        let stack = self
            .stack
            .as_mut()
            .map_err(|why| Bad::NotHere(format!("there is no stack: {why}")))?;
        Ok((internet, stack))
    }

    /// A sandbox that has the probe, made once for all checks that only ask.
    pub(crate) fn probed(&mut self) -> Result<Sandbox, Bad> {
        if let Some(sandbox) = &self.probed {
            return Ok(sandbox.clone());
        }
        let stack = self.stack()?;
        // On a slow host a run takes longer than other sandboxes have to live.
        let long = serde_json::json!({ "timeout": 86_400 });
        let sandbox = stack.create_with_probe(&long)?;
        stack.keep(&sandbox);
        self.probed = Some(sandbox.clone());
        Ok(sandbox)
    }

    /// The sandbox of [`Self::probed`] is not to be used any more.
    pub(crate) fn forget_probed(&mut self) {
        self.probed = None;
    }

    /// Removes what a check has left running.
    pub(crate) fn sweep(&mut self) {
        if let Ok(stack) = &mut self.stack {
            stack.sweep();
        }
    }

    pub(crate) fn figure(&mut self, what: &str, value: String) {
        self.figures.push(Figure {
            what: what.to_owned(),
            value,
        });
    }

    /// Takes the stack and the internet out, to end them.
    pub(crate) fn close(self) -> (Result<Stack, String>, Result<Internet, String>, Vec<Figure>) {
        (self.stack, self.internet, self.figures)
    }
}
