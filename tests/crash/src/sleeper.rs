//! Sandboxes that are paused and woken all the time, so that a kill at any moment falls into one or the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_harness::Instance;

use crate::{PATIENCE, ask};

/// A sandbox that lives through all rounds, paused or not.
#[derive(Clone, Debug)]
pub struct Sleeper {
    made: Value,
    /// Whether it is paused with its processes.
    memory: bool,
    /// What its file says: changed after each round.
    word: String,
}

impl Sleeper {
    /// Creates it, writes a file, and starts a process that waits for ever.
    ///
    /// # Panics
    /// When any of this fails.
    #[must_use]
    pub fn make(instance: &Instance, number: usize) -> Self {
        let wanted = json!({ "timeout": 3600, "metadata": { "kind": "sleeper" } });
        let made = instance.create(&wanted);
        let word = format!("sleeper number {number}");
        let start = format!(
            "echo '{word}' >/home/user/word; \
             setsid sleep 100000 </dev/null >/dev/null 2>&1 & echo $! >/home/user/pid"
        );
        let ran = instance.run(&made, "user", &start, 30_000);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        Self {
            made,
            memory: number.is_multiple_of(2),
            word,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.made["sandboxID"].as_str().unwrap_or_default()
    }

    /// Wakes it. What is wrong with it then: nothing, if its file says what was last written, and its process
    /// lives where it is only paused with it.
    pub fn wake_and_check(&mut self, instance: &Instance, round: usize) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        let target = format!("/sandboxes/{}/connect", self.id());
        loop {
            let body = json!({ "timeout": 3600 });
            let woken = instance.api("POST", &target, &body);
            match woken.status {
                200 | 201 => break,
                409 | 500..=504 if Instant::now() < end => {
                    thread::sleep(Duration::from_millis(20));
                }
                status => {
                    return vec![format!("{}: woken: {status} {}", self.id(), woken.text())];
                }
            }
        }
        let live = "kill -0 $(cat /home/user/pid) && echo lives";
        let look = format!("cat /home/user/word; {live}");
        let told = instance.run(&self.made, "user", &look, 20_000);
        let mut lines = told.stdout.lines();
        let mut wrong = Vec::new();
        if lines.next() != Some(self.word.as_str()) {
            wrong.push(format!(
                "{}: its file does not say {:?}: {told:?}",
                self.id(),
                self.word
            ));
        }
        if self.memory && lines.next() != Some("lives") {
            wrong.push(format!("{}: its process is gone: {told:?}", self.id()));
        }
        self.word = format!("{} after round {round}", self.id());
        let write = format!("echo '{}' >/home/user/word", self.word);
        let ran = instance.run(&self.made, "user", &write, 20_000);
        if ran.exit != Some(0) {
            wrong.push(format!("{}: nothing can be written: {ran:?}", self.id()));
        }
        wrong
    }
}

/// One client for each sleeper, while they work.
#[derive(Debug)]
pub struct Restless {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Restless {
    /// Starts them.
    #[must_use]
    pub fn start(address: SocketAddr, key: &str, sleepers: &[Sleeper]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |sleeper: &Sleeper| {
            let (stop, key, sleeper) = (Arc::clone(&stop), key.to_owned(), sleeper.clone());
            thread::spawn(move || work(address, &key, &sleeper, &stop))
        };
        let clients = sleepers.iter().map(client).collect();
        Self { stop, clients }
    }

    /// Ends them: how many pauses and wakes were answered as they should be, and answers that are right at no time.
    ///
    /// # Panics
    /// When one of them panicked.
    #[must_use]
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut answered, mut wrong) = (0, Vec::new());
        for client in self.clients {
            let one = client.join().expect("a client does not panic");
            answered += one.0;
            wrong.extend(one.1);
        }
        (answered, wrong)
    }
}

fn work(
    address: SocketAddr,
    key: &str,
    sleeper: &Sleeper,
    stop: &AtomicBool,
) -> (usize, Vec<String>) {
    let (mut answered, mut wrong) = (0, Vec::new());
    let requests = [
        ("pause", json!({ "memory": sleeper.memory })),
        ("connect", json!({ "timeout": 3600 })),
    ];
    for (what, body) in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let target = format!("/sandboxes/{}/{what}", sleeper.id());
        match ask(address, key, "POST", &target, body.to_string().as_bytes()) {
            Ok(answer) if [200, 201, 204].contains(&answer.status) => answered += 1,
            Ok(answer) if [409, 429, 500, 502, 503, 504, 507].contains(&answer.status) => {}
            Ok(answer) => wrong.push(format!("{what}: {} {}", answer.status, answer.text())),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
    (answered, wrong)
}
