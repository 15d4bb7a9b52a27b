//! HTTP through the gateway to a port of a sandbox; the same server without a proxy, and behind nginx where there is one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::burst::at_once;
use crate::http::Connection;
use crate::stats::Samples;
use crate::warder::{Sandbox, Server};

const CLIENTS: usize = 8;
const SPELL: Duration = Duration::from_secs(2);
/// By turns: other work on the machine comes and goes.
const ROUNDS: usize = 3;

/// Started inside a sandbox: this program as the server on port 8000. Prints `hello` when it answers.
const INSIDE: &str = "chmod 755 /tmp/upstream && (setsid /tmp/upstream upstream 8000 >/dev/null 2>&1 </dev/null &); \
    for i in $(seq 500); do curl -sf http://127.0.0.1:8000/ && exit 0; sleep 0.02; done; exit 1";

/// Puts the server into a sandbox, on port 8000.
pub(crate) fn serve_inside(server: &Server, sandbox: &Sandbox) -> Outcome {
    let mut edge = server.connect_edge()?;
    sandbox.upload(&mut edge, "/tmp/upstream", &fs::read("/proc/self/exe")?)?;
    sandbox.run(&mut edge, ("/bin/bash", &["-c", INSIDE]))?;
    Ok(())
}

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let mut api = server.connect()?;
    let sandbox = server.create(&mut api)?;
    serve_inside(server, &sandbox)?;
    let (mut direct, port) = upstream()?;
    let result = Nginx::start(port).and_then(|nginx| {
        if nginx.is_none() {
            samples.note("nginx is not installed here: no row for it".to_owned());
        }
        let result = rounds(server, &sandbox, port, nginx.as_ref(), samples);
        nginx.map_or(Ok(()), Nginx::stop).and(result)
    });
    direct.kill()?;
    direct.wait()?;
    result?;
    compare(samples);
    server.kill(&mut api, &sandbox)?;
    Ok(())
}

fn rounds(
    server: &Server,
    sandbox: &Sandbox,
    upstream: u16,
    nginx: Option<&Nginx>,
    samples: &mut Samples,
) -> Outcome {
    let headers = sandbox.headers("8000");
    let direct = SocketAddr::from(([127, 0, 0, 1], upstream));
    for _ in 0..ROUNDS {
        load(samples, "warder proxied", &headers[..2], || {
            server.connect_edge()
        })?;
        if let Some(nginx) = nginx {
            load(samples, "nginx", &[], || Connection::open(nginx.address))?;
        }
        load(samples, "direct", &[], || Connection::open(direct))?;
    }
    Ok(())
}

/// Against nginx, as the budgets have it.
fn compare(samples: &mut Samples) {
    let both = |what: &str| {
        let ours = samples.figures(&format!("warder proxied {what}"))?;
        Some((ours, samples.figures(&format!("nginx {what}"))?))
    };
    let (rate, request) = (both("rate"), both("request"));
    if let Some((ours, nginx)) = rate {
        samples.value("nginx rate against ours", nginx.p50 / ours.p50);
    }
    if let Some((ours, nginx)) = request {
        samples.value("added to nginx p99", ours.p99 - nginx.p99);
    }
}

/// Clients that ask as fast as they are answered, for a while.
fn load(
    samples: &mut Samples,
    series: &str,
    headers: &[(&str, &str)],
    connect: impl Fn() -> std::io::Result<Connection> + Sync,
) -> Outcome {
    let results = at_once(CLIENTS, |gate| {
        let mut connection = connect().map_err(|e| e.to_string())?;
        gate.wait();
        let begin = Instant::now();
        let mut times = Vec::new();
        while begin.elapsed() < SPELL {
            let start = Instant::now();
            let head = connection
                .send("GET", "/", headers, b"")
                .map_err(|e| e.to_string())?;
            let body = connection.body(head).map_err(|e| e.to_string())?;
            if (head.status, body.as_slice()) != (200, b"hello\n".as_slice()) {
                return Err(format!(
                    "status {}: {}",
                    head.status,
                    String::from_utf8_lossy(&body)
                ));
            }
            times.push(start.elapsed());
        }
        Ok(times)
    });
    let mut count = 0.0;
    for times in results {
        let times = times?;
        count += times.len() as f64;
        samples.times(&format!("{series} request"), times);
    }
    samples.value(&format!("{series} rate"), count / SPELL.as_secs_f64());
    Ok(())
}

/// This program as a server on the host, and its port.
fn upstream() -> Result<(Child, u16), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .arg("upstream")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut line)?;
    Ok((child, line.trim().parse()?))
}

/// A running nginx that passes everything on.
struct Nginx {
    master: Child,
    address: SocketAddr,
    dir: PathBuf,
}

impl Nginx {
    /// None where it is not installed.
    fn start(upstream: u16) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let known = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from);
        let Some(program) = known.into_iter().find(|path| path.exists()) else {
            return Ok(None);
        };
        let dir = std::env::temp_dir().join(format!("warder-bench-nginx-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "daemon off; worker_processes auto; pid nginx.pid; error_log error.log;
            events {{ worker_connections 1024; }}
            http {{ access_log off; keepalive_requests 1000000;
                upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
                server {{ listen 127.0.0.1:{port};
                    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}"
        );
        fs::write(dir.join("nginx.conf"), config)?;
        let master = Command::new(program)
            .arg("-p")
            .arg(&dir)
            .args(["-c", "nginx.conf"])
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + Duration::from_secs(10);
        while Connection::open(address).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Self {
            master,
            address,
            dir,
        }))
    }

    fn stop(mut self) -> Outcome {
        // SIGTERM, so that the master takes its workers along.
        let pid = self.master.id().to_string();
        Command::new("kill").arg(pid).status()?;
        self.master.wait()?;
        fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}
