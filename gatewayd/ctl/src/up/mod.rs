//! `up`: an instance to use, until Ctrl-C.

mod config;
mod env_file;
mod local_ca;
mod names;
mod programs;
mod supervise;

use std::fs;
use std::net::TcpListener;
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

use self::config::Serving;
use self::local_ca::LocalCa;
use self::names::Names;
use self::programs::Programs;
use self::supervise::{Privd, Turn};

pub(crate) use self::names::{Domain, Tls};

/// How often a certificate of our own is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

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

    let names = Names::new(&options.domain, &options.tls, address)?;
    let (certificates, ca) = certificates(&place, &options, &names)?;
    let programs = Programs::find(place.state_dir())?;
    let serving = Serving {
        listener: listener.as_raw_fd(),
        domains: &names.domains,
        certificates: &certificates,
    };
    let config = config::write(&place, &programs, &serving, &options)?;
    let log = place.state_dir().join(config::LOG);
    let mut privd = Privd::new(programs.privd.clone(), config);
    let shown = (&names, ca.as_ref());
    let served = serve(&place, &mut privd, &mut stop, shown, &options, output).await;
    // Whatever happened, nothing that was started stays behind.
    let stopped = privd.stop(&mut stop).await;
    if served.is_err() || stopped.is_err() {
        show_log(&log);
    }
    served?;
    stopped?;
    Ok(0)
}

/// A chain and its key.
type Pair = (PathBuf, PathBuf);

/// The files of `--tls`, made where they are to be.
fn certificates(
    place: &Place,
    options: &args::Up,
    names: &Names,
) -> Result<(Vec<Pair>, Option<LocalCa>), Error> {
    let (mut files, mut ca) = (Vec::new(), None);
    for tls in &options.tls {
        match tls {
            Tls::Files(chain, key) => files.push((absolute(chain)?, absolute(key)?)),
            Tls::OwnCa => {
                let own = LocalCa::new(place.state_dir(), names.bare.clone(), names.addresses());
                if own.ensure()?.authority {
                    eprintln!("warder: made a new certificate authority; trust it anew");
                }
                files.push((own.leaf(), own.leaf()));
                ca = Some(own);
            }
        }
    }
    Ok((files, ca))
}

/// The file's path from the root. The file itself may be a link: what it leads to later is what is then opened.
fn absolute(file: &Path) -> Result<PathBuf, Error> {
    let failed = |e| Error::io(format!("find {}", file.display()), e);
    let name = file
        .file_name()
        .ok_or_else(|| Error::Usage(format!("{} is no file", file.display())))?;
    fs::metadata(file).map_err(failed)?;
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new(".")).canonicalize();
    Ok(folder.map_err(failed)?.join(name))
}

async fn serve(
    place: &Place,
    privd: &mut Privd,
    stop: &mut Stop,
    (names, ca): (&Names, Option<&LocalCa>),
    options: &args::Up,
    output: Output,
) -> Result<(), Error> {
    let api = Api::new(Target::admin(place));
    privd.start()?;
    if privd.until_served(&api, stop).await? == Turn::Stop {
        return Ok(());
    }
    let (id, key) = register(&api, options.api_key.as_deref()).await?;
    usable(&api).await?;
    let shown = ca.map(|ca| ca.publish(&place.run_dir())).transpose()?;
    let lines = names.lines(&key, shown.as_ref());
    if let Some(file) = &options.env_file {
        env_file::write(file, &lines)?;
    }
    let (api_url, sandbox_url) = names.urls();
    let value = json!({
        "apiUrl": api_url, "sandboxUrl": sandbox_url, "apiKey": key, "domains": names.domains,
        "caFile": shown.as_ref().map(|[alone, _]| alone),
        "stateDir": place.state_dir(), "tag": place.tag().to_string(),
    });
    output.result(&value, &lines);
    eprintln!(
        "warder: serving on {}, log in {}; Ctrl-C ends it{}",
        names.address,
        place.state_dir().join(config::LOG).display(),
        if options.keep {
            " and leaves sandboxes running"
        } else {
            " and removes its sandboxes"
        }
    );
    for note in names.notes(shown.as_ref()) {
        eprintln!("warder: {note}");
    }
    if let Some(name) = names.unresolved().await {
        eprintln!(
            "warder: {name} does not resolve on this machine; docs/names-and-tls.md has the ways (names below localhost: apt-get install libnss-myhostname)"
        );
    }
    tokio::select! {
        ended = privd.keep_running(stop) => ended?,
        never = renew(ca, place, &api) => match never {},
    }
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

/// Refuses to go on with a certificate that is none: no client could come in.
async fn usable(api: &Api) -> Result<(), Error> {
    let certificates = api.call(Method::GET, "/admin/certificates", None).await?;
    for certificate in certificates.as_array().into_iter().flatten() {
        match crate::reload::problem(certificate) {
            Some(problem) if certificate["usable"] != true => return Err(Error::Failed(problem)),
            Some(problem) => eprintln!("warder: {problem}"),
            None => {}
        }
    }
    Ok(())
}

/// Renews the certificate of an authority of our own before its end, however long this runs.
async fn renew(ca: Option<&LocalCa>, place: &Place, api: &Api) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(ca) = ca else {
            continue;
        };
        let renewed = match ca.ensure() {
            Ok(made) if !made.leaf => continue,
            Ok(_) => ca.publish(&place.run_dir()),
            Err(error) => Err(error),
        };
        let renewed = match renewed {
            Ok(_) => api.call(Method::POST, "/admin/reload", None).await,
            Err(error) => Err(error),
        };
        match renewed {
            Ok(_) => eprintln!("warder: the certificate was renewed"),
            Err(error) => eprintln!("warder: the certificate was not renewed: {error}"),
        }
    }
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
    fn the_sudo_line_survives_a_shell() {
        assert_eq!(quote("a b'c"), "'a b'\\''c'");
        assert_eq!(quote("--listen=127.0.0.1:1"), "--listen=127.0.0.1:1");
    }
}
