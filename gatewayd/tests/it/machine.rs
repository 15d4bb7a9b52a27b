//! The real agent and the real gateway with a virtual machine's console between them: one stream of bytes, which
//! outlives either.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use super::fake::Fake;
use super::http::SOON;

/// A machine: its console, and the agent that a system inside would start. It ends when dropped.
///
/// The console is as bhyve(8)'s is, in the worst way: a terminal inside, one connection at a time outside, and what
/// nobody is connected for is lost.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    line: Arc<Line>,
    agent: Option<Child>,
    /// How many there were.
    agents: usize,
}

struct Line {
    /// The machine's side.
    inside: Mutex<Arc<File>>,
    /// The gateway's, while one is connected.
    outside: Mutex<Option<UnixStream>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Starts the agent that scripts/build made.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("tmp");
        let line = Arc::new(Line {
            inside: Mutex::new(terminal(&dir)),
            outside: Mutex::default(),
        });
        let mut machine = Self {
            dir,
            line,
            agent: None,
            agents: 0,
        };
        machine.pass_out();
        machine.start_agent();
        machine
    }

    fn device(&self) -> PathBuf {
        self.dir.path().join("console")
    }

    pub(crate) fn start_agent(&mut self) {
        let stage = std::env::var_os("WARDER_STAGE").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/stage")),
            PathBuf::from,
        );
        let program = stage.join("libexec/envd");
        assert!(
            program.exists(),
            "no {}: run scripts/build",
            program.display()
        );
        // It ends with this process, however that does: it would go on with whichever terminal has this one's number next.
        let child = Command::new("/bin/sh")
            .args([
                "-c",
                "\"$0\" --console \"$1\" </dev/null & read -r _; kill -9 $!; wait",
            ])
            .arg(program)
            .arg(self.device())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.agent = Some(child.expect("starts"));
        self.agents += 1;
    }

    /// kill -9.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.stdin.take());
            let _ = agent.wait();
        }
    }

    /// The console hangs up, and another is in its place.
    fn hang_up(&self) {
        *lock(&self.line.inside) = terminal(&self.dir);
        self.pass_out();
    }

    /// privd connects.
    pub(crate) fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        let mut outside = lock(&self.line.outside);
        if outside.is_some() {
            // bhyve(8) closes it at once: `ours` goes.
            return theirs;
        }
        let mut from = ours.try_clone().expect("room");
        *outside = Some(ours);
        drop(outside);
        let line = Arc::clone(&self.line);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                line.say_inside(&bytes[..read]);
            }
            *lock(&line.outside) = None;
        });
        theirs
    }

    /// From the machine to whoever is connected, until the console hangs up.
    fn pass_out(&self) {
        let line = Arc::downgrade(&self.line);
        let inside = Arc::downgrade(&lock(&self.line.inside));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A machine that is no more has no console.
            while let (Some(line), Some(inside)) = (line.upgrade(), inside.upgrade()) {
                if !readable(&inside) {
                    continue;
                }
                let Ok(read @ 1..) = (&*inside).read(&mut bytes) else {
                    // No agent has it open.
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                line.say_outside(&bytes[..read]);
            }
        });
    }
}

impl Line {
    fn say_inside(&self, bytes: &[u8]) {
        let inside = Arc::clone(&lock(&self.inside));
        let _ = (&*inside).write_all(bytes);
    }

    fn say_outside(&self, bytes: &[u8]) {
        let outside = lock(&self.outside).as_ref().map(UnixStream::try_clone);
        if let Some(Ok(mut outside)) = outside {
            let _ = outside.write_all(bytes);
        }
    }
}

/// Whether something is to be read, after a moment.
fn readable(file: &File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    poll(&mut fds, Some(&moment)).is_ok_and(|ready| ready > 0)
}

/// A terminal whose other end is the machine's console from now on.
fn terminal(dir: &tempfile::TempDir) -> Arc<File> {
    let ours =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let name = name.into_string().expect("plain");
    let device = dir.path().join("console");
    let _ = std::fs::remove_file(&device);
    std::os::unix::fs::symlink(&name, &device).expect("linked");
    // It is there whether an agent is or not.
    let held = rustix::fs::open(
        &name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    std::mem::forget(held.expect("opens"));
    Arc::new(File::from(ours))
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill_agent();
        if let Some(outside) = lock(&self.line.outside).take() {
            let _ = outside.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn machine() -> (Fake, Value) {
    let fake = Fake::start();
    fake.world().machines = true;
    let made = fake.create(json!({}));
    (fake, made)
}

/// Does something with the only machine.
fn with<T>(fake: &Fake, act: impl FnOnce(&mut Machine) -> T) -> T {
    let mut world = fake.world();
    let mut all = world.consoles.values_mut();
    act(all.next().expect("one was made"))
}

fn health(fake: &Fake, made: &Value) -> u16 {
    fake.inside(made, 49983, "GET", "/health", b"").status
}

/// Until the agent is reached again: what was under way when the connection broke fails.
fn reached(fake: &Fake, made: &Value) {
    let begun = Instant::now();
    while health(fake, made) != 204 {
        assert!(begun.elapsed() < SOON * 2, "it is not reached any more");
        thread::sleep(Duration::from_millis(20));
    }
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// The next connection; nobody waits for ever for one that does not come.
fn accepted(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("own");
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("own");
                stream.set_read_timeout(Some(SOON)).expect("set");
                return stream;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(begun.elapsed() < SOON, "nobody connects");
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Answers one request with so many bytes; what was asked.
fn serve(listener: &TcpListener, length: usize) -> String {
    let mut stream = accepted(listener);
    let mut asked = [0; 4096];
    let read = stream.read(&mut asked).expect("a request");
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("taken");
    stream.write_all(&vec![b'x'; length]).expect("taken");
    String::from_utf8_lossy(&asked[..read]).into_owned()
}

/// Asks for something that is never answered: the connection at its server, and who waits for it until it breaks.
fn under_way(fake: &Fake, made: &Value) -> (TcpStream, thread::JoinHandle<bool>) {
    let (listener, port) = listener();
    let mut client = fake.client();
    let id = made["sandboxID"].as_str().expect("id").to_owned();
    let asked = thread::spawn(move || {
        let port = port.to_string();
        let headers = [
            ("E2b-Sandbox-Id", &*id),
            ("E2b-Sandbox-Port", &*port),
            ("Connection", "close"),
        ];
        client.send("GET", "/never", &headers, b"");
        client.cut()
    });
    (accepted(&listener), asked)
}

/// Whatever came before, the end does.
fn ends(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                assert!(
                    error.kind() == std::io::ErrorKind::ConnectionReset,
                    "{error}"
                );
                return;
            }
        }
    }
}

#[test]
fn a_machine_is_a_sandbox_like_any_other() {
    let (fake, made) = machine();
    assert_eq!(health(&fake, &made), 204);
    let metrics = fake.inside(&made, 49983, "GET", "/metrics", b"").json();
    assert!(
        metrics["mem_total"].as_u64().is_some_and(|n| n > 0),
        "{metrics}"
    );
    // A port beside the agent, and one that nobody listens on.
    let (listener, port) = listener();
    let server = thread::spawn(move || serve(&listener, 3_000_000));
    let answer = fake.inside(&made, port, "GET", "/large", b"");
    assert_eq!((answer.status, answer.text().len()), (200, 3_000_000));
    let asked = server.join().expect("no panic");
    assert!(asked.starts_with("GET /large HTTP/1.1\r\n"), "{asked}");
    assert_eq!(fake.inside(&made, port, "GET", "/", b"").status, 502);
}

#[test]
fn a_slow_reader_holds_up_no_other() {
    let (fake, made) = machine();
    let (slow, slow_port) = listener();
    let (busy, busy_port) = listener();
    thread::scope(|scope| {
        let (fake, made) = (&fake, &made);
        let stuck = scope.spawn(move || {
            let body = vec![b'x'; 8 << 20];
            let id = made["sandboxID"].as_str().expect("id");
            let head = format!(
                "POST / HTTP/1.1\r\nHost: localhost:3000\r\nE2b-Sandbox-Id: {id}\r\n\
                 E2b-Sandbox-Port: {slow_port}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut client = fake.client();
            client.raw(head.as_bytes());
            client.raw_until_cut(&body);
            client.status_until_cut()
        });
        // It is connected to, and then reads nothing.
        let connection = accepted(&slow);
        let bulk = scope.spawn(move || serve(&busy, 8_000_000));
        let loaded = scope.spawn(move || fake.inside(made, busy_port, "GET", "/", b""));
        for _ in 0..20 {
            assert_eq!(health(fake, made), 204);
        }
        assert_eq!(loaded.join().expect("no panic").text().len(), 8_000_000);
        bulk.join().expect("no panic");
        // Without an answer.
        drop(connection);
        // Its answer may be lost with what nobody reads any more of the request.
        let answer = stuck.join().expect("no panic");
        assert!(matches!(answer, Some(502) | None), "{answer:?}");
    });
}

#[test]
fn a_thousand_streams_may_follow_each_other() {
    let (fake, made) = machine();
    let (listener, port) = listener();
    let server = thread::spawn(move || {
        for _ in 0..1000 {
            serve(&listener, 10);
        }
    });
    for n in 0..1000 {
        let answer = fake.inside(&made, port, "GET", "/", b"");
        assert_eq!((answer.status, answer.text().len()), (200, 10), "{n}");
    }
    server.join().expect("no panic");
}

#[test]
fn a_machine_outlives_the_gateway() {
    let (mut fake, made) = machine();
    for _ in 0..3 {
        let (stream, asked) = under_way(&fake, &made);
        fake.kill();
        assert!(asked.join().expect("no panic"), "it still waits");
        fake.spawn();
        reached(&fake, &made);
        // The next gateway's first word ends what the last one had begun.
        ends(stream);
    }
    assert_eq!(with(&fake, |machine| machine.agents), 1);
}

#[test]
fn an_agent_that_begins_anew_is_reached_again() {
    let (fake, made) = machine();
    for n in 1..=3 {
        let (stream, asked) = under_way(&fake, &made);
        with(&fake, |machine| {
            machine.kill_agent();
            machine.start_agent();
        });
        // Its request fails, and not by waiting for ever.
        assert!(asked.join().expect("no panic"), "it still waits");
        ends(stream);
        reached(&fake, &made);
        assert_eq!(with(&fake, |machine| machine.agents), n + 1);
    }
}

#[test]
fn rubbish_on_the_way_costs_no_more_than_what_was_under_way() {
    let (fake, made) = machine();
    let frame = warder_mux::line::encode(7, &warder_mux::frame::Frame::End);
    let pieces: [&[u8]; 5] = [b"\0login: \0", &[0xff; 5000], &frame, b"\0", &frame[..5]];
    for rubbish in pieces {
        for outwards in [true, false] {
            let line = with(&fake, |machine| Arc::clone(&machine.line));
            if outwards {
                line.say_outside(rubbish);
            } else {
                line.say_inside(rubbish);
            }
            reached(&fake, &made);
        }
    }
    assert_eq!(with(&fake, |machine| machine.agents), 1);
}

#[test]
fn a_console_that_hangs_up_is_opened_again() {
    let (fake, made) = machine();
    for _ in 0..2 {
        let (stream, asked) = under_way(&fake, &made);
        with(&fake, |machine| machine.hang_up());
        assert!(asked.join().expect("no panic"), "it still waits");
        ends(stream);
        reached(&fake, &made);
    }
    assert_eq!(with(&fake, |machine| machine.agents), 1);
}
