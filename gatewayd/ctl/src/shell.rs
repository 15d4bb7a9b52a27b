//! `shell`: a terminal in a sandbox.

use std::io::{self, Write as _};

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::Sandbox;
use crate::args::ShellArgs;
use crate::error::Error;
use crate::http::Target;
use crate::output::Output;
use crate::place::Place;
use crate::process::{Agent, Line, Start, exit_code};
use crate::terminal::{Raw, size};

/// End of input as typed: Ctrl-D.
const END: &[u8] = b"\x04";

pub(crate) async fn run(place: &Place, options: ShellArgs, output: Output) -> Result<u8, Error> {
    if output.json {
        return Err(Error::Usage(
            "a terminal has no JSON form: use `exec --json`".to_owned(),
        ));
    }
    let agent = Agent::new(
        &Target::admin(place),
        &Sandbox::new(&options.id),
        options.user.as_deref(),
    );
    let start = Start {
        command: ["/bin/bash", "-i", "-l"].map(str::to_owned).to_vec(),
        envs: environment(),
        cwd: options.cwd,
        stdin: true,
        terminal: Some(size()),
        timeout_ms: None,
    };
    let mut events = agent.start(&start).await?;
    let pid = events.started().await?;
    let raw = Raw::enter().map_err(|e| Error::io("set the terminal to raw mode", e))?;
    tokio::spawn(feed(agent.line().await?, pid)?);
    let mut code = None;
    while let Some(event) = events.next().await? {
        if let Some(bytes) = event.data.and_then(|d| d.pty) {
            let mut out = io::stdout();
            let written = out.write_all(&bytes).and_then(|()| out.flush());
            written.map_err(|e| Error::io("write to the terminal", e))?;
        }
        if let Some(end) = event.end {
            code = Some(exit_code(&end));
        }
    }
    drop(raw);
    code.ok_or_else(|| Error::Answer("the shell ended without saying how".to_owned()))
}

fn environment() -> Vec<(String, String)> {
    let terminal = std::env::var("TERM").ok().filter(|t| !t.is_empty());
    vec![
        (
            "TERM".to_owned(),
            terminal.unwrap_or_else(|| "xterm-256color".to_owned()),
        ),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
    ]
}

/// Keys and changes of size, in order, over one connection.
fn feed(mut line: Line, pid: u32) -> Result<impl Future<Output = ()>, Error> {
    let changed = signal(SignalKind::window_change());
    let mut changed = changed.map_err(|e| Error::io("watch for signals", e))?;
    Ok(async move {
        let mut input = tokio::io::stdin();
        let mut buffer = [0; 4096];
        loop {
            let sent = tokio::select! {
                read = input.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => {
                        let _ = line.input(pid, END, true).await;
                        return;
                    }
                    Ok(length) => line.input(pid, &buffer[..length], true).await,
                },
                _ = changed.recv() => line.resize(pid, size()).await,
            };
            if sent.is_err() {
                // The stream of events tells why.
                return;
            }
        }
    })
}
