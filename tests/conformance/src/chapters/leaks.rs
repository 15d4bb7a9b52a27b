//! What of this very host, and of a neighbour, can be seen or reached: each is made here first, so that there is
//! something to find.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use serde_json::json;
use warder_harness::wait::until;
use warder_probe::{Kind, Object, Queue};

use crate::backend::Backend;
use crate::check::{Bad, Check, Outcome, Row, is, of_rows, that};
use crate::scene::Scene;
use crate::world::HOST;

const ROWS: &[Row] = &[
    (
        "host-files",
        "look for files planted in the host's directories, by name",
        "not seen",
        host_files,
    ),
    (
        "state-directory",
        "read the instance's ledger, keys and sockets by their paths",
        "closed",
        state_directory,
    ),
    (
        "admin-socket",
        "connect to the administrator's socket",
        "refused",
        admin_socket,
    ),
    (
        "host-socket",
        "connect to a Unix socket of the host in /tmp",
        "refused",
        host_socket,
    ),
    (
        "host-processes",
        "signal processes of the host by number: this program, privd, gatewayd",
        "no such process",
        host_processes,
    ),
    (
        "trace",
        "ptrace(2) of a process of the host",
        "no such process, or refused",
        trace,
    ),
    (
        "process-calls",
        "every call that names a process, with one of the host",
        "no such process, or refused",
        process_calls,
    ),
    (
        "sysv-memory",
        "open System V shared memory of the host",
        "not there",
        sysv_memory,
    ),
    (
        "sysv-semaphores",
        "open System V semaphores of the host",
        "not there",
        sysv_semaphores,
    ),
    (
        "sysv-messages",
        "open a System V queue of messages of the host",
        "not there",
        sysv_messages,
    ),
    (
        "posix-memory",
        "open POSIX shared memory of the host",
        "not there",
        posix_memory,
    ),
    (
        "posix-messages",
        "open a POSIX queue of messages of the host",
        "not there",
        posix_messages,
    ),
    (
        "hostname",
        "read the host's name",
        "the sandbox's own",
        hostname,
    ),
    (
        "host-loopback",
        "connect to a service on the host's 127.0.0.1",
        "refused",
        host_loopback,
    ),
    (
        "host-address",
        "connect to a service on the host's own address",
        "refused",
        host_address,
    ),
    (
        "neighbour-files",
        "look for a file of another sandbox, by name",
        "not seen",
        neighbour_files,
    ),
    (
        "neighbour-processes",
        "look for a process of another sandbox",
        "not seen",
        neighbour_processes,
    ),
    (
        "neighbour-memory",
        "open shared memory of another sandbox",
        "not there",
        neighbour_memory,
    ),
    (
        "neighbour-port",
        "connect to a server in another sandbox",
        "refused",
        neighbour_port,
    ),
    (
        "neighbour-address",
        "speak in the name of another sandbox's address",
        "refused",
        neighbour_address,
    ),
];

/// Names of sockets without files are Linux' own (unix(7)).
const NAMES: &[Row] = &[(
    "abstract-socket",
    "connect to a socket of the host that has a name and no file",
    "refused",
    abstract_socket,
)];

pub(super) fn checks(backend: Backend) -> Vec<Check> {
    let mut all = of_rows("leaks", ROWS);
    if backend == Backend::Namespace {
        all.extend(of_rows("leaks", NAMES));
    }
    all
}

fn holds(scene: &mut Scene, words: &[&str]) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let root = stack.holds(&sandbox, "root", words)?;
    let user = stack.holds(&sandbox, "user", words)?;
    Ok(if root == user {
        root
    } else {
        format!("root: {root}; user: {user}")
    })
}

fn mark(what: &str) -> String {
    format!("warder-{what}-{}", std::process::id())
}

/// A file of this host's, removed when dropped.
struct File(std::path::PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn host_files(scene: &mut Scene) -> Outcome {
    let mark = mark("plant");
    let dirs = [
        "/etc",
        "/root",
        "/home",
        "/var",
        "/var/tmp",
        "/var/log",
        "/opt",
        "/srv",
        "/tmp",
        "/mnt",
        "/usr/home",
    ];
    let planted: Vec<File> = dirs
        .iter()
        .map(|dir| std::path::Path::new(dir).join(&mark))
        .filter_map(|path| {
            std::fs::write(&path, "secret").ok()?;
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&path, open).ok()?;
            Some(File(path))
        })
        .collect();
    that(planted.len() >= 5, || {
        format!("only {} could be planted", planted.len())
    })?;
    // Seen by name or not, they must not be read.
    let paths: Vec<String> = planted.iter().map(|f| f.0.display().to_string()).collect();
    let mut words = vec!["closed"];
    words.extend(paths.iter().map(String::as_str));
    holds(scene, &words)?;
    let stack = scene.stack()?;
    let fresh = stack.create_with_probe(&json!({}))?;
    stack.holds(&fresh, "root", &["find", &mark])
}

fn state_directory(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let dir = stack.dir().display().to_string();
    let paths = [
        "/privd.conf",
        "/log",
        "/state/privd/ledger",
        "/state",
        "/run",
        "/libexec/privd",
    ]
    .map(|p| format!("{dir}{p}"));
    let mut words = vec!["closed"];
    words.extend(paths.iter().map(String::as_str));
    holds(scene, &words)
}

fn admin_socket(scene: &mut Scene) -> Outcome {
    let path = scene.stack()?.admin_socket();
    that(path.exists(), || format!("there is no {}", path.display()))?;
    holds(scene, &["unix", &path.display().to_string()])
}

fn host_socket(scene: &mut Scene) -> Outcome {
    let path = std::path::Path::new("/tmp").join(mark("socket"));
    let _listener = UnixListener::bind(&path)?;
    let _file = File(path.clone());
    holds(scene, &["unix", &path.display().to_string()])
}

fn abstract_socket(scene: &mut Scene) -> Outcome {
    let name = mark("abstract");
    let _listener = warder_probe::listen_abstract(&name)?;
    holds(scene, &["abstract", &name])
}

fn host_processes(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let mut pids = vec![i32::try_from(std::process::id()).unwrap_or(0)];
    pids.extend(stack.privd_pid());
    pids.extend(stack.daemon("gatewayd")?.map(|p| p.pid));
    // A sandbox counts its own processes from 1 on, where it has numbers of its own.
    pids.retain(|pid| *pid > 200);
    that(!pids.is_empty(), || {
        "every process of this host has a small number".to_owned()
    })?;
    for pid in &pids {
        holds(scene, &["signal", &pid.to_string()])?;
    }
    Ok(format!("{} are not there", pids.len()))
}

/// Of a process that only waits: who is traced stands still, and ends with its tracer.
fn trace(scene: &mut Scene) -> Outcome {
    let mut victim = std::process::Command::new("sleep").arg("600").spawn()?;
    let seen = holds(scene, &["trace", &victim.id().to_string()]);
    let _ = victim.kill();
    let _ = victim.wait();
    seen
}

fn process_calls(scene: &mut Scene) -> Outcome {
    let mut victim = std::process::Command::new("sleep").arg("600").spawn()?;
    let seen = holds(scene, &["touch", &victim.id().to_string()]);
    let alive = victim.try_wait();
    let _ = victim.kill();
    let _ = victim.wait();
    that(alive.is_ok_and(|ended| ended.is_none()), || {
        "it was ended".to_owned()
    })?;
    seen
}

fn key(number: u32) -> i32 {
    i32::try_from(std::process::id() % 0x00ff_ffff).unwrap_or(1)
        + 0x5700_0000
        + i32::try_from(number << 20).unwrap_or(0)
}

fn sysv_memory(scene: &mut Scene) -> Outcome {
    sysv(scene, "memory")
}

fn sysv_semaphores(scene: &mut Scene) -> Outcome {
    sysv(scene, "semaphores")
}

fn sysv_messages(scene: &mut Scene) -> Outcome {
    sysv(scene, "messages")
}

fn sysv(scene: &mut Scene, word: &str) -> Outcome {
    let kind: Kind = word.parse().map_err(str::to_owned)?;
    let _object = Object::make(kind, key(1))
        .map_err(|e| Bad::NotHere(format!("this host has no System V {word}: {e}")))?;
    let here = warder_probe::object_is_seen(kind, key(1));
    that(!here.holds, || {
        "it is not seen on the host itself".to_owned()
    })?;
    holds(scene, &["sysv", word, &key(1).to_string()])
}

fn posix_memory(scene: &mut Scene) -> Outcome {
    use rustix::shm;
    let name = format!("/{}", mark("shm"));
    let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
    let _object = shm::open(name.as_str(), flags, rustix::fs::Mode::from_raw_mode(0o666))
        .map_err(|e| e.to_string())?;
    let seen = holds(scene, &["posix", &name]);
    let _ = shm::unlink(name.as_str());
    seen
}

fn posix_messages(scene: &mut Scene) -> Outcome {
    let name = format!("/{}", mark("queue"));
    let ask = ["queue", &name];
    let _queue = match Queue::make(&name) {
        Ok(queue) => queue,
        // FreeBSD has them with mqueuefs(5).
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            holds(scene, &ask)?;
            return Ok("neither this host nor a sandbox has any".to_owned());
        }
        Err(error) => return Err(error.into()),
    };
    let here = warder_probe::queue_is_seen(&name);
    that(!here.holds, || {
        "it is not seen on the host itself".to_owned()
    })?;
    holds(scene, &ask)
}

fn hostname(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let name = scene.stack()?.said(&sandbox, "user", "hostname")?;
    let own = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    that(name != own && !name.is_empty(), || {
        format!("{name}, as the host")
    })?;
    Ok(name)
}

/// Asks whether a listener of this host is reached. It counts who came.
fn reached(scene: &mut Scene, listener: &TcpListener, addresses: &[&str]) -> Outcome {
    let port = listener.local_addr()?.port().to_string();
    listener.set_nonblocking(true)?;
    let mut seen = Vec::new();
    for address in addresses {
        seen.push(holds(scene, &["tcp", address, &port])?);
    }
    that(listener.accept().is_err(), || {
        "somebody connected".to_owned()
    })?;
    seen.dedup();
    Ok(seen.join("; "))
}

fn host_loopback(scene: &mut Scene) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    reached(scene, &listener, &["127.0.0.1", "127.0.0.2", "0.0.0.0"])
}

fn host_address(scene: &mut Scene) -> Outcome {
    let (_, _) = scene.internet()?;
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let sandbox = scene.probed()?;
    let own = scene.stack()?.holds(&sandbox, "user", &["address"])?;
    // The next hop of its own network, whichever of the two it is.
    let octets = own
        .parse::<std::net::Ipv4Addr>()
        .map_err(|e| format!("{own}: {e}"))?
        .octets();
    let beside = [
        octets[3] ^ 1,
        octets[3].wrapping_add(1),
        octets[3].wrapping_sub(1),
    ]
    .map(|last| std::net::Ipv4Addr::new(octets[0], octets[1], octets[2], last).to_string());
    let host = HOST.to_string();
    let mut addresses = vec![host.as_str()];
    addresses.extend(beside.iter().map(String::as_str));
    reached(scene, &listener, &addresses)
}

fn neighbour_files(scene: &mut Scene) -> Outcome {
    let mark = mark("neighbour");
    let stack = scene.stack()?;
    let other = stack.create(&json!({}))?;
    stack.said(
        &other,
        "root",
        &format!("echo secret > /tmp/{mark}; echo secret > /home/user/{mark}"),
    )?;
    holds(scene, &["find", &mark])
}

fn neighbour_processes(scene: &mut Scene) -> Outcome {
    let number = 7_000_000 + std::process::id();
    let stack = scene.stack()?;
    let other = stack.create(&json!({}))?;
    // The shell's own line must not be found instead.
    stack.said(
        &other,
        "root",
        &format!("n={number}; sleep $n </dev/null >/dev/null 2>&1 & true"),
    )?;
    let look = format!("ps -axww | grep -c '[s]leep {number}'");
    until("it in its own sandbox", || {
        let seen = stack.shell(&other, "root", &look).ok()?;
        (seen.stdout.trim() == "1").then_some(())
    })?;
    let sandbox = scene.probed()?;
    let ran = scene.stack()?.shell(&sandbox, "root", &look)?;
    is("seen", &ran.stdout.trim(), &"0")?;
    Ok("0".to_owned())
}

fn neighbour_memory(scene: &mut Scene) -> Outcome {
    let key = key(2);
    let stack = scene.stack()?;
    let other = stack.create_with_probe(&json!({}))?;
    let made = stack.probe(&other, "root", &["sysv-make", &key.to_string()])?;
    if !made.holds {
        return Ok(format!("it can have none: {}", made.seen));
    }
    let own = stack.probe(&other, "root", &["sysv", "memory", &key.to_string()])?;
    that(!own.holds, || "its own is not seen by itself".to_owned())?;
    holds(scene, &["sysv", "memory", &key.to_string()])
}

fn neighbour_port(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let other = stack.create_with_probe(&json!({}))?;
    stack.said(
        &other,
        "user",
        &super::lifecycle::background("serve 0.0.0.0 8124"),
    )?;
    let address = stack.holds(&other, "user", &["address"])?;
    until("its server", || {
        let told = stack
            .probe(&other, "user", &["tcp", &address, "8124"])
            .ok()?;
        (!told.holds).then_some(())
    })?;
    holds(scene, &["tcp", &address, "8124"])
}

fn neighbour_address(scene: &mut Scene) -> Outcome {
    let stack = scene.stack()?;
    let other = stack.create_with_probe(&json!({}))?;
    let address = stack.holds(&other, "user", &["address"])?;
    holds(scene, &["bind", &address])
}
