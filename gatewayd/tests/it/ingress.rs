//! Who is let in to the ports of a sandbox, as whom, and what becomes of those who no longer are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use serde_json::{Value, json};

use super::fake::Fake;
use super::http::{Answer, SOON};
use super::ingress_live::{GOOD, echoes, websocket};

pub(crate) const ALL: &str = "0.0.0.0/0";

pub(crate) fn id(made: &Value) -> &str {
    made["sandboxID"].as_str().expect("id")
}

pub(crate) fn put(fake: &Fake, made: &Value, body: Value) {
    let answer = fake.api("PUT", &format!("/sandboxes/{}/network", id(made)), body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Asks as a proxy of the operator's does for a client at `client`.
fn as_client(fake: &Fake, made: &Value, port: u16, client: &str) -> Answer {
    let forwarded = format!("{client}, 0.0.0.0");
    let port = port.to_string();
    let headers = [
        ("E2b-Sandbox-Id", id(made)),
        ("E2b-Sandbox-Port", &port),
        ("X-Forwarded-For", &forwarded),
    ];
    fake.client().ask("GET", "/", &headers, b"")
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn filters_let_in_whom_they_say() {
    let fake = Fake::start().behind(2);
    let made = fake.create(json!({}));
    let guest = fake.guest(&made);
    let (a, b) = (guest.open(), guest.open());
    let (low, high) = (a.min(b), a.max(b));
    const WE: &str = "203.0.113.99";
    let open = |port: u16, client: &str| match as_client(&fake, &made, port, client).status {
        200 => true,
        403 => false,
        other => panic!("{other}"),
    };
    let step = |allow: &[String], deny: &[String]| {
        put(&fake, &made, json!({"allowIn": allow, "denyIn": deny}));
    };
    let all = || ALL.to_owned();
    step(&[], &[format!("{ALL}:{a}")]);
    assert_eq!((open(a, WE), open(b, WE)), (false, true));
    step(&[format!("{ALL}:{a}")], &[all()]);
    assert_eq!((open(a, WE), open(b, WE)), (true, false));
    step(&[], &[all()]);
    assert_eq!((open(a, WE), open(b, WE)), (false, false));
    // The agent's own port has its own token.
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    step(&[all()], &[all()]);
    assert_eq!((open(a, WE), open(b, WE)), (true, true));
    step(&[], &["198.51.100.0/24".into()]);
    assert_eq!((open(a, WE), open(a, "198.51.100.7")), (true, false));
    step(&[], &[format!("{ALL}:{low}-{high}")]);
    assert_eq!((open(a, WE), open(b, WE)), (false, false));
    step(&[format!("{ALL}:{low}-{high}")], &[all()]);
    assert_eq!((open(a, WE), open(b, WE)), (true, true));
    step(&[], &["203.0.113.0/24".into()]);
    assert_eq!(
        (open(a, "203.0.113.42"), open(a, "198.51.100.1")),
        (false, true)
    );
    step(&["203.0.113.42".into()], &[all(), "203.0.113.0/24".into()]);
    assert_eq!((open(a, "203.0.113.42"), open(a, WE)), (true, false));
    // Nobody knows who they are, or they are of IPv6.
    step(&[], &["198.51.100.0/24".into()]);
    for client in ["unknown", "", "2001:db8::1", "203.0.113.999"] {
        assert!(!open(a, client), "{client}");
    }
    assert!(open(a, "::ffff:203.0.113.42"));
    let shown = fake.api("GET", &format!("/sandboxes/{}", id(&made)), Value::Null);
    assert_eq!(
        shown.json()["network"],
        json!({"allowIn": [], "denyIn": ["198.51.100.0/24"]})
    );
    put(&fake, &made, json!({}));
    assert!(open(a, WE) && open(b, "unknown"));
    // Egress and ingress in one.
    put(
        &fake,
        &made,
        json!({"denyOut": [ALL], "denyIn": [format!("{ALL}:{a}")]}),
    );
    assert_eq!((open(a, WE), open(b, WE)), (false, true));
    put(
        &fake,
        &made,
        json!({"allowOut": ["8.8.8.8"], "denyOut": [ALL], "denyIn": [ALL]}),
    );
    assert_eq!((open(a, WE), open(b, WE)), (false, false));
    put(&fake, &made, json!({}));
    assert!(open(a, WE));
}

#[test]
fn who_is_refused_is_in_the_log_and_told_with_the_events() {
    let fake = Fake::start().behind(2);
    let made = fake.create(json!({"network": {"allowPublicTraffic": false, "allowIn": ["198.51.100.0/24"], "denyIn": [ALL]}}));
    let port = fake.guest(&made).open();
    let token = made["trafficAccessToken"].as_str().expect("private");
    let routed = port.to_string();
    let ask = |client: &str, token: &str| {
        let forwarded = format!("{client}, 0.0.0.0");
        let headers = [
            ("E2b-Sandbox-Id", id(&made)),
            ("E2b-Sandbox-Port", &*routed),
            ("X-Forwarded-For", &*forwarded),
            ("e2b-traffic-access-token", token),
        ];
        fake.client().ask("GET", "/", &headers, b"").status
    };
    for _ in 0..3 {
        assert_eq!(ask("203.0.113.42", token), 403);
    }
    assert_eq!(ask("2001:db8::1", token), 403);
    assert_eq!(ask("198.51.100.7", "wrong"), 403);
    assert_eq!(ask("198.51.100.7", token), 200);
    let log = fake
        .api(
            "GET",
            &format!("/sandboxes/{}/network/log", id(&made)),
            Value::Null,
        )
        .json();
    let seen = log.as_array().expect("a list").iter().map(|entry| {
        let word = |name: &str| entry[name].clone();
        json!([
            word("direction"),
            word("address"),
            word("port"),
            word("reason"),
            word("rule"),
            word("count")
        ])
    });
    let unknown = "allowIn or denyIn is set, and the client's IPv4 address is not known";
    let wanted = [
        json!([
            "in",
            "203.0.113.42",
            port,
            "ingress",
            format!("denyIn {ALL}"),
            3
        ]),
        json!(["in", "2001:db8::1", port, "ingress_unknown", unknown, 1]),
        json!([
            "in",
            "198.51.100.7",
            port,
            "traffic_token",
            "the traffic token is missing or wrong",
            1
        ]),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), wanted);
    let told = fake.operator("GET", "/admin/events", b"").text();
    assert_eq!(told.matches("sandbox.network.refused").count(), 5, "{told}");
}

#[test]
fn who_is_refused_is_told_why() {
    let fake = Fake::start();
    let made = fake.create(json!({"network": {"denyIn": ["127.0.0.1"]}}));
    let port = fake.guest(&made).open();
    let before = fake.guest(&made).seen().len();
    let answer = fake.inside(&made, port, "GET", "/", b"");
    assert_eq!(answer.status, 403);
    let message = format!(
        "Access denied: client 127.0.0.1 is not allowed to reach port {port} on this sandbox"
    );
    let told = json!({"sandboxId": id(&made), "clientIp": "127.0.0.1", "port": port, "message": message, "code": 403});
    assert_eq!(answer.json(), told);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let host = format!("{port}-{}.box.example", id(&made));
    let page = [
        ("Host", host.as_str()),
        ("Accept", "text/html"),
        ("User-Agent", "Mozilla/5.0 Firefox/140.0"),
    ];
    let page = fake.client().ask("GET", "/", &page, b"");
    assert!(page.status == 403 && page.text().starts_with("<!DOCTYPE html>"));
    assert!(page.text().contains("Access denied") && page.text().contains(id(&made)));
    let preflight = [
        ("Host", host.as_str()),
        ("Access-Control-Request-Method", "PUT"),
    ];
    assert_eq!(
        fake.client().ask("OPTIONS", "/", &preflight, b"").status,
        204
    );
    assert_eq!(fake.guest(&made).seen().len(), before, "nothing reached it");
    // The operator needs no rule.
    let port = port.to_string();
    let headers = [("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", &*port)];
    let answer = fake.operator_client().ask("GET", "/", &headers, b"");
    assert_eq!(answer.status, 200);
}

#[test]
fn what_a_client_says_of_itself_opens_nothing() {
    let fake = Fake::start();
    let made = fake.create(json!({"network": {"allowIn": ["203.0.113.42"], "denyIn": [ALL]}}));
    let port = fake.guest(&made).open();
    let routed = port.to_string();
    let ask = |more: &[(&str, &str)]| {
        let mut headers = vec![
            ("E2b-Sandbox-Id", id(&made)),
            ("E2b-Sandbox-Port", &*routed),
        ];
        headers.extend(more);
        fake.client().ask("GET", "/", &headers, b"")
    };
    for forged in [
        &[][..],
        &[("X-Forwarded-For", "203.0.113.42")],
        &[("X-Forwarded-For", "203.0.113.42, 0.0.0.0")],
        &[("X-E2B-Client-IP", "203.0.113.42")],
        &[
            ("X-Real-IP", "203.0.113.42"),
            ("Forwarded", "for=203.0.113.42"),
        ],
    ] {
        let answer = ask(forged);
        assert_eq!(answer.status, 403, "{forged:?}");
        assert_eq!(answer.json()["clientIp"], "127.0.0.1");
    }
    put(
        &fake,
        &made,
        json!({"allowIn": ["127.0.0.0/8"], "denyIn": [ALL]}),
    );
    let forged = [
        ("X-E2B-Client-IP", "203.0.113.42"),
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-For", "203.0.113.42"),
    ];
    assert_eq!(ask(&forged).status, 200);
    let seen = fake.guest(&made).seen().pop().expect("seen");
    assert_eq!(seen.header("x-e2b-client-ip"), None);
    // All it said, and who it is.
    let chain = "198.51.100.1, 203.0.113.42, 127.0.0.1";
    assert_eq!(seen.header("x-forwarded-for"), Some(chain));
    let lines = |line: &&String| line.to_ascii_lowercase().starts_with("x-forwarded-for");
    assert_eq!(seen.headers.iter().filter(lines).count(), 1);
}

#[test]
fn a_proxy_of_the_operators_says_who_the_client_is() {
    let fake = Fake::start().behind(1);
    let made = fake.create(json!({"network": {"allowIn": ["203.0.113.42"], "denyIn": [ALL]}}));
    let port = fake.guest(&made).open().to_string();
    let status = |lines: &[&str]| {
        let mut headers = vec![("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", &*port)];
        headers.extend(lines.iter().map(|line| ("X-Forwarded-For", *line)));
        fake.client().ask("GET", "/", &headers, b"").status
    };
    for (lines, wanted) in [
        (&["203.0.113.42"][..], 200),
        (&["198.51.100.1, 203.0.113.42"], 200),
        (&["198.51.100.1", "203.0.113.42"], 200),
        (&["unknown, 203.0.113.42"], 200),
        // What the client wrote before the proxy did.
        (&["203.0.113.42, 198.51.100.1"], 403),
        (&["203.0.113.42", "198.51.100.1"], 403),
        (&["203.0.113.42,"], 403),
        (&[], 403),
    ] {
        assert_eq!(status(lines), wanted, "{lines:?}");
    }
}

#[test]
fn bad_rules_are_refused_in_e2bs_words_and_change_nothing() {
    let fake = Fake::start();
    let made = fake.create(json!({"network": {"denyIn": ["198.51.100.0/24"]}}));
    let shown = || {
        fake.api("GET", &format!("/sandboxes/{}", id(&made)), Value::Null)
            .json()
    };
    let before = shown();
    let domain = "domains are not supported for ingress rules";
    let alone = "When specifying allowed sources in allow in, you must include 'ALL_TRAFFIC' (0.0.0.0/0) in deny in to block all other traffic.";
    for (body, wanted) in [
        (
            json!({"denyIn": ["example.com"]}),
            format!("invalid deny in entry \"example.com\": {domain}"),
        ),
        (
            json!({"allowIn": ["example.com"], "denyIn": [ALL]}),
            format!("invalid allow in entry \"example.com\": {domain}"),
        ),
        (json!({"allowIn": ["8.8.8.8"]}), alone.into()),
        (
            json!({"allowIn": ["8.8.8.8"], "denyIn": ["10.0.0.0/8"]}),
            alone.into(),
        ),
        (
            json!({"maskRequestHost": "-https://abcd"}),
            "mask request host is not valid: -https://abcd".into(),
        ),
    ] {
        for (method, path, body) in [
            (
                "PUT",
                format!("/sandboxes/{}/network", id(&made)),
                body.clone(),
            ),
            (
                "POST",
                "/v2/sandboxes".into(),
                json!({"templateID": "base", "network": body}),
            ),
        ] {
            let answer = fake.api(method, &path, body);
            answer.is_error(400);
            assert_eq!(answer.json()["message"], wanted.as_str());
        }
    }
    let path = format!("/sandboxes/{}/network", id(&made));
    fake.api("PUT", &path, json!({"httpsPorts": [8443]}))
        .is_error(400);
    let ports = json!({"templateID": "base", "network": {"httpsPorts": [49983]}});
    fake.api("POST", "/v2/sandboxes", ports).is_error(400);
    assert_eq!(shown(), before);
    // The old form makes a private sandbox only of a secure one.
    let private = json!({"templateID": "base", "network": {"allowPublicTraffic": false}});
    let answer = fake.api("POST", "/sandboxes", private.clone());
    answer.is_error(400);
    assert_eq!(
        answer.json()["message"],
        "You cannot create a sandbox without public access unless you enable secure envd access via 'secure' flag."
    );
    assert_eq!(fake.api("POST", "/v2/sandboxes", private).status, 201);
    // Entries of IPv6 are understood, and let nobody in.
    put(
        &fake,
        &made,
        json!({"allowIn": ["2001:db8::1"], "denyIn": [ALL]}),
    );
    assert_eq!(
        shown()["networkState"]["notEffective"],
        json!(["2001:db8::1"])
    );
}

#[test]
fn a_server_inside_is_told_the_masked_host() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    let own = format!("{port}-{}.box.example", id(&made));
    let told = |port: u16| {
        let host = format!("{port}-{}.box.example", id(&made));
        let forged = [("Host", host.as_str()), ("X-Forwarded-Host", "forged")];
        assert!(fake.client().ask("GET", "/health", &forged, b"").status < 300);
        let seen = fake.guest(&made).seen().pop().expect("seen");
        let line = |name| seen.header(name).expect("a line").to_owned();
        (line("host"), line("x-forwarded-host"))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let mask = |text: &str| put(&fake, &made, json!({ "maskRequestHost": text }));
    assert_eq!(told(port).0, own);
    mask("masked-host:${PORT}");
    assert_eq!(told(port), pair(&format!("masked-host:{port}"), &own));
    mask("masked-host:{port}");
    assert_eq!(told(port), pair(&format!("masked-host:{port}"), &own));
    mask("other-host:9999");
    assert_eq!(told(port), pair("other-host:9999", &own));
    let agent = format!("49983-{}.box.example", id(&made));
    assert_eq!(told(49983).0, agent, "the agent is told the truth");
    mask("");
    assert_eq!(told(port).0, own);
    mask("again");
    assert_eq!(told(port), pair("again", &own));
    put(&fake, &made, json!({}));
    assert_eq!(told(port).0, own);
}

#[test]
fn rules_outlive_a_pause_and_the_gateway() {
    let mut fake = Fake::start().behind(2);
    let rules = json!({"allowIn": ["203.0.113.42"], "denyIn": [ALL], "maskRequestHost": "masked:{port}", "denyOut": [ALL]});
    let made = fake.create(json!({"timeout": 600}));
    put(&fake, &made, rules.clone());
    let check = |fake: &Fake, port: u16| {
        assert_eq!(as_client(fake, &made, port, "203.0.113.42").status, 200);
        let seen = fake.guest(&made).seen().pop().expect("seen");
        assert_eq!(seen.header("host"), Some(&*format!("masked:{port}")));
        assert_eq!(as_client(fake, &made, port, "203.0.113.43").status, 403);
        let shown = fake
            .api("GET", &format!("/sandboxes/{}", id(&made)), Value::Null)
            .json();
        assert_eq!(shown["network"], rules);
    };
    let port = fake.guest(&made).open();
    check(&fake, port);
    let path = format!("/sandboxes/{}", id(&made));
    assert_eq!(
        fake.api("POST", &format!("{path}/pause"), Value::Null)
            .status,
        204
    );
    let connect = format!("/v2/sandboxes/{}/connect", id(&made));
    assert_eq!(
        fake.api("POST", &connect, json!({"timeout": 600})).status,
        201
    );
    check(&fake, port);
    fake.kill();
    fake.spawn();
    check(&fake, port);
}

#[test]
fn who_is_refused_wakes_nobody() {
    let fake = Fake::start().behind(2);
    let made = fake.create(
        json!({"timeout": 600, "autoPause": true, "autoResume": {"enabled": true},
        "network": {"allowIn": ["203.0.113.42"], "denyIn": [ALL]}}),
    );
    let port = fake.guest(&made).open();
    let path = format!("/sandboxes/{}", id(&made));
    assert_eq!(
        fake.api("POST", &format!("{path}/pause"), Value::Null)
            .status,
        204
    );
    let state = || fake.api("GET", &path, Value::Null).json()["state"].clone();
    for client in ["203.0.113.43", "unknown"] {
        assert_eq!(as_client(&fake, &made, port, client).status, 403);
    }
    // Nor does who asks for what is the gateway's own, or whom the agent would refuse.
    assert_eq!(
        fake.inside(&made, 49983, "POST", "/init", b"{}").status,
        404
    );
    let agent = |path: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", "49983")];
        headers.extend(more);
        fake.client().ask("GET", path, &headers, b"")
    };
    let signed = |operation: &str| {
        let token = made["envdAccessToken"].as_str().expect("a token");
        let signature = super::proxy::sign("a", operation, "user", token);
        format!("/files?path=a&username=user&signature={signature}")
    };
    for (path, more) in [
        ("/health", &[][..]),
        ("/files?path=a", &[("X-Access-Token", "")]),
        ("/process.Process/Start", &[("X-Access-Token", "wrong")]),
        (&signed("write"), &[]),
    ] {
        let answer = agent(path, more);
        assert_eq!(answer.status, 403, "{path}");
        let message = "This sandbox can't be resumed with the credentials provided. Check your access token and try again.";
        assert_eq!(answer.json()["message"], message);
    }
    assert_eq!((state(), fake.asked("Resume")), (json!("paused"), 0));
    assert_eq!(as_client(&fake, &made, port, "203.0.113.42").status, 200);
    assert_eq!(state(), "running");
    // Of one that runs, the agent itself decides.
    assert_eq!(agent("/health", &[]).status, 204);
    let pause = || {
        fake.api("POST", &format!("{path}/pause"), Value::Null)
            .status
    };
    assert_eq!(pause(), 204);
    assert_eq!(agent(&signed("read"), &[]).status, 200);
    assert_eq!(pause(), 204);
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    assert_eq!(state(), "running");
}

#[test]
fn ports_that_speak_https_are_reached() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let certified = rcgen::generate_simple_self_signed(vec!["nobody.example".into()]).expect("one");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der())
                .into(),
        );
    let config = Arc::new(config.expect("a server"));
    // The port is known before the sandbox is: the first one's, asked of another guest.
    let port = fake.guest(&made).open_tls(Arc::clone(&config));
    let plain = fake.guest(&made).open();
    let secure = fake.create(json!({"network": {"httpsPorts": [port, plain]}}));
    for port in [port, plain] {
        let guest = fake.guest(&secure);
        guest.ports.lock().expect("lock").insert(port, port);
    }
    let shown = || {
        fake.api("GET", &format!("/sandboxes/{}", id(&secure)), Value::Null)
            .json()
    };
    assert_eq!(shown()["network"]["httpsPorts"], json!([port, plain]));
    for _ in 0..3 {
        let answer = fake.inside(&secure, port, "POST", "/x", b"12345");
        assert_eq!(answer.text(), "POST /x HTTP/1.1\n5");
    }
    // It ends without a farewell, as many servers do.
    let answer = fake.inside(&secure, port, "GET", "/until-close", b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "all of it"));
    let seen = fake.guest(&made).seen().pop().expect("seen");
    assert_eq!(
        seen.header("x-forwarded-proto"),
        Some("http"),
        "the client spoke HTTP"
    );
    let mut socket = websocket(&fake, &secure, port, GOOD);
    echoes(&mut socket);
    let answer = fake.inside(&secure, plain, "GET", "/", b"");
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.json()["message"],
        "the server in the sandbox does not speak TLS"
    );
    // They hold for its life; an update leaves them alone, and ends no connection to them.
    put(&fake, &secure, json!({"denyIn": ["198.51.100.0/24"]}));
    echoes(&mut socket);
    assert_eq!(shown()["network"]["httpsPorts"], json!([port, plain]));
    assert_eq!(fake.inside(&secure, port, "GET", "/", b"").status, 200);
    // Where it is not said, TLS is not spoken.
    assert_eq!(fake.inside(&made, port, "GET", "/", b"").status, 502);
}
