//! The confined process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use capsicum::{CapRights, FileRights, Right};
use warder_confine::{ConfineError, Early, Library, Profile, enter_early, limit_received};

use super::attempts::{Scene, attempt, call};
use crate::asynchronous::Server;

/// Not used by anything else on a test machine, hopefully.
pub(crate) const IDS: (u32, u32) = (64_321, 64_322);
/// What a probe ends with when the call went through.
pub(crate) const WENT_THROUGH: i32 = 200;

/// Runs one probe and ends the process. The directory is the current one.
pub(crate) fn run(profile: &str, stage: &str, name: &str) -> ! {
    let directory = OwnedFd::from(File::open(".").expect("the parent chose it"));
    if let Some(code) = refused(name, directory.as_fd()) {
        std::process::exit(code);
    }
    if stage == "trap" {
        trap();
    }
    let stray = File::open("/dev/null").expect("there is one");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let mut keep = vec![listener.as_fd(), client.as_fd(), datagrams.as_fd()];
    let gateway = profile == "gateway";
    let profile = match profile {
        "gateway" => Profile::gateway().state_dir(directory.as_fd()),
        "egress" => Profile::egress(),
        "plugin" => Profile::plugin_host(directory.as_fd()),
        other => panic!("no profile {other}"),
    };
    let scene = Scene {
        directory: directory.as_raw_fd(),
        listener: listener.as_raw_fd(),
        client: client.as_raw_fd(),
        datagrams: datagrams.as_raw_fd(),
    };
    // `enter_early` closes what it is not told of.
    let borrowed = directory.as_fd();
    if !is_egress(&profile) {
        keep.push(borrowed);
    }
    let early = enter_early(&profile, IDS, &keep).unwrap_or_else(|error| {
        panic!("{error}: {:?}", std::error::Error::source(&error));
    });
    let gone = call(
        92,
        [stray.as_raw_fd().cast_unsigned() as usize, 1, 0, 0, 0, 0],
    );
    std::mem::forget(stray);
    assert_eq!(
        gone,
        Err(libc::EBADF),
        "a descriptor outside the list is open"
    );
    // Those of `keep`, the standard ones, and no other.
    assert_eq!(warder_confine::open_descriptors(), Some(3 + keep.len()));
    let state = gateway.then(|| state_file(directory.as_fd()));
    let server = (name == "works-async").then(|| Server::new(directory.as_fd()));
    let (ask, answer) = elsewhere(scene);
    match stage {
        "early" => {}
        "loading" => early.before_load().expect("still confined"),
        _ => lock(early),
    }
    if stage == "thread" {
        ask.send(name.to_owned()).expect("the thread waits");
        finish(answer.recv().expect("it answers"));
    }
    match name {
        "works" => works(&listener, client, state),
        "works-async" => server.expect("made above").serve(listener, &client),
        "works-loading" => works_loading(directory),
        "received" => received(directory.as_fd()),
        "abort" => std::process::abort(),
        "wait" => {
            println!("ready");
            std::thread::sleep(Duration::from_secs(60));
        }
        "write-plain-file" => {
            let error = File::from(stdout()).write_all(b"x").expect_err("no size");
            std::process::exit(error.raw_os_error().unwrap_or(0));
        }
        _ => {
            let result = attempt(name, scene);
            std::mem::forget(directory);
            finish(result);
        }
    }
    std::process::exit(WENT_THROUGH);
}

fn is_egress(profile: &Profile<'_>) -> bool {
    format!("{profile:?}").contains("Egress")
}

/// procctl(2): from now on, and after exec, violations end the process.
fn trap() {
    let enable = libc::PROC_TRAPCAP_CTL_ENABLE;
    let own = std::process::id() as usize;
    let command = libc::PROC_TRAPCAP_CTL.cast_unsigned() as usize;
    let done = call(544, [0, own, command, (&raw const enable) as usize, 0, 0]);
    assert_eq!(done, Ok(0));
}

fn lock(early: Early) {
    let words = early.lock().expect("still confined");
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
        "directory-for-nothing" => enter_early(&Profile::egress(), IDS, &[directory]),
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

fn state_file(directory: BorrowedFd<'_>) -> File {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    File::from(openat(directory, "registry", flags, Mode::RUSR | Mode::WUSR).expect("state"))
}

/// A thread of its own, since capability mode binds all.
fn elsewhere(
    scene: Scene,
) -> (
    std::sync::mpsc::Sender<String>,
    std::sync::mpsc::Receiver<Result<usize, i32>>,
) {
    let (ask, asked) = std::sync::mpsc::channel::<String>();
    let (reply, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if let Ok(name) = asked.recv() {
            let _ = reply.send(attempt(&name, scene));
        }
    });
    (ask, answer)
}

fn stdout() -> OwnedFd {
    std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .expect("copies are free")
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
    std::thread::spawn(|| ()).join().expect("a thread");
    drop(vec![1_u8; 8 << 20]);
    let _: OwnedFd = near.as_fd().try_clone_to_owned().expect("F_DUPFD_CLOEXEC");
    assert!(std::thread::available_parallelism().is_ok());
    // Its seed comes from the kernel.
    assert!(std::collections::HashSet::from([1]).contains(&1));
    assert!(std::time::SystemTime::now() > std::time::UNIX_EPOCH);
    let (mut server, _) = listener.accept().expect("accept4");
    server.set_nodelay(true).expect("TCP_NODELAY");
    server.set_nonblocking(false).expect("FIONBIO");
    assert!(server.peer_addr().is_ok() && server.local_addr().is_ok());
    server.write_all(b"hello").expect("send");
    let mut heard = [0; 5];
    client.read_exact(&mut heard).expect("receive");
    client.shutdown(std::net::Shutdown::Both).expect("shutdown");
    if let Some(mut file) = state {
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

/// Loading: what is no library is refused in the loader's words, and the base libraries are there already.
fn works_loading(directory: OwnedFd) {
    let error = Library::open(directory, "inside").expect_err("no library");
    assert!(!error.is_empty());
    // SAFETY: the names are C strings; nothing is run, as they are loaded.
    let there = [c"libm.so.6", c"libm.so.5", c"libthr.so.3", c"libgcc_s.so.1"]
        .map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) });
    assert!(
        there[1..].iter().all(|handle| !handle.is_null()),
        "{there:?}"
    );
}

/// What arrives later is limited as what was kept.
fn received(directory: BorrowedFd<'_>) {
    let (near, _far) = UnixStream::pair().expect("socketpair");
    limit_received(near.as_fd()).expect("a socket");
    (&near).write_all(b"x").expect("it sends still");
    let fd = near.as_raw_fd().cast_unsigned() as usize;
    assert_eq!(call(106, [fd, 1, 0, 0, 0, 0]), Err(libc::ENOTCAPABLE));
    // One that its sender has limited keeps what it has.
    let (near, _far) = UnixStream::pair().expect("socketpair");
    let mut few = FileRights::new();
    few.allow(Right::Read).allow(Right::Write);
    few.limit(&near).expect("fewer");
    limit_received(near.as_fd()).expect("a limited socket");
    (&near).write_all(b"x").expect("it sends still");
    let copy = directory.try_clone_to_owned().expect("copies are free");
    limit_received(copy.as_fd()).expect("a directory");
    let fd = copy.as_raw_fd().cast_unsigned() as usize;
    let path = c"inside".as_ptr() as usize;
    assert_eq!(call(499, [fd, path, 0, 0, 0, 0]), Err(libc::ENOTCAPABLE));
}
