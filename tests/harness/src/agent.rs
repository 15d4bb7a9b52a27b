//! Commands inside a sandbox, over E2B's agent API.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Instance, http};

/// What a command did.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// Its exit code; `None` when it never ended in order.
    pub exit: Option<i64>,
    /// What it wrote.
    pub stdout: String,
    /// And to standard error.
    pub stderr: String,
    /// How the agent put the end, or the error of the stream.
    pub end: String,
}

/// Runs a program in a sandbox as `user` and waits for its end, `timeout_ms` at most. `sandbox` is what a create answered.
///
/// # Errors
/// When the gateway at `address` does not answer.
pub fn exec(
    address: SocketAddr,
    sandbox: &Value,
    user: &str,
    (program, args): (&str, &[&str]),
    timeout_ms: u32,
) -> io::Result<Ran> {
    let start = json!({ "process": { "cmd": program, "args": args }, "stdin": false }).to_string();
    let length = u32::try_from(start.len()).expect("commands are short");
    let body = [&[0], length.to_be_bytes().as_slice(), start.as_bytes()].concat();
    let id = sandbox["sandboxID"].as_str().unwrap_or_default();
    let token = sandbox["envdAccessToken"].as_str().unwrap_or_default();
    let user = format!("Basic {}", STANDARD.encode(format!("{user}:")));
    let headers = [
        ("E2b-Sandbox-Id", id),
        ("E2b-Sandbox-Port", "49983"),
        ("X-Access-Token", token),
        ("Authorization", user.as_str()),
        ("Content-Type", "application/connect+json"),
        ("Connect-Protocol-Version", "1"),
        ("Connect-Timeout-Ms", &timeout_ms.to_string()),
    ];
    let mut stream = http::tcp(address)?;
    // Nothing comes while the command says nothing; what is too long for it the agent says.
    let most = Duration::from_millis(timeout_ms.into());
    stream.set_read_timeout(Some(http::PATIENCE + most))?;
    let answer = http::request(
        &mut stream,
        "POST",
        "/process.Process/Start",
        &headers,
        &body,
    )?;
    let mut ran = Ran::default();
    if answer.status != 200 {
        ran.end = format!("{} {}", answer.status, answer.text());
        return Ok(ran);
    }
    let mut rest = answer.body.as_slice();
    while let Some((head, tail)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((message, tail)) = tail.split_at_checked(length) else {
            break;
        };
        ran.take(&serde_json::from_slice(message).unwrap_or_default());
        rest = tail;
    }
    Ok(ran)
}

impl Instance {
    /// Brings a program into a sandbox, for anybody there to run.
    ///
    /// # Panics
    /// When that is refused.
    pub fn plant(&self, sandbox: &Value, program: &Path, at: &str) {
        let headers = [
            ("E2b-Sandbox-Id", sandbox["sandboxID"].as_str()),
            ("E2b-Sandbox-Port", Some("49983")),
            ("X-Access-Token", sandbox["envdAccessToken"].as_str()),
            ("Content-Type", Some("application/octet-stream")),
        ];
        let headers = headers.map(|(name, value)| (name, value.unwrap_or_default()));
        let target = format!("/files?path={at}&username=root");
        let bytes = std::fs::read(program).expect("built with the tests");
        let answer = self.send("POST", &target, &headers, &bytes);
        assert_eq!(answer.status, 200, "{at}: {}", answer.text());
        let ran = self.run(sandbox, "root", &format!("chmod 755 {at}"), 60_000);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
    }

    /// Runs a shell command in a sandbox as `user` and waits for its end, `timeout_ms` at most. The shell is asked for as SDKs
    /// do: where there is no bash the agent takes sh(1) for it.
    ///
    /// # Panics
    /// When the gateway does not answer at all.
    #[must_use]
    pub fn run(&self, sandbox: &Value, user: &str, command: &str, timeout_ms: u32) -> Ran {
        let args = ["-l", "-c", command];
        let shell = ("/bin/bash", args.as_slice());
        exec(self.address(), sandbox, user, shell, timeout_ms)
            .unwrap_or_else(|e| panic!("{command}: {e}\n{}", self.log_text()))
    }
}

impl Ran {
    fn take(&mut self, message: &Value) {
        let event = &message["event"];
        for (field, into) in [("stdout", &mut self.stdout), ("stderr", &mut self.stderr)] {
            let bytes = event["data"][field]
                .as_str()
                .and_then(|text| STANDARD.decode(text).ok());
            into.push_str(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
        }
        if event["end"].is_object() {
            self.end = event["end"]["status"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if event["end"]["exited"] == true {
                self.exit = Some(event["end"]["exitCode"].as_i64().unwrap_or(0));
            }
        } else if message["error"].is_object() {
            self.end = message["error"].to_string();
        }
    }
}
