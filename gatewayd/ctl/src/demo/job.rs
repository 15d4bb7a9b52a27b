//! The job itself, over the public endpoint with the key, as an SDK does it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::api::{Api, Sandbox};
use crate::demo::keep;
use crate::demo::leaks::Traces;
use crate::demo::server::Server;
use crate::demo::steps::Steps;
use crate::demo::who;
use crate::error::Error;
use crate::http::full;
use crate::output::field;
use crate::process::{Agent, Start, exit_code};

const PATIENCE: Duration = Duration::from_secs(60);
const FILE: &str = "/home/user/note.txt";
const TEXT: &str = "written through the gateway\n";
const WEB_PORT: u16 = 8000;

/// For the scripts, with the tools that the sandbox has: a Linux distribution's, or those of FreeBSD's base system.
/// `get URL`; `serve ADDRESS PORT DIRECTORY`, which for want of a server answers each connection with the index;
/// `quiet COMMAND...` holds none of the call's pipes: a redirection of a function's would, since FreeBSD's sh keeps
/// what it replaces for the time after it, in every process of the function.
const TOOLS: &str = r#"get() {
  if command -v curl >/dev/null; then curl -sf -m 2 "$1"; else fetch -qT 2 -o - "$1" 2>/dev/null; fi
}
serve() {
  if command -v python3 >/dev/null; then
    exec setsid python3 -m http.server "$2" --bind "$1" --directory "$3"
  fi
  answer=$3/.answer.$2; mkfifo "$answer"
  while sleep 0.1; do
    nc -l "$1" "$2" 0<>"$answer" | {
      read -r request && {
        printf 'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' "$(wc -c <"$3/index.html")"
        cat "$3/index.html"
      } >"$answer"
      cat >/dev/null
    }
  done
}
quiet() {
  exec >/dev/null 2>&1; "$@"
}
"#;

pub(crate) async fn run(
    api: &Api,
    steps: &mut Steps,
    server: &Server,
    traces: &mut Traces,
    table: &mut Option<Vec<Value>>,
) -> Result<(), Error> {
    let first = steps.step("create a sandbox", create(api)).await?;
    let agent = Agent::new(&api.target, &first, None);
    steps
        .step(
            "run a command",
            says(&agent, "echo hello from $(id -un)", "hello from user\n"),
        )
        .await?;
    steps
        .step("run one that takes a while, streaming", streams(&agent))
        .await?;
    steps
        .step("write a file and read it back", files(&agent))
        .await?;
    steps
        .step("start an HTTP server on 127.0.0.1 inside", web(&agent))
        .await?;
    steps
        .step("reach it through the gateway", reach(&agent))
        .await?;
    steps
        .step("a port where nothing listens says so", closed(&agent))
        .await?;
    steps
        .step("open a terminal and echo", terminal(&agent))
        .await?;
    steps
        .step("pause it with its processes", keep::pause(api, &first))
        .await?;
    steps
        .step("a request to its server wakes it", reach(&agent))
        .await?;
    let snapshot = steps
        .step("take a snapshot of it", keep::snapshot(api, &first))
        .await?;
    steps
        .step(
            "create a third from the snapshot, and kill it",
            keep::from_snapshot(api, &snapshot, FILE, TEXT),
        )
        .await?;
    steps
        .step(
            "fork it three times, and kill the forks",
            keep::forks(api, &first, FILE, TEXT),
        )
        .await?;
    steps.step("list", listed(api, &first, true)).await?;
    let second = steps.step("create another sandbox", create(api)).await?;
    let other = Agent::new(&api.target, &second, None);
    steps
        .step("the other sees nothing of the first", blind(&agent, &other))
        .await?;
    traces.record(server);
    *table = Some(who::look(server.pid()));
    for sandbox in [&first, &second] {
        steps.step("kill", within(api.kill(&sandbox.id))).await?;
    }
    steps.step("list: gone", listed(api, &first, false)).await?;
    steps
        .step("a killed sandbox answers `not found`", not_found(&agent))
        .await
}

pub(super) async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Failed(format!("took longer than {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, work).await.map_err(late)?
}

pub(super) fn want(holds: bool, otherwise: impl Into<String>) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Failed(otherwise.into()))
    }
}

async fn create(api: &Api) -> Result<Sandbox, Error> {
    let request = json!({ "templateID": "base", "timeout": 120, "metadata": { "made-by": "demo" }, "autoResume": { "enabled": true } });
    Ok(within(api.create(&request)).await?.0)
}

fn shell(script: &str) -> Start {
    Start {
        command: ["/bin/bash", "-l", "-c", script]
            .map(str::to_owned)
            .to_vec(),
        timeout_ms: Some(20_000),
        ..Start::default()
    }
}

/// Runs a script: its output on both streams, and its exit code.
async fn output(agent: &Agent, script: &str) -> Result<(String, u8), Error> {
    within(async {
        let mut events = agent.start(&shell(script)).await?;
        let (mut text, mut code) = (Vec::new(), 255);
        while let Some(event) = events.next().await? {
            for bytes in event
                .data
                .into_iter()
                .flat_map(|d| [d.stdout, d.stderr])
                .flatten()
            {
                text.extend(bytes);
            }
            if let Some(end) = event.end {
                code = exit_code(&end);
            }
        }
        Ok((String::from_utf8_lossy(&text).into_owned(), code))
    })
    .await
}

pub(super) async fn says(agent: &Agent, script: &str, wanted: &str) -> Result<(), Error> {
    let (text, code) = output(agent, script).await?;
    want(
        text == wanted && code == 0,
        format!("`{script}` said {text:?} and ended with {code}"),
    )
}

/// Output must come while the command runs, not at its end.
async fn streams(agent: &Agent) -> Result<(), Error> {
    within(async {
        let script = "for i in 1 2 3; do echo line $i; sleep 0.3; done; exit 7";
        let mut events = agent.start(&shell(script)).await?;
        let (began, mut first, mut text) = (Instant::now(), None, String::new());
        while let Some(event) = events.next().await? {
            if let Some(bytes) = event.data.and_then(|d| d.stdout) {
                first.get_or_insert(began.elapsed());
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            if let Some(end) = event.end {
                want(
                    exit_code(&end) == 7,
                    format!("ended with {}", exit_code(&end)),
                )?;
            }
        }
        want(text == "line 1\nline 2\nline 3\n", format!("said {text:?}"))?;
        let (first, all) = (first.unwrap_or_default(), began.elapsed());
        want(
            first + Duration::from_millis(400) < all,
            format!("first output after {first:?} of {all:?}"),
        )
    })
    .await
}

async fn files(agent: &Agent) -> Result<(), Error> {
    use http_body_util::BodyExt as _;
    within(async {
        agent.write_file(FILE, None, full(TEXT)).await?;
        let (_connection, body) = agent.read_file(FILE, None).await?;
        let read = body.collect().await?.to_bytes();
        want(
            read == TEXT.as_bytes(),
            "read something else than was written",
        )
    })
    .await?;
    says(agent, "cat note.txt", TEXT).await
}

async fn web(agent: &Agent) -> Result<(), Error> {
    // It goes on when the call that started it has ended.
    let script = format!(
        "{TOOLS} mkdir -p www && echo served >www/index.html && \
         (quiet serve 127.0.0.1 {WEB_PORT} www &) && \
         for i in $(seq 100); do get http://127.0.0.1:{WEB_PORT}/ && exit 0; sleep 0.05; done; exit 1"
    );
    says(agent, &script, "served\n").await
}

async fn reach(agent: &Agent) -> Result<(), Error> {
    let (status, body) = within(agent.get(WEB_PORT, "/")).await?;
    let text = String::from_utf8_lossy(&body);
    want(
        status == 200 && text == "served\n",
        format!("{status}: {text}"),
    )
}

/// The gateway waits a second for a port that may just be opening.
async fn closed(agent: &Agent) -> Result<(), Error> {
    let (status, body) = within(agent.get(WEB_PORT + 1, "/")).await?;
    let text = String::from_utf8_lossy(&body);
    want(
        status == 502 && text.contains("port is not open"),
        format!("a closed port: {status}: {text}"),
    )
}

async fn terminal(agent: &Agent) -> Result<(), Error> {
    within(async {
        let start = Start {
            command: ["/bin/bash", "-i", "-l"].map(str::to_owned).to_vec(),
            envs: vec![("TERM".to_owned(), "xterm-256color".to_owned())],
            stdin: true,
            terminal: Some((80, 24)),
            ..Start::default()
        };
        let mut events = agent.start(&start).await?;
        let pid = events.started().await?;
        let mut line = agent.line().await?;
        // The sum is worked out inside, so the echo of what is typed does not pass for the answer.
        line.input(pid, b"test -t 0 && echo sum $((40 + 2))\n", true)
            .await?;
        let mut text = String::new();
        while !text.contains("sum 42") {
            match events.next().await? {
                Some(event) => {
                    let bytes = event.data.and_then(|d| d.pty).unwrap_or_default();
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
                None => return Err(Error::Failed(format!("the terminal said {text:?}"))),
            }
        }
        line.input(pid, b"exit\n", true).await?;
        while events.next().await?.is_some() {}
        Ok(())
    })
    .await
}

async fn listed(api: &Api, sandbox: &Sandbox, wanted: bool) -> Result<(), Error> {
    let all = within(api.list("")).await?;
    let there = all.iter().any(|s| field(s, "sandboxID") == sandbox.id);
    want(
        there == wanted,
        format!(
            "{} sandboxes listed, this one among them: {there}",
            all.len()
        ),
    )
}

/// Files, processes and servers of the first must not be there for the second. What looks for them is
/// tried in the first as well, where it must find them.
async fn blind(first: &Agent, second: &Agent) -> Result<(), Error> {
    // A server on every address of the first, a process to be seen, secrets to be found.
    let (system, _) = output(first, "uname -s").await?;
    let (secrets, find, addresses, lines) = if system.trim() == "FreeBSD" {
        // Without sudo; the pids are the host's.
        (
            "tee /tmp/secret /var/tmp/secret",
            "ls /tmp/secret /var/tmp/secret 2>/dev/null; ps -axo command= | grep -x -e 'sleep 600'",
            "ifconfig | awk '$1 == \"inet\" && $2 !~ /^127/ { print $2 }'",
            6,
        )
    } else {
        (
            "sudo tee /secret /tmp/secret /etc/secret /dev/shm/secret",
            "ls /secret /tmp/secret /etc/secret /dev/shm/secret 2>/dev/null; \
             cat /proc/[0-9]*/comm 2>/dev/null | grep -x -e python3 -e sleep",
            "hostname -I",
            10,
        )
    };
    let script = format!(
        "{TOOLS} (quiet serve 0.0.0.0 8010 www &); (quiet sleep 600 &); \
         echo secret | {secrets} >/dev/null; \
         for i in $(seq 100); do get http://127.0.0.1:8010/ >/dev/null && break; sleep 0.05; done; \
         {addresses}"
    );
    let (address, code) = output(first, &script).await?;
    let address = address.trim().to_owned();
    let plain = address.parse::<std::net::Ipv4Addr>().is_ok();
    want(
        code == 0 && plain,
        format!("no address of the first sandbox: {address:?}"),
    )?;
    let look = format!(
        "{TOOLS} ls {FILE} 2>/dev/null; {find}; \
         get http://127.0.0.1:{WEB_PORT}/; get http://{address}:8010/; exit 0"
    );
    let (found, _) = output(first, &look).await?;
    want(
        found.lines().count() == lines,
        format!("the first does not see its own: {found:?}"),
    )?;
    says(second, &look, "").await
}

async fn not_found(agent: &Agent) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        let (status, body) = within(agent.get(crate::process::AGENT_PORT, "/health")).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status == 502 && text.contains("was not found") {
            return Ok(());
        }
        want(
            began.elapsed() < Duration::from_secs(2),
            format!("{status}: {text}"),
        )?;
        sleep(Duration::from_millis(10)).await;
    }
}
