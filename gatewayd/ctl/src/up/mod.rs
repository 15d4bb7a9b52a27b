//! `up`: an instance to use, until Ctrl-C.

mod config;
mod env_file;
mod programs;
mod supervise;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use http::Method;
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::Api;
use crate::args;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field};
use crate::place::Place;

use self::programs::Programs;
use self::supervise::{Privd, Turn};

pub(crate) async fn run(place: &Place, options: args::Up, output: Output) -> Result<u8, Error> {
    need_root()?;
    let place = prepare(place)?;
    if Target::admin(&place).connect().await.is_ok() {
        let text = format!("a server already runs for {}", place.state_dir().display());
        return Err(Error::Failed(text));
    }
    if let Some(file) = &options.env_file {
        // Whoever waits for the file must not find that of an earlier run.
        env_file::remove(file)?;
    }
    let mut stop = Stop::new()?;
    let listener = TcpListener::bind(options.listen);
    let listener = listener.map_err(|e| Error::io(format!("listen on {}", options.listen), e))?;
    let address = listener
        .local_addr()
        .map_err(|e| Error::io("ask for the port", e))?;
    // privd inherits it under its own number, again and again when it is restarted.
    fcntl_setfd(&listener, FdFlags::empty())
        .map_err(|e| Error::io("pass the listener on", e.into()))?;

    let programs = Programs::find(place.state_dir())?;
    let listening = (listener.as_raw_fd(), address);
    let config = config::write(&place, &programs, listening, options.keep)?;
    let log = place.state_dir().join(config::LOG);
    let mut privd = Privd::new(programs.privd.clone(), config);
    let served = serve(&place, &mut privd, &mut stop, address, &options, output).await;
    // Whatever happened, nothing that was started stays behind.
    let stopped = privd.stop(&mut stop).await;
    if served.is_err() || stopped.is_err() {
        show_log(&log);
    }
    served?;
    stopped?;
    Ok(0)
}

async fn serve(
    place: &Place,
    privd: &mut Privd,
    stop: &mut Stop,
    address: SocketAddr,
    options: &args::Up,
    output: Output,
) -> Result<(), Error> {
    let api = Api::new(Target::admin(place));
    privd.start()?;
    if privd.until_served(&api, stop).await? == Turn::Stop {
        return Ok(());
    }
    let (id, key) = register(&api, options.api_key.as_deref()).await?;
    let url = format!("http://{}", reachable(address));
    let lines = env_file::lines(&url, &key);
    if let Some(file) = &options.env_file {
        env_file::write(file, &lines)?;
    }
    let value = json!({
        "apiUrl": url, "sandboxUrl": url, "apiKey": key,
        "stateDir": place.state_dir(), "tag": place.tag().to_string(),
    });
    output.result(&value, &lines);
    eprintln!(
        "warder: serving on {address}, log in {}; Ctrl-C ends it{}",
        place.state_dir().join(config::LOG).display(),
        if options.keep {
            " and leaves sandboxes running"
        } else {
            " and removes its sandboxes"
        }
    );
    privd.keep_running(stop).await?;
    if !options.keep && privd.runs() {
        // The key was for this run only. If the gateway cannot say so now, its sandboxes are gone anyway.
        let path = format!("/admin/keys/{}", encode(&id));
        let revoke = api.call(Method::DELETE, &path, None);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), revoke).await;
    }
    Ok(())
}

/// Makes the key known to the gateway; its id and the key.
async fn register(api: &Api, given: Option<&str>) -> Result<(String, String), Error> {
    let mut request = json!({ "name": "up" });
    if let Some(key) = given {
        request["key"] = Value::from(key);
    }
    let answer = api
        .call(Method::POST, "/admin/keys", Some(&request))
        .await?;
    let key = given.map_or_else(|| field(&answer, "key"), str::to_owned);
    if key.is_empty() {
        return Err(Error::Answer("no key came back".to_owned()));
    }
    Ok((field(&answer, "id"), key))
}

/// The address a client on this machine uses: a wildcard is no address to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn need_root() -> Result<(), Error> {
    need_root_for(std::env::args_os())
}

/// Refuses to go on without root, with the line that has it.
pub(crate) fn need_root_for(
    arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let quoted = arguments
        .map(|a| quote(&a.to_string_lossy()))
        .collect::<Vec<_>>();
    Err(Error::NotRoot(format!("sudo {}", quoted.join(" "))))
}

fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Makes the state directory, root's alone, and names the instance by its canonical path.
fn prepare(place: &Place) -> Result<Place, Error> {
    let dir = place.state_dir();
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|e| Error::io(format!("make {}", dir.display()), e))?;
    let place = Place::new(Some(dir.to_owned()));
    let meta =
        fs::metadata(place.state_dir()).map_err(|e| Error::io("look at the state directory", e))?;
    let owner = std::os::unix::fs::MetadataExt::uid(&meta);
    if owner != 0 || meta.permissions().mode() & 0o022 != 0 {
        let text = "must belong to root and be writable by nobody else: chown root, chmod go-w";
        return Err(Error::Failed(format!(
            "{} {text}",
            place.state_dir().display()
        )));
    }
    Ok(place)
}

fn show_log(log: &Path) {
    const LINES: usize = 20;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if !lines.is_empty() {
        eprintln!("warder: the end of {}:", log.display());
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            eprintln!("  {}", crate::output::clean(line));
        }
    }
}

/// The operator's wish to end.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|e| Error::io("watch for signals", e));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for Ctrl-C, SIGTERM or the end of the terminal.
    pub(crate) async fn wished(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// A file below the state directory, for messages.
pub(crate) fn log_of(state_dir: &Path) -> PathBuf {
    state_dir.join(config::LOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_an_address_to_connect_to() {
        let url = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(url("0.0.0.0:3000"), "127.0.0.1:3000");
        assert_eq!(url("[::]:1"), "[::1]:1");
        assert_eq!(url("10.1.2.3:80"), "10.1.2.3:80");
    }

    #[test]
    fn the_sudo_line_survives_a_shell() {
        assert_eq!(quote("a b'c"), "'a b'\\''c'");
        assert_eq!(quote("--listen=127.0.0.1:1"), "--listen=127.0.0.1:1");
    }
}
