//! Storage: clones, hostile trees, template `base`, archives; and processes started for it. Run as root.

#[allow(dead_code, reason = "each test program uses a part")]
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags};
use support::{Instance, LIMITS, base, ended, random_id, run};
use warder_linux::HostError;
use warder_linux::dirs::{Access, detached, make_private_dir};
use warder_linux::process::{Exit, Process, Program, Signal};
use warder_linux::signals::{Caught, Signals};
use warder_linux::storage::Store;
use warder_wire::TemplateName;

fn main() {
    support::agent_if_asked();
    run(&[
        ("a_hostile_tree_is_removed", a_hostile_tree_is_removed),
        ("clones_are_whole_or_absent", clones_are_whole_or_absent),
        ("base_is_made_anew_when_stale", base_is_made_anew_when_stale),
        ("base_holds_no_secret", base_holds_no_secret),
        (
            "an_archive_becomes_a_template",
            an_archive_becomes_a_template,
        ),
        ("hostile_archives_stay_inside", hostile_archives_stay_inside),
        ("a_full_disk_is_told", a_full_disk_is_told),
        (
            "programs_get_what_they_are_given",
            programs_get_what_they_are_given,
        ),
        ("workers_keep_little", workers_keep_little),
        ("signals_are_read", signals_are_read),
        (
            "directories_end_at_themselves",
            directories_end_at_themselves,
        ),
    ]);
}

fn a_hostile_tree_is_removed() {
    let instance = Instance::with_base();
    let sandbox = random_id();
    let ids = instance.users.range();
    instance
        .store
        .clone_template(&sandbox, &base(), ids, &[])
        .expect("clone");
    let outside = instance.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    std::fs::write(outside.join("kept"), "kept").expect("file");
    let up = instance.dir.path().join(format!("cells/{sandbox}/up"));
    // Deeper than PATH_MAX and than any stack would follow.
    let mut at: OwnedFd = File::open(&up).expect("upper").into();
    for depth in 0..1_000 {
        let name = format!("directory-number-{depth}");
        rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).expect("mkdir");
        at = rustix::fs::openat(
            &at,
            name.as_str(),
            OFlags::DIRECTORY | OFlags::RDONLY,
            Mode::empty(),
        )
        .expect("open");
    }
    drop(at);
    symlink(&outside, up.join("way-out")).expect("link");
    symlink("..", up.join("up")).expect("link");
    std::fs::write(up.join("line\nbreak \u{1b}[31m -rf"), "").expect("file");
    rustix::fs::mkdirat(
        CWD,
        up.join(std::ffi::OsStr::from_encoded(b"\xff\xfe")),
        Mode::RWXU,
    )
    .expect("mkdir");
    std::fs::write(
        up.join(std::ffi::OsStr::from_encoded(b"\xff\xfe"))
            .join("f"),
        "",
    )
    .expect("file");
    for n in 0..60 {
        std::fs::create_dir_all(up.join(format!("wide/{n}/below"))).expect("directories");
        std::fs::write(up.join(format!("wide/{n}/file")), "").expect("file");
    }
    std::fs::create_dir_all(up.join("closed/inside")).expect("directory");
    std::fs::set_permissions(up.join("closed"), PermissionsExt::from_mode(0o0)).expect("mode");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, up.join("fifo"), fifo, Mode::RWXU, 0).expect("fifo");

    assert_eq!(
        instance.store.list().expect("list"),
        std::slice::from_ref(&sandbox)
    );
    assert!(instance.store.discard(&sandbox).expect("discard"));
    assert!(!instance.store.discard(&sandbox).expect("discard"), "once");
    assert_eq!(instance.store.list().expect("list"), []);
    let worker = Process::worker(&[instance.store.as_fd()], || {
        match instance.store.empty_trash() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("{error:?}");
                1
            }
        }
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
    assert!(!instance.store.has_trash().expect("trash"));
    assert_eq!(
        std::fs::read_to_string(outside.join("kept")).expect("kept"),
        "kept"
    );
}

/// Names that are no text.
trait Encoded {
    fn from_encoded(bytes: &[u8]) -> &Self;
}

impl Encoded for std::ffi::OsStr {
    fn from_encoded(bytes: &[u8]) -> &Self {
        std::os::unix::ffi::OsStrExt::from_bytes(bytes)
    }
}

fn clones_are_whole_or_absent() {
    let instance = Instance::with_base();
    let sandbox = random_id();
    let ids = instance.users.range();
    let absent = TemplateName::new("absent").expect("name");
    let error = instance
        .store
        .clone_template(&sandbox, &absent, ids, &[])
        .expect_err("no such template");
    assert!(matches!(error, HostError::Invalid(_)));
    assert_eq!(instance.store.list().expect("list"), []);
    let resolvers = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("address"));
    instance
        .store
        .clone_template(&sandbox, &base(), ids, &resolvers)
        .expect("clone");
    assert!(
        instance
            .store
            .clone_template(&sandbox, &base(), ids, &[])
            .is_err(),
        "taken"
    );
    let cell = instance.dir.path().join(format!("cells/{sandbox}"));
    let text = std::fs::read_to_string(cell.join("up/etc/resolv.conf")).expect("resolv.conf");
    assert_eq!(text, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
    let owner = |path: &str| {
        std::fs::metadata(cell.join(path))
            .map(|data| (data.uid(), data.mode() & 0o7777))
            .expect(path)
    };
    assert_eq!(owner("up"), (ids.first, 0o755));
    assert_eq!(owner("up/etc/hosts"), (ids.first, 0o644));
    assert_eq!(owner("usr-up"), (ids.first, 0o755));
    assert_eq!(
        owner(""),
        (0, 0o700),
        "guests' set-id files are out of everyone's reach"
    );
    let (free, total) = instance.store.room().expect("room");
    assert!(free > 0 && free <= total);
}

fn base_is_made_anew_when_stale() {
    let instance = Instance::new();
    assert!(!instance.store.base_is_fresh().expect("fresh"));
    assert_eq!(instance.store.templates().expect("templates"), []);
    instance.store.make_base().expect("base");
    assert!(instance.store.base_is_fresh().expect("fresh"));
    let names: Vec<_> = instance
        .store
        .templates()
        .expect("templates")
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(names, [base()]);
    // A live sandbox keeps the version it was made from.
    let running = instance.cell(&LIMITS);
    std::fs::write(
        instance.dir.path().join("templates/base/made-of"),
        "something else",
    )
    .expect("write");
    assert!(!instance.store.base_is_fresh().expect("fresh"));
    instance.store.make_base().expect("base");
    assert!(instance.store.base_is_fresh().expect("fresh"));
    instance.store.empty_trash().expect("trash");
    assert_eq!(running.ok("grep -c ^user: /etc/passwd"), "1");
    assert_eq!(running.ok("ls /etc/pam.d | wc -l"), "3");
    instance.end(running);
    instance.store.empty_trash().expect("trash");
    assert!(!instance.store.has_trash().expect("trash"));
    assert_eq!(
        std::fs::read_dir(instance.dir.path().join("retired"))
            .expect("retired")
            .count(),
        0
    );
}

fn base_holds_no_secret() {
    let instance = Instance::with_base();
    let tree = instance.dir.path().join("templates/base/tree");
    let mut allowed: BTreeSet<_> = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
        .map(str::to_owned)
        .into();
    allowed.extend(
        [
            "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys",
            "tmp", "usr", "var",
        ]
        .map(str::to_owned),
    );
    for entry in std::fs::read_dir(&tree).expect("tree").flatten() {
        assert!(
            allowed.contains(&entry.file_name().into_string().expect("text")),
            "{entry:?}"
        );
    }
    for absent in [
        "etc/ssl/private",
        "etc/apt",
        "etc/gitconfig",
        "etc/ssh",
        "etc/shadow-",
        "etc/environment",
    ] {
        assert!(!tree.join(absent).exists(), "{absent}");
    }
    assert_eq!(
        std::fs::metadata(tree.join("etc/shadow"))
            .expect("shadow")
            .mode()
            & 0o7777,
        0o640
    );
    assert_eq!(
        std::fs::metadata(tree.join("etc/sudoers"))
            .expect("sudoers")
            .mode()
            & 0o7777,
        0o440
    );
    assert_eq!(
        std::fs::metadata(tree.join("home/user"))
            .expect("home")
            .uid(),
        1000
    );
    for empty in ["usr", "var/lib", "opt", "srv", "mnt", "tmp"] {
        assert_eq!(
            std::fs::read_dir(tree.join(empty)).expect(empty).count(),
            0,
            "{empty}"
        );
    }
    // Nothing in it carries rights on the host.
    let found = Command::new("find")
        .arg(&tree)
        .args([
            "(", "-perm", "/6000", "-o", "-type", "b", "-o", "-type", "c", ")",
        ])
        .output()
        .expect("find");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

/// An archive of a directory, as a descriptor.
fn archive(script: &str) -> File {
    let dir = tempfile::tempdir().expect("directory");
    let out = dir.path().join("out.tar");
    let made = Command::new("python3")
        .args(["-c", &format!("import tarfile, io, sys\nt = tarfile.open(sys.argv[1], 'w')\ndef add(name, kind=tarfile.REGTYPE, data=b'', mode=0o644, uid=0, gid=0, link='', dev=(0, 0)):\n    i = tarfile.TarInfo(name); i.type = kind; i.size = len(data); i.mode = mode; i.uid = uid; i.gid = gid; i.linkname = link; i.devmajor, i.devminor = dev\n    t.addfile(i, io.BytesIO(data))\n{script}\nt.close()")])
        .arg(&out)
        .status()
        .expect("python3");
    assert!(made.success());
    File::open(out).expect("archive")
}

fn import(instance: &Instance, name: &TemplateName, tar: &File) -> Exit {
    let process = instance
        .store
        .import_start(name, &instance.users, tar.as_fd())
        .expect("import");
    ended(&process);
    process.try_wait().expect("wait").expect("ended")
}

fn an_archive_becomes_a_template() {
    let instance = Instance::new();
    let name = TemplateName::new("own").expect("name");
    let tar = archive(
        "add('bin', tarfile.DIRTYPE, mode=0o755)\nadd('bin/tool', data=b'#!x', mode=0o4755)\nadd('home/user/f', data=b'hello', uid=1000, gid=1000)\nadd('dev/null', tarfile.CHRTYPE, dev=(1, 3))\nadd('etc/passwd', data=b'root:x:0:0::/:/bin/sh\\n')",
    );
    assert_eq!(import(&instance, &name, &tar), Exit::Code(0));
    assert_eq!(instance.store.templates().expect("templates"), []);
    instance.store.import_end(&name, true).expect("kept");
    assert_eq!(instance.store.templates().expect("templates").len(), 1);
    let tree = instance.dir.path().join("templates/own/tree");
    let data = |path: &str| std::fs::symlink_metadata(tree.join(path)).expect(path);
    assert_eq!(
        (data("bin/tool").uid(), data("bin/tool").mode() & 0o7777),
        (0, 0o4755)
    );
    assert_eq!(
        (data("home/user/f").uid(), data("home/user/f").gid()),
        (1000, 1000)
    );
    assert!(
        ["dev", "proc", "sys", "run", "tmp"]
            .iter()
            .all(|dir| data(dir).is_dir())
    );
    assert!(!tree.join("dev/null").exists(), "devices are the cell's");
    let error = instance
        .store
        .import_start(&name, &instance.users, tar.as_fd())
        .expect_err("taken");
    assert!(matches!(error, HostError::Invalid(_)));
    assert!(instance.store.discard_template(&name).expect("discard"));
    assert!(!instance.store.discard_template(&name).expect("discard"));
}

fn hostile_archives_stay_inside() {
    let instance = Instance::new();
    let name = TemplateName::new("hostile").expect("name");
    let outside = instance.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o777)).expect("mode");
    let target = outside.display();
    let attempts = [
        format!("add('../../outside/a', data=b'x')\nadd('{target}/b', data=b'x')"),
        format!("add('l', tarfile.SYMTYPE, link='{target}')\nadd('l/c', data=b'x')"),
        "add('d', tarfile.SYMTYPE, link='../../../../outside')\nadd('d/c', data=b'x')".to_owned(),
        format!("add('h', tarfile.LNKTYPE, link='{target}/../cells')"),
        "add('disk', tarfile.BLKTYPE, mode=0o666, dev=(254, 0))".to_owned(),
        "add('proc', tarfile.SYMTYPE, link='/etc')".to_owned(),
        "add('out', uid=70000, gid=70000)".to_owned(),
    ];
    for script in attempts {
        let exit = import(&instance, &name, &archive(&script));
        let kept = instance.store.import_end(&name, exit == Exit::Code(0));
        assert_eq!(
            std::fs::read_dir(&outside).expect("outside").count(),
            0,
            "{script}"
        );
        if exit == Exit::Code(0) && kept.is_ok() {
            // Whatever it made of it lies in the template.
            instance.store.discard_template(&name).expect("discard");
        }
        let trash = instance.dir.path();
        let devices = Command::new("find")
            .arg(trash)
            .args(["-type", "b", "-o", "-type", "c", "!", "-path", "*/mask/*"])
            .output()
            .expect("find");
        assert_eq!(String::from_utf8_lossy(&devices.stdout), "", "{script}");
        assert_eq!(instance.store.templates().expect("templates"), []);
    }
    let refused = import(
        &instance,
        &name,
        &archive("add('disk', tarfile.BLKTYPE, mode=0o666, dev=(254, 0))"),
    );
    assert_ne!(
        refused,
        Exit::Code(0),
        "a device is refused, not skipped in silence"
    );
    instance.store.import_end(&name, false).expect("discard");
    assert_eq!(
        import(
            &instance,
            &name,
            &archive("add('proc', tarfile.SYMTYPE, link='/etc')")
        ),
        Exit::Code(0)
    );
    instance
        .store
        .import_end(&name, true)
        .expect_err("no mount point");
    let noise = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(noise.path(), [0xa5; 10_000]).expect("noise");
    assert_ne!(import(&instance, &name, noise.as_file()), Exit::Code(0));
    instance.store.import_end(&name, false).expect("discard");
    instance.store.empty_trash().expect("trash");
}

fn a_full_disk_is_told() {
    let dir = tempfile::tempdir().expect("directory");
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).expect("directory");
    // In a mount namespace of this worker, so that the host's mount table stays as it is.
    let worker = Process::worker(&[], || {
        // SAFETY: takes an integer; this process has one thread and shares nothing.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE
                | rustix::mount::MountPropagationFlags::REC,
        )
        .expect("private");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &mount, "tmpfs", flags, c"size=3m,nr_inodes=2000")
            .expect("mount");
        let store = Store::open(&mount).expect("store");
        let tree = mount.join("templates/own/tree");
        std::fs::create_dir_all(tree).expect("template");
        let _ = std::fs::write(mount.join("filler"), vec![0; 4 << 20]);
        let name = TemplateName::new("own").expect("name");
        let sandbox = random_id();
        let told = store.clone_template(&sandbox, &name, support::range(), &[]);
        assert!(matches!(told, Err(HostError::NoSpace { .. })), "{told:?}");
        assert_eq!(store.list().expect("list"), []);
        std::fs::remove_file(mount.join("filler")).expect("remove");
        store
            .clone_template(&sandbox, &name, support::range(), &[])
            .expect("room again");
        0
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
}

fn programs_get_what_they_are_given() {
    let file = detached(Path::new("/bin/sh"), Access::ReadOnly).expect("shell");
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let (log_read, log_write) = rustix::pipe::pipe().expect("pipe");
    let start = |script: &str| {
        Process::spawn(&Program {
            file: file.as_fd(),
            name: "shell",
            args: &["-c", script, "x"],
            fds: &[(write.as_fd(), 3), (write.as_fd(), 9)],
            log: log_write.as_fd(),
        })
        .expect("spawn")
    };
    let process =
        start("ls /proc/$$/fd >&3; readlink /proc/$$/fd/0 >&3; env >&3; echo log >&2; exit 7");
    ended(&process);
    assert_eq!(process.try_wait().expect("wait"), Some(Exit::Code(7)));
    let text = |fd: &OwnedFd| {
        let mut buffer = [0; 1024];
        let length = rustix::io::read(fd, &mut buffer).expect("read");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(text(&log_read), "log\n");
    let told = text(&read);
    let lines: Vec<_> = told.lines().collect();
    let numbers: Vec<_> = lines
        .iter()
        .take_while(|line| line.parse::<u32>().is_ok())
        .copied()
        .collect();
    // 10 is the shell's own copy while it redirects.
    assert_eq!(
        numbers
            .iter()
            .filter(|number| **number != "10")
            .copied()
            .collect::<Vec<_>>(),
        ["0", "1", "2", "3", "9"]
    );
    assert!(told.contains("/dev/null"), "{told}");
    assert!(!told.contains("PATH=/"), "environment: {told}");
    assert!(!told.contains("HOME="), "environment: {told}");

    let process = start("while :; do :; done");
    let (pid, started) = (process.pid(), process.start_time().expect("start time"));
    assert!(Process::reopen(pid, started).expect("reopen").is_some());
    assert!(Process::reopen(pid, started + 1).expect("reopen").is_none());
    assert_eq!(process.try_wait().expect("wait"), None);
    process.signal(Signal::Terminate).expect("signal");
    ended(&process);
    assert_eq!(process.try_wait().expect("wait"), Some(Exit::Signal(15)));
    assert!(Process::reopen(pid, started).expect("reopen").is_none());

    let text = tempfile::NamedTempFile::new().expect("file");
    let no_program = Process::spawn(&Program {
        file: text.as_file().as_fd(),
        name: "x",
        args: &[],
        fds: &[],
        log: log_write.as_fd(),
    });
    assert!(
        matches!(no_program, Err(HostError::System { .. })),
        "{no_program:?}"
    );
}

fn workers_keep_little() {
    let dir = tempfile::tempdir().expect("directory");
    let kept = File::create(dir.path().join("kept")).expect("file");
    let _other = File::create(dir.path().join("other")).expect("file");
    let worker = Process::worker(&[kept.as_fd()], || {
        let open = std::fs::read_dir("/proc/self/fd").expect("fd").flatten();
        let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let names: Vec<_> = open.filter(|path| path.starts_with(dir.path())).collect();
        i32::from(names != [dir.path().join("kept")])
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
}

fn signals_are_read() {
    // In a process of its own: the mask would stay.
    let worker = Process::worker(&[], || {
        let signals = Signals::new().expect("signals");
        assert_eq!(signals.next().expect("next"), None);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .expect("kill");
        assert_eq!(signals.next().expect("next"), Some(Caught::Terminate));
        let child = Process::worker(&[], || 3).expect("child");
        ended(&child);
        assert_eq!(signals.next().expect("next"), Some(Caught::Child));
        assert_eq!(signals.next().expect("next"), None);
        0
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
}

fn directories_end_at_themselves() {
    let dir = tempfile::tempdir().expect("directory");
    let inner = dir.path().join("inner");
    make_private_dir(&inner, 12, 34, 0o750).expect("make");
    let data = std::fs::metadata(&inner).expect("stat");
    assert_eq!(
        (data.uid(), data.gid(), data.mode() & 0o7777),
        (12, 34, 0o750)
    );
    make_private_dir(&inner, 0, 0, 0o700).expect("again");
    std::fs::write(dir.path().join("secret"), "x").expect("secret");
    symlink(dir.path(), inner.join("link")).expect("link");
    assert!(
        make_private_dir(&inner.join("link"), 0, 0, 0o700).is_err(),
        "a link"
    );

    let handed = detached(&inner, Access::ReadWrite).expect("detached");
    for path in ["../secret", "../../", "../inner/../secret", "./../secret"] {
        let found = rustix::fs::openat(&handed, path, OFlags::RDONLY, Mode::empty());
        if let Ok(found) = found {
            let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("stat").st_ino;
            assert_eq!(inode(&found), inode(&handed), "{path} leads out");
        }
    }
    let made = OFlags::CREATE | OFlags::WRONLY;
    rustix::fs::openat(&handed, "file", made, Mode::RUSR).expect("writable");
    let handed = detached(&inner, Access::ReadOnly).expect("detached");
    rustix::fs::openat(&handed, "other", made, Mode::RUSR).expect_err("read-only");
}
