//! `exec`: a command in a sandbox, its streams and its exit code here.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use warder_connect::Code;
use warder_connect::process::{DataEvent, Signal};

use crate::api::Sandbox;
use crate::args;
use crate::error::{Error, TIMED_OUT};
use crate::http::Target;
use crate::output::Output;
use crate::place::Place;
use crate::process::{Agent, Events, Line, Start, exit_code};

/// Bytes of input sent at once.
const CHUNK: usize = 32 * 1024;

pub(crate) async fn run(place: &Place, options: args::Exec, output: Output) -> Result<u8, Error> {
    let agent = Agent::new(
        &Target::admin(place),
        &Sandbox::new(&options.id),
        options.user.as_deref(),
    );
    // A terminal is left alone unless asked for: `exec` in a script must not eat what is typed next.
    let stdin = options.interactive || !io::stdin().is_terminal();
    let start = Start {
        command: options.command,
        envs: options.env,
        cwd: options.cwd,
        stdin,
        terminal: None,
        timeout_ms: options.timeout.map(|s| s.saturating_mul(1000)),
    };
    let mut events = agent.start(&start).await?;
    let pid = events.started().await?;
    if stdin {
        let line = agent.line().await?;
        tokio::spawn(feed(line, pid));
    }
    tokio::spawn(pass_signals(agent.line().await?, pid)?);
    match follow(&mut events, output).await {
        Err(Error::Agent(error)) if error.code == Code::DeadlineExceeded => Ok(TIMED_OUT),
        other => other,
    }
}

/// Input until its end. What fails here also ends the stream of events.
async fn feed(mut line: Line, pid: u32) {
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = input.read(&mut buffer).await {
        if length == 0 {
            let _ = line.close_stdin(pid).await;
            return;
        }
        if line.input(pid, &buffer[..length], false).await.is_err() {
            return;
        }
    }
}

/// The first Ctrl-C asks the command to end, the next one kills it.
fn pass_signals(mut line: Line, pid: u32) -> Result<impl Future<Output = ()>, Error> {
    let listen = |kind| signal(kind).map_err(|e| Error::io("watch for signals", e));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        let mut next = Signal::Sigterm;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let _ = line.signal(pid, next).await;
            next = Signal::Sigkill;
        }
    })
}

async fn follow(events: &mut Events, output: Output) -> Result<u8, Error> {
    while let Some(event) = events.next().await? {
        if let Some(data) = event.data {
            write(&data, output).map_err(|e| Error::io("write the command's output", e))?;
        }
        if let Some(end) = event.end {
            let code = exit_code(&end);
            if output.json {
                output.result(&json!({ "exitCode": code, "status": end.status }), "");
            }
            return Ok(code);
        }
    }
    Err(Error::Answer(
        "the command ended without saying how".to_owned(),
    ))
}

fn write(data: &DataEvent, output: Output) -> io::Result<()> {
    for (name, bytes) in [("stdout", &data.stdout), ("stderr", &data.stderr)] {
        let Some(bytes) = bytes else { continue };
        if output.json {
            let text = String::from_utf8_lossy(bytes);
            writeln!(io::stdout(), "{}", json!({ name: text }))?;
        } else if name == "stdout" {
            io::stdout().write_all(bytes)?;
            io::stdout().flush()?;
        } else {
            io::stderr().write_all(bytes)?;
        }
    }
    Ok(())
}
