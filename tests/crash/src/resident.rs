//! Sandboxes that live through all rounds: their files, their background processes, their names.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_harness::{Instance, http};

/// A sandbox under watch.
#[derive(Clone, Debug)]
pub struct Resident {
    made: Value,
    word: String,
    counted: u64,
    pid: u64,
}

impl Resident {
    /// Creates it, writes a file, and starts two processes: one that counts into a file and is a child of nobody,
    /// one that the agent knows and whose client has gone away.
    ///
    /// # Panics
    /// When any of this fails.
    #[must_use]
    pub fn make(instance: &Instance, number: usize) -> Self {
        let made = instance.create(&json!({
            "timeout": 3600,
            "metadata": { "kind": "resident" },
            "allow_internet_access": !Self::is_closed(number),
        }));
        let word = format!("resident number {number}");
        let start = format!(
            "echo '{word}' >/home/user/word; \
             setsid bash -c 'n=0; while :; do n=$((n+1)); echo $n >/tmp/count; sleep 0.3; done' \
             </dev/null >/dev/null 2>&1 &"
        );
        let ran = instance.run(&made, "user", &start, 30_000);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        let pid = abandon(instance, &made, "exec sleep 100000");
        Self {
            made,
            word,
            counted: 0,
            pid,
        }
    }

    /// Whether resident `number` may not reach the internet.
    #[must_use]
    pub fn is_closed(number: usize) -> bool {
        number % 4 == 1
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.made["sandboxID"].as_str().unwrap_or_default()
    }

    /// What is wrong with it: nothing, if its file is there, its counter has gone on and its processes live.
    pub fn check(&mut self, instance: &Instance, patience: Duration) -> Vec<String> {
        let mut wrong = Vec::new();
        let end = Instant::now() + patience;
        loop {
            let told = instance.run(&self.made, "user", "cat /home/user/word /tmp/count", 20_000);
            let (word, count) = told.stdout.split_once('\n').unwrap_or_default();
            if word != self.word {
                wrong.push(format!("{}: its file says {told:?}", self.id()));
                break;
            }
            // Nothing, if it is just being written.
            let now = count.trim().parse().unwrap_or(0);
            if now > self.counted {
                self.counted = now;
                break;
            }
            if Instant::now() > end {
                wrong.push(format!(
                    "{}: its counter stands at {} ({told:?})",
                    self.id(),
                    self.counted
                ));
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let list = instance.sandbox(&self.made, 49983, "POST", "/process.Process/List", b"{}");
        let known = list.json()["processes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if !known.iter().any(|process| process["pid"] == self.pid) {
            wrong.push(format!(
                "{}: process {} is gone: {}",
                self.id(),
                self.pid,
                list.text()
            ));
        }
        wrong
    }
}

/// Starts a command, reads its process id and drops the connection.
fn abandon(instance: &Instance, sandbox: &Value, command: &str) -> u64 {
    let message =
        json!({ "process": { "cmd": "/bin/bash", "args": ["-l", "-c", command] }, "stdin": false })
            .to_string();
    let length = u32::try_from(message.len()).expect("commands are short");
    let body = [&[0], length.to_be_bytes().as_slice(), message.as_bytes()].concat();
    let head = format!(
        "POST /process.Process/Start HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: 49983\r\n\
         X-Access-Token: {}\r\nContent-Type: application/connect+json\r\nConnect-Protocol-Version: 1\r\n\
         Content-Length: {}\r\n\r\n",
        sandbox["sandboxID"].as_str().unwrap_or_default(),
        sandbox["envdAccessToken"].as_str().unwrap_or_default(),
        body.len()
    );
    let mut stream = http::tcp(instance.address()).expect("the gateway accepts");
    stream
        .write_all(head.as_bytes())
        .expect("the gateway reads");
    stream.write_all(&body).expect("the gateway reads");
    let mut seen = Vec::new();
    let mut block = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen);
        let digits = text
            .split_once("\"pid\":")
            .map(|(_, rest)| rest.trim_start_matches(['"', ' ']));
        // The number is whole when something follows it.
        if let Some((number, _)) = digits.and_then(|d| d.split_once(|c: char| !c.is_ascii_digit()))
        {
            return number.parse().expect("digits");
        }
        let count = stream.read(&mut block).expect("the command starts");
        assert!(count > 0, "the stream ended: {text}");
        seen.extend_from_slice(&block[..count]);
    }
}
