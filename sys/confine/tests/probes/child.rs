//! The confined process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use warder_confine::{ConfineError, Early, Profile, enter_early};

use crate::asynchronous::Server;
use crate::attempts::attempt;

/// Not used by anything else on a test machine, hopefully.
pub(crate) const IDS: (u32, u32) = (64_321, 64_322);
/// What a probe ends with when the call went through.
pub(crate) const WENT_THROUGH: i32 = 200;

/// Runs one probe and ends the process. The directory is the current one.
pub(crate) fn run(profile: &str, stage: &str, name: &str) -> ! {
    let directory = directory(stage);
    if let Some(code) = refused(name, directory.as_fd()) {
        std::process::exit(code);
    }
    let stray = File::open("/dev/null").expect("there is one");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let keep = [directory.as_fd(), listener.as_fd(), client.as_fd()];
    let (gateway, plugin) = (profile == "gateway", profile == "plugin");
    let profile = match profile {
        "gateway" => Profile::gateway().state_dir(directory.as_fd()),
        "egress" => Profile::egress(),
        "plugin" => Profile::plugin_host(directory.as_fd()),
        other => panic!("no profile {other}"),
    };
    let early = enter_early(&profile, IDS, &keep).unwrap_or_else(|error| {
        panic!("{error}: {:?}", std::error::Error::source(&error));
    });
    let gone = attempt_fd(stray.as_raw_fd());
    std::mem::forget(stray);
    if gone != Err(libc::EBADF) {
        panic!("a descriptor outside the list is open");
    }
    let state = gateway.then(|| state_file(directory.as_fd()));
    let server = (name == "works-async").then(|| Server::new(directory.as_fd()));
    let (ask, answer) = elsewhere(directory.as_raw_fd());
    match stage {
        "early" | "plain" => {}
        "loading" => early.before_load().expect("the first filter"),
        _ => lock(early, plugin),
    }
    if stage == "thread" {
        ask.send(name.to_owned()).expect("the thread waits");
        finish(answer.recv().expect("it answers"));
    }
    match name {
        "works" => works(&listener, client, state),
        "works-async" => server.expect("made above").serve(listener, &client),
        "works-loading" => works_loading(directory.as_fd()),
        "abort" => std::process::abort(),
        "wait" => {
            println!("ready");
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(0);
        }
        "write-plain-file" => {
            let error = File::from(client_of_stdout())
                .write_all(b"x")
                .expect_err("no size");
            std::process::exit(error.raw_os_error().unwrap_or(0));
        }
        _ => finish(attempt(name, directory.as_raw_fd())),
    }
    std::process::exit(WENT_THROUGH);
}

/// As privd hands it over, a detached mount of its own; or a plain directory.
fn directory(stage: &str) -> OwnedFd {
    use rustix::mount::{OpenTreeFlags, open_tree};
    if stage == "plain" {
        return File::open(".").expect("the parent chose it").into();
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, ".", flags).expect("a mount of its own")
}

fn lock(early: Early, plugin: bool) {
    if plugin {
        early.before_load().expect("the first filter");
    }
    let words = early.lock().expect("the last filter");
    assert!(words.starts_with("uid 64321, no capabilities"), "{words}");
}

fn finish(result: Result<usize, i32>) -> ! {
    std::process::exit(result.map_or_else(|errno| errno, |_| WENT_THROUGH))
}

/// Probes of what `enter_early` itself must not accept.
fn refused(name: &str, directory: BorrowedFd<'_>) -> Option<i32> {
    let profile = Profile::gateway();
    let result = match name {
        "as-root" => enter_early(&profile, (0, 5), &[directory]),
        "root-group" => enter_early(&profile, (5, 0), &[directory]),
        "two-threads" => {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
            enter_early(&profile, IDS, &[directory])
        }
        "missing-descriptor" => {
            // SAFETY: only its number is used, and refused.
            let missing = unsafe { BorrowedFd::borrow_raw(777) };
            enter_early(&profile, IDS, &[directory, missing])
        }
        _ => return None,
    };
    Some(match result {
        Err(ConfineError::Refused(_)) => 201,
        Err(ConfineError::MissingDescriptor(777)) => 202,
        Ok(_) => WENT_THROUGH,
        Err(_) => 203,
    })
}

fn attempt_fd(fd: i32) -> Result<usize, i32> {
    crate::attempts::call(
        libc::SYS_fcntl,
        [fd.cast_unsigned() as usize, 1, 0, 0, 0, 0],
    )
}

fn state_file(directory: BorrowedFd<'_>) -> File {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    File::from(openat(directory, "registry", flags, Mode::RUSR | Mode::WUSR).expect("state"))
}

/// A thread from before the filter, for probes that a filter of one thread would miss.
fn elsewhere(
    directory: i32,
) -> (
    std::sync::mpsc::Sender<String>,
    std::sync::mpsc::Receiver<Result<usize, i32>>,
) {
    let (ask, asked) = std::sync::mpsc::channel::<String>();
    let (reply, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if let Ok(name) = asked.recv() {
            let _ = reply.send(attempt(&name, directory));
        }
    });
    (ask, answer)
}

fn client_of_stdout() -> OwnedFd {
    std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .expect("fcntl is allowed")
}

/// What each daemon needs while it serves.
fn works(listener: &TcpListener, mut client: TcpStream, state: Option<File>) {
    let (mut near, mut far) = UnixStream::pair().expect("socketpair");
    near.write_all(b"x").expect("send");
    far.read_exact(&mut [0]).expect("receive");
    near.set_nonblocking(true).expect("FIONBIO");
    let _pipe = std::io::pipe().expect("pipe2");
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let waited = receive.recv_timeout(Duration::from_millis(5));
    assert!(waited.is_err(), "nobody sends");
    drop(send);
    std::thread::sleep(Duration::from_millis(1));
    drop(vec![1_u8; 8 << 20]);
    let again = rustix::net::sockopt::socket_domain(&near).expect("getsockopt");
    assert_eq!(again, rustix::net::AddressFamily::UNIX);
    let _: OwnedFd = near.as_fd().try_clone_to_owned().expect("F_DUPFD_CLOEXEC");
    assert!(std::thread::available_parallelism().is_ok());
    if let Some(mut file) = state {
        let (mut server, _) = listener.accept().expect("accept4");
        server.set_nodelay(true).expect("TCP_NODELAY");
        server.write_all(b"hello").expect("send");
        let mut heard = [0; 5];
        client.read_exact(&mut heard).expect("receive");
        client.shutdown(std::net::Shutdown::Both).expect("shutdown");
        file.write_all(b"text").expect("write");
        file.sync_all().expect("fsync");
        file.sync_data().expect("fdatasync");
        file.set_len(4096).expect("ftruncate");
        file.try_lock().expect("flock");
        assert_eq!(file.metadata().expect("fstat").len(), 4096);
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", 9).expect("pwrite");
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut [0], 9).expect("pread");
        file.unlock().expect("flock");
    }
}

/// What loading a plugin needs: its directory and its libraries, and threads.
fn works_loading(directory: BorrowedFd<'_>) {
    let _ = directory;
    let inside = std::fs::read("/plugin/inside").expect("the plugin");
    assert_eq!(inside, b"inside");
    std::thread::spawn(|| ()).join().expect("a thread");
    // The root holds the plugin and libraries, nothing else: no proc, no dev, no etc.
    for absent in ["/proc", "/dev", "/etc", "/usr/bin", "/tmp", "/sys"] {
        assert!(std::fs::metadata(absent).is_err(), "{absent}");
    }
    let libraries = [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/libc.so.6",
        "/lib/aarch64-linux-gnu/libc.so.6",
    ];
    assert!(
        libraries.iter().any(|path| std::fs::read(path).is_ok()),
        "libc"
    );
}
