//! Files through the gateway, and paths that lead elsewhere.

use serde_json::json;

use crate::check::{Bad, Check, Outcome, Row, is, of_rows, that};
use crate::remains::RunDir;
use crate::scene::Scene;

const ROWS: &[Row] = &[
    (
        "round-trip",
        "write and read a megabyte of every byte",
        "the same bytes",
        round_trip,
    ),
    (
        "owner",
        "write as user and as root, look at the owner inside",
        "the owner who wrote",
        owner,
    ),
    ("missing", "read a file that is not there", "404", missing),
    (
        "directories",
        "make, list, move and remove through the agent API",
        "each takes effect",
        directories,
    ),
    (
        "rights",
        "read as user what is root's inside",
        "refused",
        rights,
    ),
    (
        "dots",
        "read /etc/passwd by `..` from everywhere",
        "the sandbox's own, never the host's",
        dots,
    ),
    (
        "links",
        "read and write through symbolic links to the host's paths",
        "the sandbox's own files, never the host's",
        links,
    ),
    (
        "link-races",
        "read and write while names are swapped for links",
        "never the host's file",
        link_races,
    ),
    (
        "devices",
        "read a device and a FIFO as if they were files",
        "an answer, not a gateway that waits",
        devices,
    ),
];

pub(super) fn checks() -> Vec<Check> {
    of_rows("files", ROWS)
}

fn round_trip(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let content: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    stack.upload(&sandbox, "user", "/home/user/some file", &content)?;
    let answer = stack.download(&sandbox, "user", "/home/user/some file")?;
    is("status", &answer.status, &200)?;
    that(answer.body == content, || {
        format!("{} other bytes", answer.body.len())
    })?;
    Ok("1048576 bytes".to_owned())
}

fn owner(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let mut seen = Vec::new();
    for user in ["user", "root"] {
        let path = format!("/tmp/owned-by-{user}");
        stack.upload(&sandbox, user, &path, b"x")?;
        let told = stack.said(&sandbox, "root", &format!("ls -l {path}"))?;
        is("owner", &told.split_whitespace().nth(2), &Some(user))?;
        seen.push(user);
    }
    Ok(seen.join(", "))
}

fn missing(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    is(
        "status",
        &scene
            .stack()?
            .download(&sandbox, "user", "/no/such/file")?
            .status,
        &404,
    )?;
    Ok("404".to_owned())
}

fn directories(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let call =
        |what: &str, body| stack.agent(&sandbox, &format!("/filesystem.Filesystem/{what}"), &body);
    is(
        "MakeDir",
        &call("MakeDir", json!({ "path": "/home/user/a/b" }))?.status,
        &200,
    )?;
    stack.upload(&sandbox, "user", "/home/user/a/b/c", b"1")?;
    let moved = call(
        "Move",
        json!({ "source": "/home/user/a/b/c", "destination": "/home/user/a/d" }),
    )?;
    is("Move", &moved.status, &200)?;
    let list = call("ListDir", json!({ "path": "/home/user/a", "depth": 1 }))?.json();
    let mut names: Vec<_> = list["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| e["name"].as_str())
        .collect();
    names.sort_unstable();
    is("names", &names, &vec!["b", "d"])?;
    is(
        "Remove",
        &call("Remove", json!({ "path": "/home/user/a" }))?.status,
        &200,
    )?;
    let gone = call("Stat", json!({ "path": "/home/user/a" }))?.status;
    is("Stat of what is gone", &gone, &404)?;
    Ok("made, listed, moved, removed".to_owned())
}

fn rights(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    stack.said(
        &sandbox,
        "root",
        "echo secret > /root/secret; chmod 600 /root/secret",
    )?;
    let ran = stack.shell(&sandbox, "user", "cat /root/secret")?;
    that(ran.exit != Some(0) && ran.stdout.is_empty(), || {
        format!("{ran:?}")
    })?;
    Ok("refused".to_owned())
}

/// A file on the host with a text that no sandbox has.
struct Planted {
    dir: RunDir,
    word: String,
}

impl Planted {
    fn make() -> Result<Self, Bad> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = RunDir::new()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let word = format!("planted-{}", std::process::id());
        std::fs::write(dir.path().join("file"), &word)?;
        Ok(Self { dir, word })
    }

    fn path(&self) -> String {
        self.dir.path().join("file").display().to_string()
    }

    /// Whether it is still as it was.
    fn whole(&self) -> bool {
        // It and the directory's lock.
        let alone = std::fs::read_dir(self.dir.path()).is_ok_and(|list| list.count() == 2);
        alone && std::fs::read_to_string(self.dir.path().join("file")).is_ok_and(|t| t == self.word)
    }
}

fn dots(scene: &mut Scene) -> Outcome {
    let planted = Planted::make()?;
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    let up = "/..".repeat(40);
    let mut tried = 0;
    for before in [
        "",
        "/home/user",
        "/proc/self/root",
        "/proc/1/cwd",
        "/dev/fd",
        "/tmp",
    ] {
        for path in [
            planted.path(),
            "/etc/passwd".to_owned(),
            "/root/.ssh/authorized_keys".to_owned(),
        ] {
            let answer = stack.download(&sandbox, "root", &format!("{before}{up}{path}"))?;
            that(!answer.text().contains(&planted.word), || {
                format!("{before}{up}{path} is read")
            })?;
            tried += 1;
        }
    }
    // The gateway's own view of the path must not lead anywhere either.
    let answer = stack.download(&sandbox, "root", &format!("%2e%2e%2f{}", planted.path()))?;
    that(!answer.text().contains(&planted.word), || {
        "read by an escape".to_owned()
    })?;
    Ok(format!("{tried} paths, none of the host's"))
}

fn links(scene: &mut Scene) -> Outcome {
    let planted = Planted::make()?;
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    let target = planted.path();
    let up = "../".repeat(30);
    let plant = format!(
        "cd /tmp; ln -s {target} one; ln -s {up}{target} two; ln -s {} three; ln -s /proc/self/root/{target} four; echo planted",
        planted.dir.path().display()
    );
    is(
        "planting",
        &stack.said(&sandbox, "root", &plant)?.as_str(),
        &"planted",
    )?;
    for path in ["/tmp/one", "/tmp/two", "/tmp/three/file", "/tmp/four"] {
        let answer = stack.download(&sandbox, "root", path)?;
        that(!answer.text().contains(&planted.word), || {
            format!("{path} is read")
        })?;
        let target = format!("/files?path={path}&username=root");
        let _ = stack.inside(
            &sandbox,
            49983,
            ("POST", &target),
            "application/octet-stream",
            b"overwritten",
        )?;
    }
    that(planted.whole(), || "the host's file was changed".to_owned())?;
    stack.remove(&sandbox)?;
    that(planted.whole(), || {
        "the host's file went with the sandbox".to_owned()
    })?;
    Ok("none of the host's".to_owned())
}

fn link_races(scene: &mut Scene) -> Outcome {
    let planted = Planted::make()?;
    let stack = scene.stack()?;
    let sandbox = stack.create(&json!({}))?;
    let dir = planted.dir.path().display();
    let swap = format!(
        "mkdir -p /tmp/race; echo mine > /tmp/race/file; \
         (while [ ! -e /tmp/enough ]; do mv /tmp/race /tmp/away; ln -s {dir} /tmp/race; rm /tmp/race; mv /tmp/away /tmp/race; done) \
         </dev/null >/dev/null 2>&1 & echo started"
    );
    is(
        "start",
        &stack.said(&sandbox, "root", &swap)?.as_str(),
        &"started",
    )?;
    for _ in 0..60 {
        let answer = stack.download(&sandbox, "root", "/tmp/race/file")?;
        that(!answer.text().contains(&planted.word), || {
            "the host's file is read".to_owned()
        })?;
        let target = "/files?path=/tmp/race/file&username=root";
        let _ = stack.inside(
            &sandbox,
            49983,
            ("POST", target),
            "application/octet-stream",
            b"overwritten",
        )?;
    }
    let _ = stack.shell(&sandbox, "root", "touch /tmp/enough")?;
    that(planted.whole(), || "the host's file was changed".to_owned())?;
    Ok("60 tries".to_owned())
}

fn devices(scene: &mut Scene) -> Outcome {
    let sandbox = scene.probed()?;
    let stack = scene.stack()?;
    stack.said(&sandbox, "user", "mkfifo /tmp/fifo")?;
    for path in ["/dev/zero", "/tmp/fifo", "/dev"] {
        let answer = stack.download(&sandbox, "user", path)?;
        that(answer.status >= 400, || {
            format!("{path}: {}", answer.status)
        })?;
    }
    is(
        "health",
        &stack.send("GET", "/health", &[], b"")?.status,
        &204,
    )?;
    Ok("refused".to_owned())
}
