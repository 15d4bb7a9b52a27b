//! `filesystem.Filesystem` without watches, against the real agent.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use common::{Envd, Response};
use serde_json::{Value, json};

fn call(envd: &Envd, method: &str, message: &Value) -> Response {
    envd.unary(&format!("filesystem.Filesystem/{method}"), message)
}

fn refused(answer: &Response) -> (u16, String) {
    (answer.status, answer.code())
}

/// `root` or `wheel` (group(5)).
fn group_of_root() -> String {
    let groups = fs::read_to_string("/etc/group").expect("groups");
    let mut lines = groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2) == Some(&"0"));
    line.expect("group 0")[0].to_owned()
}

#[test]
fn stat_says_what_a_path_is() {
    let envd = Envd::start();
    let path = envd.path_text("f.txt");
    fs::write(&path, "12345").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
    let about = fs::metadata(&path).expect("there");
    let entry = call(&envd, "Stat", &json!({"path": path})).json()["entry"].clone();
    let time: warder_connect::Timestamp = entry["modifiedTime"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("RFC 3339");
    assert_eq!(time.seconds, about.mtime());
    let mut rest = entry.as_object().expect("an object").clone();
    rest.remove("modifiedTime");
    assert_eq!(
        Value::Object(rest),
        json!({"name": "f.txt", "type": "FILE_TYPE_FILE", "path": path, "size": "5", "mode": 0o640, "permissions": "-rw-r-----", "owner": "root", "group": group_of_root()})
    );
    let root = call(&envd, "Stat", &json!({"path": "/"})).json()["entry"].clone();
    assert_eq!(
        (root["path"].as_str(), root["type"].as_str()),
        (Some("/"), Some("FILE_TYPE_DIRECTORY"))
    );
    assert_eq!(
        refused(&call(&envd, "Stat", &json!({"path": format!("{path}x")}))),
        (404, "not_found".into())
    );
    assert_eq!(
        refused(&call(&envd, "Stat", &json!({"path": format!("{path}/x")}))),
        (404, "not_found".into())
    );
    assert_eq!(
        refused(&call(&envd, "Stat", &json!({"path": "a\u{0}"}))),
        (400, "invalid_argument".into())
    );
    assert_eq!(
        refused(&call(&envd, "Stat", &json!({"path": "x".repeat(5000)}))),
        (400, "invalid_argument".into())
    );
    let answer = envd.unary_as("who", "filesystem.Filesystem/Stat", &json!({"path": path}));
    assert_eq!(
        answer.json(),
        json!({"code": "unauthenticated", "message": "invalid username: 'who'"})
    );
    assert_eq!(answer.status, 401);
}

#[test]
fn directories_are_made_for_the_user() {
    let envd = Envd::start();
    let path = envd.path_text("a/b");
    let made = envd.unary_as(
        "nobody",
        "filesystem.Filesystem/MakeDir",
        &json!({"path": path}),
    );
    assert_eq!(made.json()["entry"]["owner"], "nobody");
    let about = fs::metadata(envd.path("a")).expect("there");
    assert_eq!((about.uid(), about.mode() & 0o777), (65534, 0o755));
    assert_eq!(
        refused(&call(&envd, "MakeDir", &json!({"path": path}))),
        (409, "already_exists".into())
    );
    fs::write(envd.path("f"), "").expect("written");
    for bad in ["f", "f/below"] {
        assert_eq!(
            refused(&call(
                &envd,
                "MakeDir",
                &json!({"path": envd.path_text(bad)})
            )),
            (400, "invalid_argument".into())
        );
    }
}

#[test]
fn moving_makes_parents_and_removing_is_thorough() {
    let envd = Envd::start();
    fs::create_dir_all(envd.path("d/e")).expect("dirs");
    fs::write(envd.path("d/e/f"), "x").expect("written");
    let (from, to) = (envd.path_text("d"), envd.path_text("new/place"));
    let moved = call(&envd, "Move", &json!({"source": from, "destination": to}));
    assert_eq!(moved.json()["entry"]["path"], json!(to));
    assert!(envd.path("new/place/e/f").exists() && !envd.path("d").exists());
    assert_eq!(
        refused(&call(
            &envd,
            "Move",
            &json!({"source": from, "destination": to})
        )),
        (404, "not_found".into())
    );
    assert_eq!(
        call(&envd, "Remove", &json!({"path": envd.path_text("new")})).json(),
        json!({})
    );
    assert!(!envd.path("new").exists());
    assert_eq!(
        call(&envd, "Remove", &json!({"path": envd.path_text("new")})).status,
        200
    );
    // A link goes, not what it leads to.
    fs::create_dir(envd.path("kept")).expect("dir");
    symlink("kept", envd.path("link")).expect("link");
    assert_eq!(
        call(&envd, "Remove", &json!({"path": envd.path_text("link")})).status,
        200
    );
    assert!(envd.path("kept").exists() && !envd.path("link").exists());
    assert_eq!(call(&envd, "Remove", &json!({"path": "/"})).status, 400);
}

#[test]
fn moving_crosses_file_systems() {
    let envd = Envd::start();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    fs::create_dir(envd.path("d")).expect("dir");
    fs::write(envd.path("d/f"), "x").expect("written");
    let to = other.path().join("d");
    let answer = call(
        &envd,
        "Move",
        &json!({"source": envd.path_text("d"), "destination": to}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fs::read(to.join("f")).expect("there"), b"x");
    assert!(!envd.path("d").exists());
}

#[test]
fn listing_walks_in_order_to_the_depth_asked_for() {
    let envd = Envd::start();
    for file in ["b/y/deep", "b/x", "a", "c/z"] {
        let path = envd.path("l").join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("dirs");
        fs::write(path, "").expect("written");
    }
    symlink("b", envd.path("l/link")).expect("link");
    symlink("l", envd.path("to-l")).expect("link");
    symlink("me", envd.path("me")).expect("link");
    let list = |path: &str, depth: u32| {
        let entries = call(
            &envd,
            "ListDir",
            &json!({"path": envd.path_text(path), "depth": depth}),
        )
        .json()["entries"]
            .clone();
        let base = format!("{}/", envd.path_text(path));
        let names = entries
            .as_array()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .map(|entry| {
                entry["path"]
                    .as_str()
                    .and_then(|path| path.strip_prefix(&base))
                    .expect("below")
                    .to_owned()
            });
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list("l", 0), "a b c link");
    assert_eq!(list("l", 1), "a b c link");
    assert_eq!(list("l", 2), "a b b/x b/y c c/z link");
    assert_eq!(list("l", 9), "a b b/x b/y b/y/deep c c/z link");
    assert_eq!(list("to-l", 1), "a b c link");
    assert_eq!(
        refused(&call(
            &envd,
            "ListDir",
            &json!({"path": envd.path_text("l/a")})
        )),
        (400, "invalid_argument".into())
    );
    assert_eq!(
        refused(&call(
            &envd,
            "ListDir",
            &json!({"path": envd.path_text("none")})
        )),
        (404, "not_found".into())
    );
    assert_eq!(
        refused(&call(
            &envd,
            "ListDir",
            &json!({"path": envd.path_text("me")})
        )),
        (400, "failed_precondition".into())
    );
}
