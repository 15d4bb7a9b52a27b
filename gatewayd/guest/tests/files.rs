//! `/files`, against the real agent.

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use base64::Engine as _;
use common::{Envd, Response};
use serde_json::json;
use sha2::Digest as _;

fn put(envd: &Envd, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut all = vec![("content-type", "application/octet-stream")];
    all.extend(headers);
    envd.request("POST", &format!("/files?path={path}"), &all, body)
}

fn get(envd: &Envd, path: &str, headers: &[(&str, &str)]) -> Response {
    envd.request("GET", &format!("/files?path={path}"), headers, b"")
}

fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, filename, content) in parts {
        body.extend(format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: application/octet-stream\r\n\r\n").bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--xyz--\r\n");
    body
}

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

#[test]
fn what_is_written_is_read() {
    let envd = Envd::start();
    let path = envd.path_text("a/b/file.txt");
    let answer = put(&envd, &path, &[], b"content");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json(),
        json!([{"path": path, "name": "file.txt", "type": "file"}])
    );
    let read = get(&envd, &path, &[]);
    assert_eq!((read.status, read.body.as_slice()), (200, &b"content"[..]));
    assert_eq!(
        read.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        read.header("content-disposition"),
        Some("inline; filename=file.txt")
    );
    assert_eq!(read.header("vary"), Some("Accept-Encoding"));
    assert!(read.header("last-modified").is_some());
    let about = fs::metadata(&path).expect("there");
    assert_eq!(about.mode() & 0o777, 0o644);
    assert_eq!(
        fs::metadata(envd.path("a")).expect("there").mode() & 0o777,
        0o755
    );
}

#[test]
fn files_belong_to_the_user_and_keep_their_mode() {
    let envd = Envd::start();
    fs::set_permissions(envd.dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let path = envd.path_text("f");
    fs::write(&path, "longer content").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
    let answer = put(&envd, &format!("{path}&username=nobody"), &[], b"short");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let about = fs::metadata(&path).expect("there");
    assert_eq!(
        (about.uid(), about.mode() & 0o777, about.len()),
        (65534, 0o600, 5)
    );
    put(
        &envd,
        &format!("{}&username=nobody", envd.path_text("new/dir/f")),
        &[],
        b"",
    );
    assert_eq!(fs::metadata(envd.path("new")).expect("there").uid(), 65534);
    assert_eq!(
        fs::metadata(envd.path("new/dir")).expect("there").uid(),
        65534
    );
    let unknown = put(&envd, &format!("{path}&username=who"), &[], b"");
    assert_eq!(
        unknown.json(),
        json!({"code": 401, "message": "error looking up user 'who': user: unknown user who"})
    );
}

#[test]
fn empty_large_and_endless_files_are_read_whole() {
    let envd = Envd::start();
    put(&envd, &envd.path_text("empty"), &[], b"");
    let empty = get(&envd, &envd.path_text("empty"), &[]);
    assert_eq!(
        (empty.status, empty.header("content-length")),
        (200, Some("0"))
    );
    let large: Vec<u8> = (0..5_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    assert_eq!(
        put(&envd, &envd.path_text("large"), &[], &large).status,
        200
    );
    let read = get(&envd, &envd.path_text("large"), &[]);
    assert_eq!(read.header("content-length"), Some("5000000"));
    assert!(read.body == large);
    if !common::has_proc() {
        return;
    }
    let boot = get(&envd, "/proc/sys/kernel/random/boot_id", &[]);
    assert_eq!(
        boot.text(),
        fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("proc")
    );
    let stat = get(&envd, "/proc/self/maps", &[]);
    assert!(stat.text().contains("[stack]") && stat.body.len() > 1000);
    // Files of /sys say 4096 and hold less.
    let sys = get(&envd, "/sys/kernel/mm/transparent_hugepage/enabled", &[]);
    assert!(!sys.cut && sys.text().contains("never"), "{}", sys.text());
}

#[test]
fn forms_write_one_or_many_files() {
    let envd = Envd::start();
    let one = form(&[
        ("other", "ignored", b"x"),
        ("file", "ignored", b"\r\n--xy\r\n"),
    ]);
    let path = envd.path_text("one");
    let answer = envd.request("POST", &format!("/files?path={path}"), &[FORM], &one);
    assert_eq!(
        answer.json(),
        json!([{"path": path, "name": "one", "type": "file"}])
    );
    assert_eq!(fs::read(&path).expect("there"), b"\r\n--xy\r\n");
    let (a, b) = (envd.path_text("d/a"), envd.path_text("d/\u{fc} b"));
    let answer = envd.request(
        "POST",
        "/files",
        &[FORM],
        &form(&[("file", &a, b"A"), ("file", &b, b"B")]),
    );
    assert_eq!(answer.json()[1]["path"], json!(b));
    assert_eq!(
        (fs::read(&a).expect("there"), fs::read(&b).expect("there")),
        (b"A".to_vec(), b"B".to_vec())
    );
    let twice = form(&[("file", &a, b"1"), ("file", &a, b"2")]);
    assert_eq!(envd.request("POST", "/files", &[FORM], &twice).status, 400);
    assert_eq!(
        envd.request(
            "POST",
            &format!("/files?path={a}"),
            &[FORM],
            &form(&[("file", "x", b"1"), ("file", "y", b"2")])
        )
        .status,
        400
    );
    assert_eq!(
        envd.request("POST", "/files", &[FORM], &form(&[("file", "", b"1")]))
            .status,
        400
    );
    assert_eq!(
        envd.request("POST", "/files", &[FORM], b"no form").status,
        400
    );
    assert_eq!(
        envd.request("POST", "/files", &[("content-type", "text/plain")], b"x")
            .status,
        400
    );
    assert_eq!(put(&envd, "", &[], b"x").status, 400);
}

#[test]
fn errors_name_the_path() {
    let envd = Envd::start();
    let dir = envd.path_text("");
    let shown = dir.trim_end_matches('/');
    let read = get(&envd, &dir, &[]);
    assert_eq!(
        read.json(),
        json!({"code": 400, "message": format!("path '{shown}' is a directory")})
    );
    let missing = envd.path_text("missing");
    assert_eq!(
        get(&envd, &missing, &[]).json(),
        json!({"code": 404, "message": format!("path '{missing}' does not exist")})
    );
    assert_eq!(put(&envd, &dir, &[], b"x").status, 400);
    fs::write(envd.path("f"), "x").expect("written");
    assert_eq!(
        put(&envd, &envd.path_text("f/below"), &[], b"x").status,
        400
    );
    assert_eq!(get(&envd, "~root/x", &[]).status, 400);
    assert_eq!(get(&envd, "/dev/zero", &[]).status, 400);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        envd.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("a pipe");
    assert_eq!(get(&envd, &envd.path_text("pipe"), &[]).status, 400);
    assert_eq!(put(&envd, &envd.path_text("pipe"), &[], b"x").status, 400);
    symlink("loop", envd.path("loop")).expect("a link");
    assert_eq!(get(&envd, &envd.path_text("loop"), &[]).status, 400);
}

#[test]
fn a_full_disk_is_507_and_leaves_the_old_content() {
    let envd = Envd::start();
    let small = envd.path_text("small");
    fs::create_dir(&small).expect("dir");
    // A file system of our own, seen by the agent alone.
    let pid = envd.pid();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", &small])
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        return;
    }
    let path = format!("{small}/f");
    assert_eq!(put(&envd, &path, &[], b"old").status, 200);
    let big = vec![7; 3_000_000];
    let early = put(&envd, &path, &[], &big);
    let kept = fs::read(&path).expect("there");
    let (a, b) = (format!("{small}/a"), format!("{small}/b"));
    let late = envd.request(
        "POST",
        "/files",
        &[FORM],
        &form(&[("file", &a, &big), ("file", &b, b"x")]),
    );
    let unmounted = std::process::Command::new("umount").arg(&small).status();
    assert!(
        unmounted.is_ok_and(|status| status.success()),
        "agent {pid} holds nothing open"
    );
    assert_eq!(
        (early.status, early.json()["code"].as_u64()),
        (507, Some(507))
    );
    assert_eq!(kept, b"old");
    assert_eq!(late.status, 507);
}

#[test]
fn ranges_and_conditions() {
    let envd = Envd::start();
    let path = envd.path_text("f");
    let content: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    fs::write(&path, &content).expect("written");
    let part = get(
        &envd,
        &path,
        &[
            ("range", "bytes=200000-200099"),
            ("accept-encoding", "gzip"),
        ],
    );
    assert_eq!(
        (part.status, part.header("content-range")),
        (206, Some("bytes 200000-200099/300000"))
    );
    assert!(part.body == content[200_000..200_100] && part.header("content-encoding").is_none());
    assert!(get(&envd, &path, &[("range", "bytes=-5")]).body == content[299_995..]);
    let outside = get(&envd, &path, &[("range", "bytes=300000-")]);
    assert_eq!(
        (outside.status, outside.header("content-range")),
        (416, Some("bytes */300000"))
    );
    let modified = get(&envd, &path, &[])
        .header("last-modified")
        .expect("a date")
        .to_owned();
    assert_eq!(
        get(&envd, &path, &[("if-modified-since", &modified)]).status,
        304
    );
    assert_eq!(
        get(
            &envd,
            &path,
            &[("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")]
        )
        .status,
        412
    );
}

#[test]
fn gzip_both_ways() {
    let envd = Envd::start();
    let path = envd.path_text("f");
    let content = b"compressible ".repeat(50_000);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&content).expect("encodes");
    let compressed = encoder.finish().expect("encodes");
    assert_eq!(
        put(&envd, &path, &[("content-encoding", "gzip")], &compressed).status,
        200
    );
    assert!(fs::read(&path).expect("there") == content);
    let read = get(&envd, &path, &[("accept-encoding", "gzip")]);
    assert_eq!(read.header("content-encoding"), Some("gzip"));
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(&read.body).expect("gzip");
    assert!(decoder.finish().expect("gzip") == content);
    assert!(get(&envd, &path, &[("accept-encoding", "gzip, deflate")]).body == content);
    assert_eq!(
        get(&envd, &path, &[("accept-encoding", "br, identity;q=0")]).status,
        406
    );
    assert_eq!(
        put(&envd, &path, &[("content-encoding", "gzip")], b"nonsense").status,
        400
    );
    assert_eq!(
        put(
            &envd,
            &path,
            &[("content-encoding", "gzip")],
            &compressed[..compressed.len() / 2]
        )
        .status,
        400
    );
    assert_eq!(
        put(&envd, &path, &[("content-encoding", "br")], b"x").status,
        400
    );
    let empty = envd.path_text("empty");
    put(&envd, &empty, &[], b"");
    let read = get(&envd, &empty, &[("accept-encoding", "gzip")]);
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(&read.body).expect("gzip");
    assert_eq!(decoder.finish().expect("gzip"), b"");
}

#[test]
fn metadata_stays_with_the_file_until_the_next_upload() {
    let envd = Envd::start();
    let path = envd.path_text("f");
    let answer = put(
        &envd,
        &path,
        &[("X-Metadata-Author", "me"), ("x-metadata-k", "v w")],
        b"x",
    );
    assert_eq!(
        answer.json()[0]["metadata"],
        json!({"author": "me", "k": "v w"})
    );
    let stat = |path: &str| {
        envd.unary("filesystem.Filesystem/Stat", &json!({"path": path}))
            .json()["entry"]["metadata"]
            .clone()
    };
    assert_eq!(stat(&path), json!({"author": "me", "k": "v w"}));
    put(&envd, &path, &[("x-metadata-k", "2")], b"x");
    assert_eq!(stat(&path), json!({"k": "2"}));
    let moved = envd.path_text("g");
    envd.unary(
        "filesystem.Filesystem/Move",
        &json!({"source": path, "destination": moved}),
    );
    assert_eq!(stat(&moved), json!({"k": "2"}));
    put(&envd, &moved, &[], b"x");
    assert!(stat(&moved).is_null());
    assert_eq!(
        put(&envd, &path, &[("x-metadata-k", "\u{e9}")], b"x").status,
        400
    );
    assert_eq!(
        put(&envd, &path, &[("x-metadata-k", &"v".repeat(5000))], b"x").status,
        400
    );
}

#[test]
fn signatures_stand_in_for_the_token() {
    let envd = Envd::start();
    assert_eq!(
        envd.control("POST", "/init", &[], br#"{"accessToken":"secret"}"#)
            .status,
        204
    );
    let path = envd.path_text("f");
    let sign = |text: String| {
        let hash =
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(sha2::Sha256::digest(text));
        format!("v1_{hash}").replace('+', "%2B").replace('/', "%2F")
    };
    let message = |answer: Response| {
        assert_eq!(answer.status, 401, "{}", answer.text());
        answer.json()["message"].as_str().expect("text").to_owned()
    };
    assert_eq!(
        message(get(&envd, &path, &[])),
        "missing signature query parameter"
    );
    let write = sign(format!("{path}:write:root:secret"));
    let query = format!("{path}&username=root&signature={write}");
    assert_eq!(put(&envd, &query, &[], b"signed").status, 200);
    assert_eq!(message(get(&envd, &query, &[])), "invalid signature");
    let later = 4_000_000_000_u64;
    let read = sign(format!("{path}:read::secret:{later}"));
    assert_eq!(
        get(
            &envd,
            &format!("{path}&signature={read}&signature_expiration={later}"),
            &[]
        )
        .text(),
        "signed"
    );
    assert_eq!(
        message(get(&envd, &format!("{path}&signature={read}"), &[])),
        "invalid signature"
    );
    let read = sign(format!("{path}:read::secret:1"));
    let expired = format!("{path}&signature={read}&signature_expiration=1");
    assert_eq!(
        message(get(&envd, &expired, &[])),
        "signature is already expired"
    );
    assert_eq!(
        get(&envd, &path, &[("x-access-token", "secret")]).text(),
        "signed"
    );
    assert_eq!(
        envd.request("POST", "/files/compose", &[], b"{}").status,
        401
    );
}

#[test]
fn composing_joins_and_removes() {
    let envd = Envd::start();
    let compose = |sources: &[&str], destination: &str| {
        let body = json!({"source_paths": sources.iter().map(|s| envd.path_text(s)).collect::<Vec<_>>(), "destination": envd.path_text(destination)});
        envd.request(
            "POST",
            "/files/compose",
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    };
    fs::write(envd.path("1"), "one ").expect("written");
    fs::write(envd.path("2"), "two").expect("written");
    assert_eq!(compose(&["1", "missing"], "d/out").status, 404);
    assert!(envd.path("1").exists() && !envd.path("d/out").exists());
    assert_eq!(compose(&["1"], "1").status, 400);
    assert_eq!(compose(&[], "out").status, 400);
    let answer = compose(&["1", "2"], "d/out");
    assert_eq!(
        answer.json(),
        json!({"path": envd.path_text("d/out"), "name": "out", "type": "file"})
    );
    assert_eq!(
        fs::read_to_string(envd.path("d/out")).expect("there"),
        "one two"
    );
    assert!(!envd.path("1").exists() && !envd.path("2").exists());
}

#[test]
fn uploads_that_stop_half_way_end_and_chunked_ones_work() {
    let envd = Envd::start();
    let path = envd.path_text("f");
    let headers = [
        ("content-type", "application/octet-stream"),
        ("transfer-encoding", "chunked"),
    ];
    let target = format!("/files?path={path}");
    let answer = envd.request(
        "POST",
        &target,
        &headers,
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fs::read(&path).expect("there"), b"abcde");
    let mut stream = envd.stream(warder_wire::link::Role::Client);
    common::send(
        &mut stream,
        "POST",
        &target,
        &headers,
        b"3\r\nabc\r\n5\r\nde",
    );
    drop(stream);
    let descriptors = || common::descriptors(envd.pid()).contains(&path);
    let began = std::time::Instant::now();
    while descriptors() {
        assert!(began.elapsed().as_secs() < 5, "the file stays open");
    }
    assert_eq!(envd.get("/health").status, 204);
}
