//! A small internet beside the host: servers behind a router of their own, at addresses that are for documentation
//! (RFC 5737) and in ranges that no policy opens.

mod freebsd;
mod linux;
pub(crate) mod servers;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use warder_harness::wait::until;

use crate::backend::Backend;
use crate::remains;

/// The host's way out.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The router on the other side.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// A server; `alpha.test`.
pub(crate) const ALPHA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Another; `beta.test`.
pub(crate) const BETA: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// A DNS server.
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// One command, by its words.
pub(crate) type Line = Vec<String>;

/// How an internet is made on a system; commands only, so that it can be read and tested on any.
pub(crate) trait World {
    /// Servers in ranges that no policy opens, as far as the host's own network leaves room for them.
    fn denied(&self) -> Vec<Ipv4Addr>;
    /// Before anything else. The last word of the answer of a line marked so is kept as `@pair`.
    fn before(&self) -> Vec<Line>;
    /// What stands before the servers' own command line, so that they run there.
    fn servers(&self) -> Line;
    /// On the host, when the servers have the process number `@pid`.
    fn host(&self) -> Vec<Line>;
    /// Beside it, in the servers' own network, when they have it.
    fn beside(&self, addresses: &[Ipv4Addr]) -> Vec<Line>;
    /// Undoes all of it; some may be gone already.
    fn undo(&self) -> Vec<Line>;
}

/// A running one.
pub(crate) struct Internet {
    world: Box<dyn World>,
    servers: Option<Child>,
    log: PathBuf,
    pair: String,
    said: u32,
}

/// Words of a line.
fn line(text: &str) -> Line {
    text.split_whitespace().map(str::to_owned).collect()
}

fn run(words: &[String]) -> Result<String, String> {
    let Some((program, args)) = words.split_first() else {
        return Ok(String::new());
    };
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let out = out.map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    Err(format!("{}: {said}", words.join(" ")))
}

impl Internet {
    /// Makes it. `dir` is for its log.
    pub(crate) fn make(backend: Backend, dir: &Path, may_take: bool) -> Result<Self, String> {
        let world: Box<dyn World> = match backend {
            Backend::Namespace => Box::new(linux::Namespaces),
            Backend::Jail | Backend::Bhyve => {
                Box::new(freebsd::Jail::new(std::process::id(), may_take)?)
            }
        };
        let mut internet = Self {
            log: dir.join("world.log"),
            world,
            servers: None,
            pair: String::new(),
            said: 0,
        };
        fs::write(&internet.log, "").map_err(|e| format!("the log of the servers: {e}"))?;
        remains::note(dir, &internet.undo())?;
        for words in internet.world.before() {
            let answer = run(&words)?;
            if answer.starts_with("epair") {
                internet.pair = answer.trim_end_matches('a').to_owned();
                remains::note(dir, &internet.undo())?;
            }
        }
        let own = std::env::current_exe().map_err(|e| format!("this program's own path: {e}"))?;
        let addresses = internet.addresses();
        let mut words = internet.world.servers();
        words.extend([
            own.display().to_string(),
            "world".to_owned(),
            internet.log.display().to_string(),
        ]);
        words.extend(addresses.iter().map(Ipv4Addr::to_string));
        let (program, args) = words.split_first().ok_or("no command")?;
        let started = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let servers = started.map_err(|e| format!("{program}: {e}"))?;
        let pid = servers.id().to_string();
        internet.servers = Some(servers);
        // They say so when they run, in their own network, and when every address was bound.
        until("the servers' start", || {
            internet.text().contains("started").then_some(())
        })?;
        let lines = [internet.world.host(), internet.world.beside(&addresses)].concat();
        for words in lines {
            let filled: Line = words
                .iter()
                .map(|w| w.replace("@pid", &pid).replace("@pair", &internet.pair))
                .collect();
            run(&filled)?;
        }
        fs::write(servers::go(&internet.log), "").map_err(|e| format!("beside the log: {e}"))?;
        until("the servers' readiness", || {
            internet.text().contains("ready").then_some(())
        })?;
        Ok(internet)
    }

    /// What undoes all of it, but for the pair before that is made.
    fn undo(&self) -> Vec<Line> {
        let fill = |w: &String| w.replace("@pair", &self.pair);
        let all = self.world.undo().into_iter();
        all.filter(|words| !self.pair.is_empty() || !words.iter().any(|w| w.contains("@pair")))
            .map(|words| words.iter().map(fill).collect())
            .collect()
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        let mut all = vec![ALPHA, BETA, DNS];
        all.extend(self.world.denied());
        all
    }

    /// Servers in ranges that no policy opens.
    pub(crate) fn denied(&self) -> Vec<Ipv4Addr> {
        self.world.denied()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How much has been seen beside the host.
    pub(crate) fn mark(&self) -> usize {
        self.text().len()
    }

    /// What was seen since. All that the host sent before comes first: a datagram of its own ends it.
    pub(crate) fn since(&mut self, mark: usize) -> Result<Vec<String>, String> {
        self.said += 1;
        let word = format!("barrier-{}-{}", std::process::id(), self.said);
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| format!("a socket: {e}"))?;
        until("an answer from beside the host", || {
            let _ = socket.send_to(word.as_bytes(), (ALPHA, 7));
            self.text().contains(&word).then_some(())
        })?;
        let text = self.text();
        let new = text.get(mark..).unwrap_or_default();
        Ok(new
            .lines()
            .filter(|l| !l.contains("barrier-"))
            .map(str::to_owned)
            .collect())
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        if let Some(mut servers) = self.servers.take() {
            let _ = servers.kill();
            let _ = servers.wait();
        }
        for words in self.undo() {
            let _ = run(&words);
        }
    }
}
