//! `/volume/…`, against the real agent.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use common::{Envd, Response};
use serde_json::json;

struct Volume {
    envd: Envd,
    root: String,
}

impl Volume {
    fn new() -> Self {
        let envd = Envd::start();
        fs::create_dir(envd.path("v")).expect("made");
        std::os::unix::fs::chown(envd.path("v"), Some(1000), Some(1000)).expect("root");
        let root = envd.path_text("v");
        Self { envd, root }
    }

    fn ask(&self, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Response {
        let mut headers = vec![("x-volume-root", self.root.as_str())];
        headers.extend(more);
        self.envd
            .control(method, &format!("/volume/{path}"), &headers, body)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.envd.path("v").join(name)
    }
}

#[test]
fn files_directories_and_what_they_are() {
    let volume = Volume::new();
    let put = volume.ask("PUT", "file?path=/a.txt", &[], b"content");
    assert_eq!(put.status, 201, "{}", put.text());
    let entry = put.json();
    assert_eq!(
        (
            &entry["name"],
            &entry["path"],
            &entry["type"],
            &entry["size"]
        ),
        (&json!("a.txt"), &json!("/a.txt"), &json!("file"), &json!(7))
    );
    assert_eq!(
        (&entry["mode"], &entry["uid"], &entry["gid"]),
        (&json!(0o644), &json!(1000), &json!(1000)),
        "the owner of the directory it is in"
    );
    for time in ["atime", "mtime", "ctime"] {
        assert!(entry[time].as_str().is_some_and(|t| t.ends_with('Z')));
    }
    let read = volume.ask("GET", "file?path=a.txt", &[], b"");
    assert_eq!((read.status, read.body.as_slice()), (200, &b"content"[..]));
    let part = volume.ask("GET", "file?path=a.txt", &[("range", "bytes=1-3")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &b"ont"[..]));

    // Overwritten unless that is refused; owner and mode stay, or become what is asked for.
    let kept = volume.ask("PUT", "file?path=/a.txt&force=false", &[], b"x");
    assert_eq!(
        (kept.status, &kept.json()["code"]),
        (409, &json!("conflict"))
    );
    let put = volume.ask("PUT", "file?path=/a.txt&uid=7&gid=8&mode=384", &[], b"xy");
    assert_eq!(put.json()["mode"], json!(0o600));
    let again = volume.ask("PUT", "file?path=/a.txt", &[], b"").json();
    assert_eq!(
        (&again["uid"], &again["gid"], &again["mode"], &again["size"]),
        (&json!(7), &json!(8), &json!(0o600), &json!(0))
    );
    assert_eq!(volume.ask("PUT", "file?path=/no/b", &[], b"x").status, 404);
    let put = volume.ask("PUT", "file?path=/no/b&force=true&uid=5", &[], b"x");
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(fs::metadata(volume.path("no")).expect("made").uid(), 5);

    let dir = volume.ask("POST", "dir?path=/d&mode=448", &[], b"");
    assert_eq!(
        (dir.status, &dir.json()["type"]),
        (201, &json!("directory"))
    );
    assert_eq!(dir.json()["mode"], json!(0o700));
    assert_eq!(volume.ask("POST", "dir?path=/d", &[], b"").status, 409);
    assert_eq!(
        volume
            .ask("POST", "dir?path=/d&force=true", &[], b"")
            .status,
        201
    );
    assert_eq!(
        volume
            .ask("POST", "dir?path=/a.txt&force=true", &[], b"")
            .status,
        409
    );
    assert_eq!(volume.ask("POST", "dir?path=/x/y/z", &[], b"").status, 404);
    assert_eq!(
        volume
            .ask("POST", "dir?path=/x/y/z&force=true", &[], b"")
            .status,
        201
    );

    let list = |depth: &str| {
        let answer = volume.ask("GET", &format!("dir?path=/{depth}"), &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let all = answer.json();
        let all = all.as_array().expect("a list");
        all.iter()
            .map(|e| e["path"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(""), ["/a.txt", "/d", "/no", "/x"]);
    assert_eq!(
        list("&depth=2"),
        ["/a.txt", "/d", "/no", "/no/b", "/x", "/x/y"]
    );
    let below = volume.ask("GET", "dir?path=/x/&depth=9", &[], b"").json();
    assert_eq!(below[1]["path"], "/x/y/z");
    assert_eq!(volume.ask("GET", "dir?path=/a.txt", &[], b"").status, 400);
    assert_eq!(volume.ask("GET", "dir?path=/nothing", &[], b"").status, 404);
    assert_eq!(
        volume.ask("GET", "path?path=/", &[], b"").json()["type"],
        "directory"
    );

    let patch = |path: &str, body: &str| {
        volume.ask("PATCH", &format!("path?path={path}"), &[], body.as_bytes())
    };
    let changed = patch("/d", r#"{"uid": 3, "mode": 511}"#);
    assert_eq!(
        (
            changed.status,
            &changed.json()["uid"],
            &changed.json()["mode"]
        ),
        (200, &json!(3), &json!(0o777))
    );
    assert_eq!(patch("/d", r#"{"mode": 4096}"#).status, 400);
    assert_eq!(patch("/d", "[]").status, 400);
    assert_eq!(patch("/nothing", "{}").status, 404);

    let remove = |path: &str| {
        volume
            .ask("DELETE", &format!("path?path={path}"), &[], b"")
            .status
    };
    assert_eq!(
        (remove("/x"), remove("/a.txt"), remove("/a.txt")),
        (204, 204, 404)
    );
    assert_eq!(remove("/"), 400);
    assert_eq!(list(""), ["/d", "/no"]);
    assert_eq!(volume.ask("GET", "file?path=/d", &[], b"").status, 400);
    assert_eq!(volume.ask("PUT", "file?path=/d", &[], b"").status, 400);
}

#[test]
fn links_lead_nowhere_outside() {
    let volume = Volume::new();
    fs::write(volume.envd.path("secret"), "outside").expect("written");
    let outside = volume.envd.path_text("secret");
    symlink(&outside, volume.path("absolute")).expect("linked");
    symlink("../secret", volume.path("up")).expect("linked");
    symlink("..", volume.path("above")).expect("linked");
    symlink("/proc/self/root", volume.path("magic")).expect("linked");
    for path in [
        "absolute",
        "up",
        "above/secret",
        "../secret",
        "magic/etc/passwd",
        "%2e%2e/secret",
    ] {
        let read = volume.ask("GET", &format!("file?path={path}"), &[], b"");
        assert_eq!(read.status, 404, "{path}: {}", read.text());
    }
    // A file is made where the link leads inside, if anywhere.
    let wrote = volume.ask("PUT", "file?path=up", &[], b"inside");
    assert_eq!(wrote.status, 201, "{}", wrote.text());
    assert_eq!(fs::read(volume.path("secret")).expect("inside"), b"inside");
    assert_eq!(
        fs::read(volume.envd.path("secret")).expect("there"),
        b"outside"
    );

    let entry = volume.ask("GET", "path?path=absolute", &[], b"").json();
    assert_eq!(
        (&entry["type"], &entry["target"]),
        (&json!("symlink"), &json!(outside))
    );
    let patched = volume.ask("PATCH", "path?path=absolute", &[], br#"{"uid": 9}"#);
    assert_eq!((patched.status, &patched.json()["uid"]), (200, &json!(9)));
    assert_eq!(fs::metadata(&outside).expect("there").uid(), 0);
    let refused = volume.ask("PATCH", "path?path=absolute", &[], br#"{"mode": 511}"#);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (400, &json!("bad_request"))
    );
    let listed = volume
        .ask("GET", "dir?path=above&depth=64", &[], b"")
        .json();
    assert!(!listed.to_string().contains("envd"), "{listed}");
    assert_eq!(
        volume.ask("DELETE", "path?path=above", &[], b"").status,
        204
    );
    assert!(volume.envd.path("secret").exists(), "the link went");
    let fifo = volume.path("pipe");
    let mode = fs::Permissions::from_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("made");
    fs::set_permissions(&fifo, mode).expect("set");
    assert_eq!(volume.ask("GET", "file?path=pipe", &[], b"").status, 400);
    assert_eq!(volume.ask("PUT", "file?path=pipe", &[], b"x").status, 400);
    assert_eq!(
        volume.ask("GET", "path?path=pipe", &[], b"").json()["type"],
        "unknown"
    );
}

#[test]
fn clients_do_not_get_there() {
    let volume = Volume::new();
    let token = r#"{"accessToken": "secret"}"#;
    let set = volume.envd.control("POST", "/init", &[], token.as_bytes());
    assert_eq!(set.status, 204);
    let headers = [("x-volume-root", "/"), ("x-access-token", "secret")];
    let asked = volume
        .envd
        .request("GET", "/volume/path?path=/etc/passwd", &headers, b"");
    assert_eq!(asked.status, 404, "{}", asked.text());
    assert_eq!(volume.ask("GET", "path?path=/", &[], b"").status, 200);
    let bare = volume.envd.control("GET", "/volume/path?path=/", &[], b"");
    assert_eq!(bare.status, 400);
}

/// In small pieces both ways, without holding it all.
#[test]
fn large_files_pass_through() {
    let volume = Volume::new();
    let content: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let put = volume.ask("PUT", "file?path=big", &[], &content);
    assert_eq!(put.json()["size"], json!(content.len()));
    let read = volume.ask("GET", "file?path=big", &[], b"");
    assert!(read.body == content);
    let length = content.len().to_string();
    assert_eq!(read.header("content-length"), Some(length.as_str()));
}
