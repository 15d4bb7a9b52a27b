//! Clients that create and destroy sandboxes all the time, so that a kill at any moment falls into one or the other.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use warder_harness::http::{self, Answer};

/// Of so many creates the last one is kept, so that what was answered can be lost.
const KEPT: usize = 4;

/// What the clients were told.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sandboxes whose create was answered with 201 and that nobody asked to destroy.
    pub kept: BTreeSet<String>,
    /// Sandboxes whose destroy was asked for and not answered with 204: there and whole, or gone.
    pub doubtful: BTreeSet<String>,
    /// Sandboxes whose destroy was answered with 204.
    pub destroyed: BTreeSet<String>,
    /// Creates and destroys answered as they should be.
    pub answered: usize,
    /// Those that were refused for now: 409, 429, 500, 502, 503, 504, 507.
    pub refused: usize,
    /// Those whose connection broke before an answer.
    pub broken: usize,
    /// Answers that are right at no time.
    pub wrong: Vec<String>,
}

/// The clients, while they work.
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Churn {
    /// Starts `clients` of them.
    #[must_use]
    pub fn start(address: SocketAddr, key: &str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|_| {
                let (stop, key) = (Arc::clone(&stop), key.to_owned());
                thread::spawn(move || work(address, &key, &stop))
            })
            .collect();
        Self { stop, clients }
    }

    /// Ends them and adds up what they saw.
    ///
    /// # Panics
    /// When one of them panicked.
    #[must_use]
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let one = client.join().expect("a client does not panic");
            all.kept.extend(one.kept);
            all.doubtful.extend(one.doubtful);
            all.destroyed.extend(one.destroyed);
            all.answered += one.answered;
            all.refused += one.refused;
            all.broken += one.broken;
            all.wrong.extend(one.wrong);
        }
        all
    }
}

fn work(address: SocketAddr, key: &str, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let body = json!({ "templateID": "base", "timeout": 3600, "metadata": { "kind": "churn" } })
        .to_string();
    for turn in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(made) = tally.note(
            "create",
            201,
            ask(address, key, "POST", "/v2/sandboxes", body.as_bytes()),
        ) else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let made = made.json();
        let Some(id) = made["sandboxID"].as_str() else {
            tally.wrong.push(format!("a create without an id: {made}"));
            continue;
        };
        if turn % KEPT == 0 {
            tally.kept.insert(id.to_owned());
            continue;
        }
        let ended = ask(address, key, "DELETE", &format!("/sandboxes/{id}"), b"");
        if tally.note("destroy", 204, ended).is_some() {
            tally.destroyed.insert(id.to_owned());
        } else {
            tally.doubtful.insert(id.to_owned());
        }
    }
    tally
}

impl Tally {
    /// Counts an answer; hands it back if it is the one hoped for.
    fn note(&mut self, what: &str, wanted: u16, answer: io::Result<Answer>) -> Option<Answer> {
        match answer {
            Ok(answer) if answer.status == wanted => {
                self.answered += 1;
                return Some(answer);
            }
            Ok(answer) if [409, 429, 500, 502, 503, 504, 507].contains(&answer.status) => {
                self.refused += 1;
            }
            Ok(answer) => self
                .wrong
                .push(format!("{what}: {} {}", answer.status, answer.text())),
            Err(_) => self.broken += 1,
        }
        None
    }
}

/// One request that may well fail.
///
/// # Errors
/// When there is no whole answer.
pub fn ask(
    address: SocketAddr,
    key: &str,
    method: &str,
    target: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let headers = [("X-API-KEY", key), ("Content-Type", "application/json")];
    http::request(&mut http::tcp(address)?, method, target, &headers, body)
}
