//! Start, end, failure, and being found again.

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use warder_linux::cell::{self, CellHandle, Outcome, UserNamespace};
use warder_linux::dirs::{Access, detached};
use warder_linux::process::{Exit, Process, Signal};

use crate::support::{self, Instance, LIMITS, Running, base, ended, random_id, wait};

/// Numbers of processes whose user is of the range.
fn processes_of(instance: &Instance) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let first = instance.users.range().first;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ids = first..=first + 65_535;
        if name.parse::<u32>().is_ok()
            && entry.metadata().is_ok_and(|data| ids.contains(&data.uid()))
        {
            found.push(name);
        }
    }
    found
}

pub(crate) fn kill_leaves_nothing() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    running.sh_user("for i in 1 2 3; do setsid -f sleep 1000 > /dev/null 2>&1; done");
    running.ok("setsid -f sh -c 'trap \"\" TERM INT HUP; sleep 1000' > /dev/null 2>&1");
    assert!(processes_of(&instance).len() >= 5);
    assert_eq!(
        instance.controllers.leftovers().expect("leftovers"),
        std::slice::from_ref(&running.sandbox)
    );
    assert_eq!(running.cell.process.try_wait().expect("wait"), None);
    instance.end(running);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !processes_of(&instance).is_empty() {
        assert!(Instant::now() < deadline, "processes are left");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(instance.store.has_trash().expect("trash"));
    instance.store.empty_trash().expect("trash");
    assert!(!instance.store.has_trash().expect("trash"));
}

pub(crate) fn agent_end_is_seen() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    // Root inside cannot kill its own first process by a signal without handler; it can make it crash.
    running.sh("kill -9 1");
    assert_eq!(running.ok("echo alive"), "alive");
    running.cell.process.signal(Signal::Kill).expect("kill");
    ended(&running.cell.process);
    assert_eq!(
        running.cell.process.try_wait().expect("wait"),
        Some(Exit::Signal(9))
    );
    running
        .cell
        .process
        .signal(Signal::Kill)
        .expect("killing the dead is no error");
    assert!(cell::network_of(&running.cell).is_err());
    instance.removed(&running.sandbox);
}

pub(crate) fn a_fork_bomb_can_be_killed() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    running.sh_user("setsid -f bash -c ':(){ :|:& };:' > /dev/null 2>&1 < /dev/null");
    std::thread::sleep(Duration::from_millis(300));
    instance.end(running);
}

pub(crate) fn a_failed_stage_is_named() {
    let mut instance = Instance::with_base();
    let sandbox = random_id();
    instance
        .store
        .clone_template(&sandbox, &base(), instance.users.range(), &[])
        .expect("clone");
    let listener = support::listener(&instance.dir.path().join("link"));
    // A file that cannot be executed.
    let file = instance.dir.path().join("not-a-program");
    std::fs::write(&file, "nothing").expect("file");
    let agent = detached(&file, Access::ReadOnly).expect("agent");
    let (cell, status) = instance
        .spawn(&sandbox, &LIMITS, agent.as_fd(), listener.as_fd())
        .expect("spawn");
    let failed = Outcome::Failed {
        stage: "exec the agent".into(),
        errno: 13,
    };
    assert_eq!(wait(status), failed);
    ended(&cell.process);
    assert_eq!(cell.process.try_wait().expect("wait"), Some(Exit::Code(1)));
    instance.removed(&sandbox);

    // A network namespace that is none.
    instance
        .store
        .clone_template(&sandbox, &base(), instance.users.range(), &[])
        .expect("clone");
    let root = instance.store.root(&sandbox).expect("root");
    let own = detached(
        &std::env::current_exe().expect("own path"),
        Access::ReadOnly,
    )
    .expect("agent");
    let null = std::fs::File::open("/dev/null").expect("null");
    let (cell, status) = cell::spawn(&cell::CellSpec {
        walls: cell::Walls {
            controllers: &instance.controllers,
            name: &sandbox,
            users: &instance.users,
            limits: &LIMITS,
            root: &root,
            agent: own.as_fd(),
        },
        network: &support::network(null.into()),
        listener: listener.as_fd(),
        resolvers: &[],
    })
    .expect("spawn");
    let failed = Outcome::Failed {
        stage: "enter the network namespace".into(),
        errno: 22,
    };
    assert_eq!(wait(status), failed);
    ended(&cell.process);
    // Killed in the middle, it says so too.
    instance.removed(&sandbox);
    instance
        .store
        .clone_template(&sandbox, &base(), instance.users.range(), &[])
        .expect("clone");
    let (cell, status) = instance
        .spawn(&sandbox, &LIMITS, own.as_fd(), listener.as_fd())
        .expect("spawn");
    cell.process.signal(Signal::Kill).expect("kill");
    ended(&cell.process);
    let outcome = wait(status);
    assert!(
        matches!(
            &outcome,
            Outcome::Failed { errno: 0, .. } | Outcome::Running
        ),
        "{outcome:?}"
    );
    instance.removed(&sandbox);
}

pub(crate) fn hostile_mount_points_are_refused() {
    let mut instance = Instance::with_base();
    let sandbox = random_id();
    let listener = support::listener(&instance.dir.path().join("link"));
    let own = detached(
        &std::env::current_exe().expect("own path"),
        Access::ReadOnly,
    )
    .expect("agent");
    for name in ["dev", "proc", "sys", "run"] {
        instance
            .store
            .clone_template(&sandbox, &base(), instance.users.range(), &[])
            .expect("clone");
        let upper = instance
            .dir
            .path()
            .join(format!("cells/{sandbox}/up/{name}"));
        symlink("/etc", upper).expect("link");
        let (cell, status) = instance
            .spawn(&sandbox, &LIMITS, own.as_fd(), listener.as_fd())
            .expect("spawn");
        let stage = "a mount point in the template is not a directory".to_owned();
        assert_eq!(wait(status), Outcome::Failed { stage, errno: 0 });
        ended(&cell.process);
        instance.removed(&sandbox);
    }
}

pub(crate) fn adopted_after_the_spawner_died() {
    let mut instance = Instance::with_base();
    let sandbox = random_id();
    instance
        .store
        .clone_template(&sandbox, &base(), instance.users.range(), &[])
        .expect("clone");
    let own = detached(
        &std::env::current_exe().expect("own path"),
        Access::ReadOnly,
    )
    .expect("agent");
    let socket = instance.dir.path().join("link");
    let listener = support::listener(&socket);
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let keep = [
        instance.store.as_fd(),
        instance.users.as_fd(),
        instance.network.as_fd(),
        own.as_fd(),
        listener.as_fd(),
        write.as_fd(),
    ];
    // This process stands for the first privd; it dies as soon as the cell runs.
    let spawner = Process::worker(&keep, || {
        let dir = instance.dir.path().as_os_str().as_encoded_bytes();
        // The groups' descriptors were closed for the worker: it opens them as a privd does.
        let tag = warder_wire::InstanceTag::of_state_dir(dir);
        let controllers = cell::Controllers::open(tag, instance.dir.path()).expect("controllers");
        let spec = cell::CellSpec {
            walls: cell::Walls {
                controllers: &controllers,
                name: &sandbox,
                users: &instance.users,
                limits: &LIMITS,
                root: &instance.store.root(&sandbox).expect("root"),
                agent: own.as_fd(),
            },
            network: &instance.network,
            listener: listener.as_fd(),
            resolvers: &[],
        };
        let (cell, status) = cell::spawn(&spec).expect("spawn");
        assert_eq!(wait(status), Outcome::Running);
        let text = warder_wire::encode(&cell.handle).expect("encode");
        rustix::io::write(&write, &text).expect("write");
        0
    })
    .expect("worker");
    ended(&spawner);
    assert_eq!(spawner.try_wait().expect("wait"), Some(Exit::Code(0)));
    let mut buffer = [0; 512];
    let length = rustix::io::read(&read, &mut buffer).expect("read");
    let handle: CellHandle = warder_wire::decode(&buffer[..length]).expect("decode");

    // Anything that differs is not the cell.
    for wrong in [
        CellHandle {
            boot_id: "other".into(),
            ..handle.clone()
        },
        CellHandle {
            start_time: handle.start_time + 1,
            ..handle.clone()
        },
        CellHandle {
            pid_ns: handle.pid_ns + 1,
            ..handle.clone()
        },
        CellHandle {
            net_ns: handle.net_ns + 1,
            ..handle.clone()
        },
        CellHandle {
            pid: std::process::id(),
            ..handle.clone()
        },
        CellHandle {
            pid: 0,
            ..handle.clone()
        },
    ] {
        assert!(cell::adopt(&wrong).expect("adopt").is_none(), "{wrong:?}");
    }
    let cell = cell::adopt(&handle)
        .expect("adopt")
        .expect("the cell lives");
    let netns = cell::network_of(&cell).expect("network");
    let inode = |fd| rustix::fs::fstat(fd).expect("stat").st_ino;
    assert_eq!(inode(netns.as_fd()), inode(instance.network.as_fd()));
    let running = Running::new(sandbox.clone(), cell, support::connect(&socket));
    assert_eq!(running.ok("hostname"), sandbox.as_str());
    assert_eq!(
        instance.controllers.leftovers().expect("leftovers"),
        std::slice::from_ref(&sandbox)
    );
    running.cell.process.signal(Signal::Kill).expect("kill");
    ended(&running.cell.process);
    assert_eq!(
        running.cell.process.try_wait().expect("wait"),
        Some(Exit::Unknown),
        "not a child"
    );
    assert!(cell::adopt(&handle).expect("adopt").is_none(), "dead");
    instance.removed(&sandbox);
}

pub(crate) fn a_lost_cell_is_found_and_killed() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    running.sh_user("setsid -f sleep 1000 > /dev/null 2>&1");
    // As after a crash that lost the handle: only the groups' names are known.
    for sandbox in instance.controllers.leftovers().expect("leftovers") {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !instance
            .controllers
            .remove_leftovers(&sandbox)
            .expect("remove")
        {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    ended(&running.cell.process);
    let _ = running.cell.process.try_wait().expect("wait");
    instance.removed(&running.sandbox);
}

pub(crate) fn two_at_once() {
    let mut instance = Instance::with_base();
    let one = instance.cell(&LIMITS);
    let other = cell::IdRange {
        first: support::range().first + 65_536,
        count: 65_536,
    };
    let first_users = std::mem::replace(
        &mut instance.users,
        UserNamespace::new(other).expect("users"),
    );
    let two = instance.cell(&LIMITS);
    two.sh_user("setsid -f sleep 1000 > /dev/null 2>&1");
    assert_eq!(one.ok("ps ax | grep -c '[s]leep 1000' || true"), "0");
    assert_eq!(two.ok("ps ax | grep -c '[s]leep 1000'"), "1");
    // Abstract sockets and System V shared memory are each sandbox's own.
    two.ok("ipcmk -M 4096");
    assert_eq!(one.ok("ipcs -m | grep -c 0x || true"), "0");
    for running in [&one, &two] {
        running.cell.process.signal(Signal::Kill).expect("kill");
        ended(&running.cell.process);
        let _ = running.cell.process.try_wait().expect("wait");
    }
    while !instance
        .controllers
        .remove_leftovers(&one.sandbox)
        .expect("remove")
    {}
    instance.store.discard(&one.sandbox).expect("discard");
    instance.removed(&two.sandbox);
    drop(first_users);
}
