//! Starts the real agent on this host, without a sandbox around it, and speaks to it as the gateway does.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;
use warder_ipc::Channel;
use warder_wire::link::{Ask, Reply, Role};

pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// A running agent; killed when dropped.
pub(crate) struct Envd {
    child: Child,
    address: SocketAddrUnix,
    pub(crate) dir: tempfile::TempDir,
}

impl Envd {
    /// Starts it with the listener as descriptor 3. `user` need not exist here, so root is the default.
    pub(crate) fn start() -> Self {
        Self::bare().set_up()
    }

    /// The same in a sandbox: as pid 1 of a pid namespace, or in a jail (jail(8)) of the whole file system.
    pub(crate) fn as_init() -> Self {
        if has_proc() {
            let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
            return Self::with(&unshare).set_up();
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("name=envdtest{}x{number}", std::process::id());
        let inherit = ["host=inherit", "ip4=inherit", "ip6=inherit"];
        let jail = |action: &[&str]| {
            let status = Command::new("jail").args(action).status();
            assert!(status.is_ok_and(|status| status.success()), "{action:?}");
        };
        jail(&[&["-c", &name, "path=/", "persist"][..], &inherit].concat());
        let envd = Self::with(&["jexec", &name["name=".len()..]]).set_up();
        // From now on it goes with its last process.
        jail(&["-m", &name, "nopersist"]);
        envd
    }

    /// Its pid outside, when it was started by [`Self::as_init`].
    pub(crate) fn init_pid(&self) -> u32 {
        if has_proc() {
            children(self.pid())[0]
        } else {
            self.pid()
        }
    }

    fn set_up(self) -> Self {
        let set = self.control("POST", "/init", &[], br#"{"defaultUser":"root"}"#);
        assert_eq!(set.status, 204, "{}", set.text());
        self
    }

    /// With room for a few streams only.
    pub(crate) fn with_few_descriptors() -> Self {
        Self::with(&["sh", "-c", "'ulimit -n 24 && exec \"$0\"'"]).set_up()
    }

    /// Without `/init`.
    pub(crate) fn bare() -> Self {
        Self::with(&[])
    }

    fn with(wrapper: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = SocketAddrUnix::new(dir.path().join("link.sock")).expect("a short path");
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        rustix::net::bind(&listener, &address).expect("bound");
        rustix::net::listen(&listener, 16).expect("listening");
        let child = with_third(Some(listener), wrapper)
            .spawn()
            .expect("the agent starts");
        Self {
            child,
            address,
            dir,
        }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path in this test's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path_text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    /// One more link, as after a restart of the gateway.
    pub(crate) fn link(&self) -> Channel {
        self.try_link().expect("connected")
    }

    /// One more link, unless too many wait to be accepted (FreeBSD refuses then, Linux waits).
    pub(crate) fn try_link(&self) -> rustix::io::Result<Channel> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        rustix::net::connect(&socket, &self.address)?;
        Ok(Channel::from_fd(socket).expect("a channel"))
    }

    /// A stream on which the agent serves HTTP.
    pub(crate) fn stream(&self, role: Role) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(WAIT)).expect("a timeout");
        let mut link = self.link();
        link.send_timeout(&Ask::Serve { role }, vec![OwnedFd::from(theirs)], WAIT)
            .expect("sent");
        ours
    }

    pub(crate) fn dial(&self, port: u16) -> (Reply, Vec<OwnedFd>) {
        let mut link = self.link();
        let ask = Ask::Connect { ticket: 7, port };
        link.send_timeout(&ask, vec![], WAIT).expect("sent");
        link.recv_timeout(WAIT).expect("an answer")
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        exchange(&mut self.stream(Role::Client), method, path, headers, body)
    }

    pub(crate) fn control(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        exchange(&mut self.stream(Role::Control), method, path, headers, body)
    }

    /// A unary call.
    pub(crate) fn unary(&self, method: &str, message: &Value) -> Response {
        self.unary_as("root", method, message)
    }

    pub(crate) fn unary_as(&self, user: &str, method: &str, message: &Value) -> Response {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", &basic(user)),
        ];
        self.request(
            "POST",
            &format!("/{method}"),
            &headers,
            message.to_string().as_bytes(),
        )
    }

    /// A call that streams answers; further headers may be given.
    pub(crate) fn events(&self, method: &str, message: &Value, more: &[(&str, &str)]) -> Events {
        let mut stream = self.stream(Role::Client);
        let authorization = basic("root");
        let mut headers = vec![("content-type", "application/connect+json")];
        if !more.iter().any(|(name, _)| *name == "authorization") {
            headers.push(("authorization", &authorization));
        }
        headers.extend(more);
        let body = envelope(message);
        send(&mut stream, "POST", &format!("/{method}"), &headers, &body);
        Events::new(stream)
    }

    /// Runs a shell command and returns everything it did.
    pub(crate) fn run(&self, script: &str) -> Ran {
        self.events("process.Process/Start", &shell(script), &[])
            .ran()
    }
}

impl Drop for Envd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent with this as descriptor 3, or nothing there. By standard input, as shells know one digit only.
pub(crate) fn with_third(fd: Option<OwnedFd>, wrapper: &[&str]) -> Command {
    let third = if fd.is_some() { "0" } else { "-" };
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "exec {} \"$0\" 3<&{third} </dev/null",
            wrapper.join(" ")
        ))
        .arg(agent())
        .stdin(fd.map_or_else(Stdio::null, Stdio::from));
    command
}

/// The program under test: as built, or where its test programs were copied to with it.
fn agent() -> PathBuf {
    std::env::var_os("WARDER_TEST_ENVD")
        .map_or_else(|| env!("CARGO_BIN_EXE_envd").into(), PathBuf::from)
}

/// Whether there is Linux's /proc.
pub(crate) fn has_proc() -> bool {
    Path::new("/proc/self/status").exists()
}

/// What a program prints, in lines of words.
fn lines(program: &str, arguments: &[&str]) -> Vec<Vec<String>> {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(words)
        .collect()
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    if has_proc() {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        return text
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
    }
    lines("pgrep", &["-P", &pid.to_string()])
        .iter()
        .filter_map(|words| words.first()?.parse().ok())
        .collect()
}

/// The descriptors a process has open, each with its path if it has one.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    if has_proc() {
        return std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("fds")
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
    }
    // procstat(1): the third word is a number for what is open, else what else is in use.
    lines("procstat", &["-f", &pid.to_string()])
        .into_iter()
        .filter(|words| words.get(2).is_some_and(|fd| fd.parse::<u32>().is_ok()))
        .map(|words| words.last().cloned().unwrap_or_default())
        .collect()
}

/// Resident memory in KiB.
pub(crate) fn rss(pid: u32) -> u64 {
    let text = lines("ps", &["-o", "rss=", "-p", &pid.to_string()]);
    let number = text.first().and_then(|words| words.first()?.parse().ok());
    number.expect("a number")
}

pub(crate) fn shell(script: &str) -> Value {
    serde_json::json!({"process": {"cmd": "/bin/bash", "args": ["-c", script], "cwd": "/"}, "stdin": false})
}

pub(crate) fn basic(user: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:"));
    format!("Basic {encoded}")
}

pub(crate) fn envelope(message: &Value) -> Vec<u8> {
    warder_connect::envelope::message(message).to_vec()
}

pub(crate) fn send(
    stream: &mut UnixStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    // A server may answer and close before it has read what it does not want.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

pub(crate) fn exchange(
    stream: &mut UnixStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    send(stream, method, path, headers, body);
    let mut reader = BufReader::new(stream);
    let mut response = Response::head(&mut reader);
    response.read_body(&mut reader);
    response
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended before its announced end.
    pub(crate) cut: bool,
}

impl Response {
    fn head(reader: &mut impl BufRead) -> Self {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {line:?}")),
            headers,
            body: Vec::new(),
            cut: false,
        }
    }

    fn read_body(&mut self, reader: &mut impl BufRead) {
        if self.status == 204 || self.status == 304 {
            return;
        }
        if let Some(length) = self.header("content-length") {
            let length: u64 = length.parse().expect("a number");
            reader
                .take(length)
                .read_to_end(&mut self.body)
                .expect("body");
            self.cut = (self.body.len() as u64) < length;
        } else {
            let mut chunks = Chunks {
                reader,
                left: 0,
                ended: false,
                plain: false,
            };
            self.cut = chunks.read_to_end(&mut self.body).is_err();
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of a Connect error.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").to_owned()
    }
}

/// Chunked transfer encoding, decoded.
struct Chunks<R> {
    reader: R,
    left: u64,
    ended: bool,
    /// There are no chunks: `left` is all.
    plain: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            self.left = size;
            if size == 0 {
                self.ended = true;
                self.reader.read_line(&mut String::new())?;
                return Ok(0);
            }
        }
        let n = (&mut self.reader).take(self.left).read(buffer)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        if self.left == 0 && self.plain {
            self.ended = true;
        } else if self.left == 0 {
            self.reader.read_line(&mut String::new())?;
        }
        Ok(n)
    }
}

/// A stream of envelopes.
pub(crate) struct Events {
    body: Chunks<BufReader<UnixStream>>,
    pub(crate) status: u16,
}

/// What a command did.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) pid: u64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) pty: String,
    pub(crate) end: Value,
    pub(crate) error: Value,
    pub(crate) keepalives: usize,
}

impl Events {
    fn new(stream: UnixStream) -> Self {
        let mut reader = BufReader::new(stream);
        let head = Response::head(&mut reader);
        let mut body = Chunks {
            reader,
            left: 0,
            ended: false,
            plain: false,
        };
        if let Some(length) = head.header("content-length") {
            // A stream that was over at once.
            body.left = length.parse().expect("a number");
            body.plain = true;
        }
        Self {
            body,
            status: head.status,
        }
    }

    /// Flags and message of the next envelope; `None` at the end of the body.
    pub(crate) fn next_envelope(&mut self) -> Option<(u8, Value)> {
        let mut header = [0; 5];
        self.body.read_exact(&mut header).ok()?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut message = vec![0; usize::try_from(length).expect("small")];
        self.body.read_exact(&mut message).expect("a whole message");
        Some((header[0], serde_json::from_slice(&message).expect("JSON")))
    }

    /// The next message; panics when the stream ends.
    pub(crate) fn message(&mut self) -> Value {
        let (flags, message) = self.next_envelope().expect("a message");
        assert_eq!(flags, 0, "{message}");
        message
    }

    /// The first message of a process: its pid.
    pub(crate) fn pid(&mut self) -> u64 {
        let message = self.message();
        message["event"]["start"]["pid"]
            .as_u64()
            .unwrap_or_else(|| panic!("{message}"))
    }

    /// Reads to the end of the stream.
    pub(crate) fn ran(mut self) -> Ran {
        let mut ran = Ran::default();
        while let Some((flags, message)) = self.next_envelope() {
            ran.take(flags, &message);
        }
        ran
    }

    pub(crate) fn reader(&self) -> std::os::fd::BorrowedFd<'_> {
        self.body.reader.get_ref().as_fd()
    }
}

impl Ran {
    pub(crate) fn take(&mut self, flags: u8, message: &Value) {
        use base64::Engine as _;
        if flags == warder_connect::END_STREAM {
            self.error = message["error"].clone();
            return;
        }
        let event = &message["event"];
        let text = |value: &Value| {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(value.as_str().unwrap_or(""))
                .expect("base64");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        self.stdout.push_str(&text(&event["data"]["stdout"]));
        self.stderr.push_str(&text(&event["data"]["stderr"]));
        self.pty.push_str(&text(&event["data"]["pty"]));
        if let Some(pid) = event["start"]["pid"].as_u64() {
            self.pid = pid;
        }
        if event["end"].is_object() {
            self.end = event["end"].clone();
        }
        if event["keepalive"].is_object() {
            self.keepalives += 1;
        }
    }
}
