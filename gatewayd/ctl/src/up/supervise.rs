//! privd: started, restarted when it dies, ended.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::error::Error;
use crate::up::Stop;

/// How long the first start may take: template `base` is made then.
const START: Duration = Duration::from_secs(120);
/// How long an end may take: fifty sandboxes are removed in well under a second each.
const END: Duration = Duration::from_secs(120);
/// Shortest and longest pause before privd is started again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// After living so long a death counts as the first again.
const HEALTHY: Duration = Duration::from_secs(60);

/// What ended a wait.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// What was waited for.
    Done,
    /// The operator's wish to end.
    Stop,
}

/// privd, or the lack of it.
#[derive(Debug)]
pub(crate) struct Privd {
    program: PathBuf,
    config: PathBuf,
    child: Option<Child>,
}

impl Privd {
    pub(crate) fn new(program: PathBuf, config: PathBuf) -> Self {
        Self {
            program,
            config,
            child: None,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it in a process group of its own: Ctrl-C is for this command, which ends privd in order.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        let child = Command::new(&self.program)
            .arg("-f")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| Error::io(format!("start {}", self.program.display()), e))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the administrator's socket answers.
    pub(crate) async fn until_served(&mut self, api: &Api, stop: &mut Stop) -> Result<Turn, Error> {
        let answers = async {
            while api.call(Method::GET, "/health", None).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let Some(child) = &mut self.child else {
            return Err(Error::Failed("privd does not run".to_owned()));
        };
        tokio::select! {
            () = answers => Ok(Turn::Done),
            () = stop.wished() => Ok(Turn::Stop),
            () = sleep(START) => Err(Error::Failed(format!("nothing was served within {} s", START.as_secs()))),
            ended = child.wait() => {
                self.child = None;
                Err(Error::Failed(format!("privd ended at its start: {}", told(ended))))
            }
        }
    }

    /// Restarts privd whenever it dies, until the operator wishes to end.
    pub(crate) async fn keep_running(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            let Some(child) = &mut self.child else {
                return Err(Error::Failed("privd does not run".to_owned()));
            };
            let ended = tokio::select! {
                () = stop.wished() => return Ok(()),
                ended = child.wait() => ended,
            };
            self.child = None;
            if began.elapsed() > HEALTHY {
                pause = PAUSE.0;
            }
            eprintln!("warder: privd ended ({}); starting it again", told(ended));
            tokio::select! {
                () = stop.wished() => return Ok(()),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE.1);
            self.start()?;
        }
    }

    /// Ends privd in order; it ends everything it started.
    pub(crate) async fn stop(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if let Some(pid) = child
            .id()
            .and_then(|p| i32::try_from(p).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // Fails only when it ended meanwhile, which `wait` then tells.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let waiting = timeout(END, child.wait());
        tokio::pin!(waiting);
        let ended = loop {
            tokio::select! {
                ended = &mut waiting => break ended,
                () = stop.wished() => eprintln!("warder: still removing sandboxes"),
            }
        };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(other) => Err(Error::Failed(format!(
                "privd did not end well: {}",
                told(other)
            ))),
            Err(_) => Err(Error::Failed(format!(
                "privd did not end within {} s; it still runs",
                END.as_secs()
            ))),
        }
    }
}

fn told(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
