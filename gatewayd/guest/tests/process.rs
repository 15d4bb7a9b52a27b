//! `process.Process`, against the real agent.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Envd, Ran, basic, envelope, exchange, shell};
use serde_json::{Value, json};
use warder_wire::link::Role;

fn cat() -> Value {
    json!({"process": {"cmd": "/bin/cat", "cwd": "/"}})
}

fn selector(pid: u64) -> Value {
    json!({"pid": pid})
}

fn kill(envd: &Envd, pid: u64) -> common::Response {
    envd.unary(
        "process.Process/SendSignal",
        &json!({"process": selector(pid), "signal": "SIGNAL_SIGKILL"}),
    )
}

fn input(envd: &Envd, pid: u64, kind: &str, text: &str) -> common::Response {
    let input = json!({ kind: STANDARD.encode(text) });
    envd.unary(
        "process.Process/SendInput",
        &json!({"process": selector(pid), "input": input}),
    )
}

/// Clients that send in chunks often send the last, empty one after they have the whole answer.
#[test]
fn a_connection_goes_on_when_a_request_ends_after_its_answer() {
    let envd = Envd::start();
    let mut stream = envd.stream(Role::Client);
    let headers = [
        ("content-type", "application/connect+json"),
        ("authorization", &basic("root")),
        ("transfer-encoding", "chunked"),
    ];
    let message = envelope(&shell("echo hello"));
    let mut chunk = format!("{:x}\r\n", message.len()).into_bytes();
    chunk.extend_from_slice(&message);
    chunk.extend_from_slice(b"\r\n");
    for (path, status) in [
        ("/process.Process/Start", 200),
        ("/process.Process/NoSuchMethod", 404),
        ("/nowhere", 404),
        ("/process.Process/Start", 200),
    ] {
        let answer = exchange(&mut stream, "POST", path, &headers, &chunk);
        assert_eq!((answer.status, answer.cut), (status, false), "{path}");
        assert_eq!(answer.header("connection"), None);
        stream.write_all(b"0\r\n\r\n").expect("it still listens");
    }
    let answer = exchange(&mut stream, "GET", "/health", &[], b"");
    assert_eq!(answer.status, 204);
}

#[test]
fn a_command_runs_to_its_end() {
    let envd = Envd::start();
    let ran = envd.run("echo out; echo err >&2; exit 3");
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert!(ran.pid > 1);
    assert_eq!(
        ran.end,
        json!({"exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3"})
    );
    assert!(ran.error.is_null(), "{}", ran.error);
    let ran = envd.run("true");
    assert_eq!(ran.end, json!({"exited": true, "status": "exit status 0"}));
}

#[test]
fn environment_directory_and_input_are_as_asked() {
    let envd = Envd::start();
    let set = br#"{"envVars":{"A":"sandbox","B":"sandbox"},"defaultWorkdir":"/usr"}"#;
    assert_eq!(envd.control("POST", "/init", &[], set).status, 204);
    let request = json!({
        "process": {"cmd": "sh", "args": ["-c", "env; pwd; read x || echo eof"], "envs": {"B": "request"}},
        "stdin": false,
    });
    let ran = envd.events("process.Process/Start", &request, &[]).ran();
    let of_the_shell = ["_=", "SHLVL=", "PWD=", "OLDPWD="];
    let mut lines: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|line| !of_the_shell.iter().any(|name| line.starts_with(name)))
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "/usr",
            "A=sandbox",
            "B=request",
            "E2B_SANDBOX=true",
            "HOME=/root",
            "LOGNAME=root",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "USER=root",
            "eof",
        ]
    );
    assert_eq!(
        envd.request("GET", "/envs", &[], b"").json(),
        json!({"A": "sandbox", "B": "sandbox", "E2B_SANDBOX": "true"})
    );
}

#[test]
fn a_process_is_the_user_and_nothing_more() {
    let envd = Envd::start();
    let authorization = basic("nobody");
    let script = "id -u; id -G; for n in 3 4 5 6 7 8 9; do if (true <&$n) 2>/dev/null; then echo open $n; fi; done; \
        if [ -e /proc/self/status ]; then grep CapEff /proc/self/status; fi; touch /etc/warder-test || echo refused";
    let request = json!({"process": {"cmd": "/bin/sh", "args": ["-c", script], "cwd": "/"}});
    let ran = envd
        .events(
            "process.Process/Start",
            &request,
            &[("authorization", &authorization)],
        )
        .ran();
    let text = ran.stdout;
    assert!(text.starts_with("65534\n65534\n"), "{text}");
    assert!(!text.contains("open"), "{text}");
    assert!(text.ends_with("refused\n"), "{text}");
    if common::has_proc() {
        assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    }
}

#[test]
fn start_errors_come_inside_the_stream() {
    let envd = Envd::start();
    let code = |request: Value| {
        let events = envd.events("process.Process/Start", &request, &[]);
        assert_eq!(events.status, 200);
        let error = events.ran().error;
        (
            error["code"].as_str().unwrap_or("").to_owned(),
            error["message"].as_str().unwrap_or("").to_owned(),
        )
    };
    assert_eq!(
        code(json!({"process": {"cmd": "true", "cwd": "/no/such"}})),
        (
            "invalid_argument".into(),
            "cwd '/no/such' does not exist".into()
        )
    );
    assert_eq!(
        code(json!({"process": {"cmd": "no-such-program", "cwd": "/"}})).0,
        "invalid_argument"
    );
    assert_eq!(
        code(json!({"process": {"cmd": "/etc/passwd", "cwd": "/"}})).0,
        "invalid_argument"
    );
    assert_eq!(
        code(json!({"process": {"cmd": "a\u{0}b", "cwd": "/"}})).0,
        "invalid_argument"
    );
    assert_eq!(code(json!({})).0, "invalid_argument");
    let authorization = basic("who");
    let error = envd
        .events(
            "process.Process/Start",
            &shell("true"),
            &[("authorization", &authorization)],
        )
        .ran()
        .error;
    assert_eq!(
        error,
        json!({"code": "unauthenticated", "message": "invalid username: 'who'"})
    );
    assert_eq!(
        envd.unary("process.Process/List", &json!({})).json(),
        json!({})
    );
}

#[test]
fn input_reaches_a_process_in_order_and_ends() {
    let envd = Envd::start();
    let mut events = envd.events("process.Process/Start", &cat(), &[]);
    let pid = events.pid();
    for text in ["one ", "two ", "three"] {
        assert_eq!(input(&envd, pid, "stdin", text).status, 200);
    }
    let wrong = input(&envd, pid, "pty", "x");
    assert_eq!((wrong.status, wrong.code().as_str()), (500, "internal"));
    assert_eq!(
        envd.unary(
            "process.Process/CloseStdin",
            &json!({"process": selector(pid)})
        )
        .status,
        200
    );
    let ran = events.ran();
    assert_eq!(ran.stdout, "one two three");
    assert_eq!(ran.end["exited"], true);
    let gone = input(&envd, pid, "stdin", "x");
    assert_eq!((gone.status, gone.code().as_str()), (404, "not_found"));
}

#[test]
fn input_without_stdin_is_an_error() {
    let envd = Envd::start();
    let mut events = envd.events("process.Process/Start", &shell("sleep 30"), &[]);
    let pid = events.pid();
    assert_eq!(input(&envd, pid, "stdin", "x").code(), "internal");
    assert_eq!(
        envd.unary(
            "process.Process/CloseStdin",
            &json!({"process": selector(pid)})
        )
        .code(),
        "internal"
    );
    assert_eq!(kill(&envd, pid).status, 200);
    let ran = events.ran();
    assert_eq!(
        ran.end,
        json!({"exitCode": -1, "status": "signal: killed", "error": "signal: killed"})
    );
}

#[test]
fn a_stream_of_input_is_written_as_it_comes() {
    let envd = Envd::start();
    let mut events = envd.events("process.Process/Start", &cat(), &[]);
    let pid = events.pid();
    let mut body = envelope(&json!({"start": {"process": selector(pid)}}));
    let big = "x".repeat(300_000);
    for text in ["a", &big, "z"] {
        body.extend(envelope(
            &json!({"data": {"input": {"stdin": STANDARD.encode(text)}}}),
        ));
        body.extend(envelope(&json!({"keepalive": {}})));
    }
    let reader = std::thread::spawn(move || {
        let mut ran = Ran::default();
        while ran.stdout.len() < 300_002 {
            let (flags, message) = events.next_envelope().expect("output");
            ran.take(flags, &message);
        }
        (events, ran)
    });
    let headers = [
        ("content-type", "application/connect+json"),
        ("authorization", &basic("root")),
    ];
    let answer = envd.request("POST", "/process.Process/StreamInput", &headers, &body);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        [&envelope(&json!({}))[..], &[2, 0, 0, 0, 2, b'{', b'}']].concat()
    );
    let (events, ran) = reader.join().expect("reads");
    assert_eq!(ran.stdout, format!("a{big}z"));
    envd.unary(
        "process.Process/CloseStdin",
        &json!({"process": selector(pid)}),
    );
    assert_eq!(events.ran().end["exited"], true);

    let body = envelope(&json!({"data": {"input": {"stdin": ""}}}));
    let answer = envd.request("POST", "/process.Process/StreamInput", &headers, &body);
    assert!(
        answer.text().contains("invalid_argument"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_terminal_echoes_resizes_and_ends() {
    let envd = Envd::start();
    let request = json!({
        "process": {"cmd": "/bin/sh", "args": ["-c", "tty >/dev/null && stty size; read line; stty size; echo got $line"], "cwd": "/"},
        "pty": {"size": {"cols": 80, "rows": 24}},
    });
    let mut events = envd.events("process.Process/Start", &request, &[]);
    let pid = events.pid();
    let mut ran = Ran::default();
    while !ran.pty.contains("24 80") {
        let (flags, message) = events.next_envelope().expect("output");
        ran.take(flags, &message);
    }
    let resize = json!({"process": selector(pid), "pty": {"size": {"cols": 100, "rows": 40}}});
    assert_eq!(envd.unary("process.Process/Update", &resize).status, 200);
    assert_eq!(input(&envd, pid, "stdin", "x").code(), "internal");
    let close = envd.unary(
        "process.Process/CloseStdin",
        &json!({"process": selector(pid)}),
    );
    assert_eq!(close.code(), "failed_precondition");
    assert_eq!(input(&envd, pid, "pty", "hello\n").status, 200);
    let ran = events.ran();
    assert!(ran.pty.contains("40 100\r\ngot hello\r\n"), "{}", ran.pty);
    assert_eq!(ran.end["exited"], true);
}

#[test]
fn a_client_that_goes_ends_nothing_and_may_come_back() {
    let envd = Envd::start();
    let request = json!({"process": {"cmd": "/bin/cat", "cwd": "/"}, "tag": "my cat"});
    let mut events = envd.events("process.Process/Start", &request, &[]);
    let pid = events.pid();
    drop(events);
    let listed = envd.unary("process.Process/List", &json!({})).json();
    assert_eq!(
        listed,
        json!({"processes": [{"config": {"cmd": "/bin/cat", "cwd": "/"}, "pid": pid, "tag": "my cat"}]})
    );
    let mut by_tag = envd.events(
        "process.Process/Connect",
        &json!({"process": {"tag": "my cat"}}),
        &[],
    );
    let mut by_pid = envd.events(
        "process.Process/Connect",
        &json!({"process": selector(pid)}),
        &[],
    );
    assert_eq!((by_tag.pid(), by_pid.pid()), (pid, pid));
    input(&envd, pid, "stdin", "hi");
    envd.unary(
        "process.Process/CloseStdin",
        &json!({"process": selector(pid)}),
    );
    let (one, two) = (by_tag.ran(), by_pid.ran());
    assert_eq!((one.stdout.as_str(), two.stdout.as_str()), ("hi", "hi"));
    assert_eq!(one.end, two.end);
    // Late, but not too late.
    let late = envd
        .events(
            "process.Process/Connect",
            &json!({"process": selector(pid)}),
            &[],
        )
        .ran();
    assert_eq!((late.pid, &late.end), (pid, &one.end));
    let unknown = envd.events(
        "process.Process/Connect",
        &json!({"process": selector(999_999)}),
        &[],
    );
    assert_eq!(unknown.ran().error["code"], "not_found");
    assert_eq!(kill(&envd, pid).code(), "not_found");
}

#[test]
fn a_time_limit_kills_the_command_even_when_nobody_listens() {
    let envd = Envd::start();
    let began = Instant::now();
    let events = envd.events(
        "process.Process/Start",
        &shell("echo on; sleep 60; echo off"),
        &[("connect-timeout-ms", "300")],
    );
    let ran = events.ran();
    assert_eq!(
        (ran.stdout.as_str(), ran.error["code"].as_str()),
        ("on\n", Some("deadline_exceeded"))
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    let listed = || envd.unary("process.Process/List", &json!({})).json();
    while listed() != json!({}) {
        assert!(began.elapsed() < Duration::from_secs(5), "it lives");
    }

    let mut events = envd.events(
        "process.Process/Start",
        &shell("exec sleep 60"),
        &[("connect-timeout-ms", "400")],
    );
    let pid = events.pid();
    drop(events);
    let ran = envd
        .events(
            "process.Process/Connect",
            &json!({"process": selector(pid)}),
            &[],
        )
        .ran();
    assert_eq!(ran.end["status"], "signal: killed");
    assert!(ran.error.is_null());
    // On Connect the limit is the stream's alone.
    let mut events = envd.events("process.Process/Start", &shell("exec sleep 60"), &[]);
    let pid = events.pid();
    let ran = envd
        .events(
            "process.Process/Connect",
            &json!({"process": selector(pid)}),
            &[("connect-timeout-ms", "100")],
        )
        .ran();
    assert_eq!(ran.error["code"], "deadline_exceeded");
    assert_eq!(
        envd.unary("process.Process/List", &json!({})).json()["processes"][0]["pid"],
        pid
    );
    kill(&envd, pid);
}

#[test]
fn quiet_streams_show_signs_of_life() {
    let envd = Envd::start();
    let begun = Instant::now();
    let ran = envd
        .events(
            "process.Process/Start",
            &shell("sleep 2.5; echo x"),
            &[("keepalive-ping-interval", "1")],
        )
        .ran();
    assert_eq!(ran.stdout, "x\n");
    // One a second, for as long as it took here.
    let most = usize::try_from(begun.elapsed().as_secs()).expect("short");
    assert!((2..=most).contains(&ran.keepalives), "{}", ran.keepalives);
}

#[test]
fn output_is_whole_and_a_killed_command_does_not_wait_for_its_children() {
    let envd = Envd::start();
    let ran = envd.run("head -c 3000000 /dev/zero | tr '\\0' a; echo; echo end >&2");
    assert_eq!(
        (ran.stdout.len(), ran.stderr.as_str()),
        (3_000_001, "end\n")
    );
    // The background process keeps the output open; E2B waits for it.
    let began = Instant::now();
    let ran = envd.run("(sleep 0.5; echo late) & echo soon");
    assert_eq!(ran.stdout, "soon\nlate\n");
    assert!(began.elapsed() >= Duration::from_millis(450));
    let mut events = envd.events(
        "process.Process/Start",
        &shell("sleep 60 & echo soon; wait"),
        &[],
    );
    let pid = events.pid();
    assert!(events.message()["event"]["data"].is_object());
    kill(&envd, pid);
    let ran = events.ran();
    assert_eq!(ran.end["status"], "signal: killed");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_slow_client_slows_its_command_and_no_other() {
    let envd = Envd::start();
    let mut slow = envd.events("process.Process/Start", &shell("yes"), &[]);
    let pid = slow.pid();
    std::thread::sleep(Duration::from_millis(300));
    let before = common::rss(envd.pid());
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        common::rss(envd.pid()) < before + 4096,
        "the queue is bounded"
    );
    assert_eq!(envd.run("echo quick").stdout, "quick\n");
    kill(&envd, pid);
    let ran = slow.ran();
    assert_eq!(ran.end["status"], "signal: killed");
    assert!(ran.stdout.bytes().all(|byte| byte == b'y' || byte == b'\n'));
}

#[test]
fn many_commands_leave_nothing_behind() {
    let envd = Envd::start();
    let descriptors = || common::descriptors(envd.pid()).len();
    envd.run("true");
    std::thread::sleep(Duration::from_millis(100));
    let before = descriptors();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let stream = envd.stream(Role::Client);
            std::thread::spawn(move || {
                let mut stream = stream;
                for _ in 0..25 {
                    let headers = [
                        ("content-type", "application/connect+json"),
                        ("authorization", &*basic("root")),
                    ];
                    let body = envelope(&shell("echo x"));
                    let answer = exchange(
                        &mut stream,
                        "POST",
                        "/process.Process/Start",
                        &headers,
                        &body,
                    );
                    assert!(answer.text().contains("exit status 0"), "{}", answer.text());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(descriptors(), before);
    assert_eq!(common::children(envd.pid()), [0_u32; 0]);
}
