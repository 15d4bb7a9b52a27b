//! The demo's server: `warder up` as anybody would start it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::error::Error;
use crate::http::Target;
use crate::place::Place;

/// Longer than `up` itself waits, so that its own message is seen.
const PATIENCE: Duration = Duration::from_secs(150);

/// `warder up` in a directory of the demo's.
#[derive(Debug)]
pub(crate) struct Server {
    dir: PathBuf,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            child: None,
        }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(Some(self.state_dir()))
    }

    /// The process id of `warder up`.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts it and waits for the file with the lines to export.
    pub(crate) async fn start(&mut self) -> Result<Api, Error> {
        let env_file = self.dir.join("env");
        let failed = |e| Error::io("start `warder up`", e);
        let errors = File::create(self.dir.join("up.log")).map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .args(["up", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(self.state_dir())
            .arg("--env-file")
            .arg(&env_file)
            // Variables of the caller's own server must not change this one.
            .env_remove("WARDER_STATE_DIR")
            .env_remove("WARDER_API_KEY")
            .env_remove("SUDO_UID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let child = self.child.insert(child);
        let written = async {
            while !env_file.exists() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = written => {}
            _ = child.wait() => return Err(Error::Failed("`warder up` ended at its start".to_owned())),
            () = sleep(PATIENCE) => return Err(Error::Failed("`warder up` does not serve".to_owned())),
        }
        let text =
            fs::read_to_string(&env_file).map_err(|e| Error::io("read the export lines", e))?;
        read_lines(&text)
    }

    /// Ends it with SIGTERM; it must end with 0.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::Failed(format!("`warder up` had ended: {status}")));
        }
        let pid = child
            .id()
            .and_then(|p| i32::try_from(p).ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let sent = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            sent.map_err(|e| Error::io("signal `warder up`", e.into()))?;
        }
        match timeout(PATIENCE, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Error::Failed(format!("`warder up` ended with {status}"))),
            Ok(Err(source)) => Err(Error::io("wait for `warder up`", source)),
            Err(_) => Err(Error::Failed("`warder up` does not end".to_owned())),
        }
    }

    /// The last lines of what it and its daemons said.
    pub(crate) fn log(&self) -> String {
        const LINES: usize = 40;
        let mut text = fs::read_to_string(self.dir.join("up.log")).unwrap_or_default();
        text.push_str(
            &fs::read_to_string(crate::up::log_of(&self.state_dir())).unwrap_or_default(),
        );
        let lines: Vec<String> = text.lines().map(crate::output::clean).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// What an SDK would take from the environment.
fn read_lines(text: &str) -> Result<Api, Error> {
    let value = |name: &str| {
        let start = format!("export {name}=");
        let line = text.lines().find_map(|l| l.strip_prefix(start.as_str()));
        line.map(str::to_owned)
            .ok_or_else(|| Error::Failed(format!("no {name} among the export lines")))
    };
    let url = value("E2B_API_URL")?;
    let address: Option<SocketAddr> = url.strip_prefix("http://").and_then(|a| a.parse().ok());
    let address = address.ok_or_else(|| Error::Failed(format!("{url} is no address here")))?;
    Ok(Api::new(Target::Client {
        address,
        key: value("E2B_API_KEY")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_lines_are_read() {
        let text = "export E2B_API_URL=http://127.0.0.1:5\nexport E2B_API_KEY=e2b_1\n";
        assert!(matches!(
            read_lines(text).expect("complete").target,
            Target::Client { address, key } if address.port() == 5 && key == "e2b_1"
        ));
        assert!(read_lines("").is_err());
    }
}
