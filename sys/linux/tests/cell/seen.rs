//! What a sandbox sees.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{Instance, LIMITS, random_id};

/// A file on the host that goes away with the test, whatever comes of it.
struct Secret(PathBuf);

impl Secret {
    fn plant(dir: &str, mode: u32) -> Self {
        let path = PathBuf::from(format!("{dir}/warder-secret-{}", random_id()));
        std::fs::write(&path, "warder-planted\n").expect("plant");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("mode");
        Self(path)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn nothing_of_the_host_but_usr() {
    let mut secrets: Vec<Secret> = [
        "/", "/etc", "/root", "/home", "/var", "/var/lib", "/opt", "/srv", "/tmp", "/etc/ssl",
        "/run", "/mnt",
    ]
    .iter()
    .filter(|dir| std::fs::metadata(dir).is_ok())
    .map(|dir| Secret::plant(dir, 0o644))
    .collect();
    secrets.push(Secret::plant("/usr/local/share", 0o600));
    secrets.push(Secret::plant("/usr/share", 0o640));
    let shown = Secret::plant("/usr/share", 0o644);
    let closed = tempfile::Builder::new()
        .prefix("warder-closed-")
        .tempdir_in("/usr/local/lib")
        .expect("directory");
    std::fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).expect("mode");
    std::fs::write(closed.path().join("warder-secret"), "warder-planted").expect("plant");

    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    for Secret(path) in &secrets {
        let (code, output) = running.sh(&format!("cat {0} || ls -la {0}", path.display()));
        assert_ne!(code, 0, "{} is visible: {output}", path.display());
    }
    let (code, _) = running.sh(&format!("ls {}", closed.path().display()));
    assert_ne!(code, 0, "a closed directory is visible");
    // By any path, and in any file system but proc.
    let found = running.ok("find / -path /proc -prune -o -name '*warder-secret*' -print -o -name 'warder-closed*' -print");
    assert_eq!(
        found,
        shown.0.display().to_string(),
        "readable by everyone, so shared"
    );
    assert_eq!(
        running.ok(&format!("cat {}", shown.0.display())),
        "warder-planted"
    );
    // Nor does any table name a directory of this instance or of the host.
    let tables = running.ok("cat /proc/self/mountinfo /proc/self/mounts /proc/1/mountinfo; readlink /proc/1/exe /proc/1/cwd /proc/1/root; cat /proc/1/maps /proc/self/cgroup");
    let dir = instance.dir.path().to_str().expect("plain name");
    for host in [dir, "ext4", "/dev/vda", "warder_", "target"] {
        assert!(!tables.contains(host), "{host} shows in\n{tables}");
    }
    instance.end(running);
}

pub(crate) fn its_own_names_and_numbers() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    let first = instance.users.range().first;
    assert_eq!(running.ok("id -u; id -G"), "0\n0");
    assert_eq!(
        running.sh_user("id -un; pwd; echo ~"),
        (0, "user\n/\n/home/user".into())
    );
    assert_eq!(running.ok("hostname"), running.sandbox.as_str());
    assert_eq!(running.ok("cat /etc/hostname"), running.sandbox.as_str());
    assert_eq!(
        running.ok("getent hosts $(hostname) | cut -d' ' -f1"),
        "127.0.1.1"
    );
    assert_eq!(running.ok("cat /etc/resolv.conf"), "nameserver 192.0.2.53");
    assert_eq!(
        running.ok("tr -s ' ' < /proc/self/uid_map"),
        format!(" 0 {first} 65536")
    );
    assert_eq!(
        running
            .ok("stat -c %u:%g:%a / /usr /etc /tmp /home/user /root")
            .replace('\n', " "),
        "0:0:755 0:0:755 0:0:755 0:0:1777 1000:1000:755 0:0:700"
    );
    assert_eq!(
        running.ok("ls /sys/class/net; cat /sys/class/net/lo/operstate"),
        "lo\nunknown"
    );
    assert_eq!(
        running.ok("ls /dev"),
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"
    );
    assert_eq!(
        running.ok("python3 -c 'import pty,os; m,s=pty.openpty(); print(os.ttyname(s))'"),
        "/dev/pts/0"
    );
    // The agent has nothing but what it was given: 0 to 2 and its listener (4 and 5 are this test's own).
    assert_eq!(
        running.ok(
            "readlink /proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/2; readlink /proc/1/fd/3 | cut -c1-7"
        ),
        "/dev/null\n/dev/null\n/dev/null\nsocket:"
    );
    assert_eq!(running.ok("tr '\\0' '\\n' < /proc/1/environ"), "");
    // On the host its files belong to its range.
    assert_eq!(running.sh_user("touch /home/user/mine").0, 0);
    use std::os::unix::fs::MetadataExt;
    let file = instance
        .dir
        .path()
        .join(format!("cells/{}/up/home/user/mine", running.sandbox));
    assert_eq!(
        std::fs::metadata(file).expect("upper file").uid(),
        first + 1000
    );
    instance.end(running);
}

pub(crate) fn host_programs_work() {
    let mut instance = Instance::with_base();
    let running = instance.cell(&LIMITS);
    assert_eq!(running.sh_user("sudo -n id -u"), (0, "0".into()));
    assert_eq!(
        running.sh_user("sudo -n -u user id -un"),
        (0, "user".into())
    );
    assert_eq!(running.sh("su user -c 'id -un'"), (0, "user".into()));
    assert_ne!(
        running.sh_user("su root -c true < /dev/null").0,
        0,
        "no password opens root"
    );
    for program in [
        "bash --version",
        "git --version",
        "python3 --version",
        "node --version",
        "curl --version",
        "perl -v",
    ] {
        let (code, output) = running.sh_user(program);
        assert_eq!(code, 0, "{program}: {output}");
    }
    let repository = "cd /home/user && git init -q r && cd r && touch a && git add a && git -c user.name=a -c user.email=a@b commit -qm x && git log --oneline | wc -l";
    assert_eq!(running.sh_user(repository), (0, "1".into()));
    assert_eq!(running.sh_user("python3 -c 'import ssl, sqlite3, ctypes, multiprocessing as m; q = m.Queue(); q.put(7); print(q.get())'"), (0, "7".into()));
    assert_eq!(
        running.sh_user(
            "python3 -c 'import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)'"
        ),
        (0, "True".into())
    );
    // Root in the sandbox may replace what it shares.
    assert_eq!(
        running.ok("echo echo mine > /usr/local/bin/mine && chmod +x /usr/local/bin/mine && mine"),
        "mine"
    );
    assert_eq!(
        running.ok("mv /usr/share/zoneinfo /usr/share/moved && ls /usr/share/moved/Etc/UTC"),
        "/usr/share/moved/Etc/UTC"
    );
    assert_eq!(
        running.ok("rm /usr/bin/perl && ls /usr/bin/perl 2>&1 || true"),
        "ls: cannot access '/usr/bin/perl': No such file or directory"
    );
    // A port below 1024 is the network namespace's setting; killing and tracing are root's own.
    assert_eq!(running.ok("sleep 100 & kill $!; wait $!; echo $?"), "143");
    instance.end(running);
    assert!(std::fs::metadata("/usr/bin/perl").is_ok());
}

pub(crate) fn changes_stay_inside() {
    let mut instance = Instance::with_base();
    let one = instance.cell(&LIMITS);
    one.ok("echo secret > /etc/only-one; echo secret > /usr/local/only-one; echo x >> /etc/passwd; rm -r /var/tmp");
    let two = instance.cell(&LIMITS);
    assert_eq!(two.ok("ls /etc/only-one /usr/local/only-one 2>/dev/null | wc -l; tail -c 5 /etc/passwd; ls -d /var/tmp"), "0\nbash\n/var/tmp");
    two.cell
        .process
        .signal(warder_linux::process::Signal::Kill)
        .expect("kill");
    crate::support::ended(&two.cell.process);
    let _ = two.cell.process.try_wait().expect("wait");
    while !instance
        .controllers
        .remove_leftovers(&two.sandbox)
        .expect("remove")
    {}
    instance.store.discard(&two.sandbox).expect("discard");
    assert_eq!(one.ok("cat /etc/only-one"), "secret");
    instance.end(one);
}
