//! TLS: certificates by name, replaced under open connections; HTTP/2 and HTTP/1.1.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::fake::Fake;
use super::http::{Client, SOON};

/// Who signs, and is trusted.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("signs").der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// A chain and its key, for a domain and everything below it.
    pub(crate) fn signs(&self, domain: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names = vec![domain.to_owned(), format!("*.{domain}")];
        let params = CertificateParams::new(names).expect("names");
        let leaf = params.signed_by(&key, &self.issuer).expect("signs");
        (leaf.pem(), key.serialize_pem())
    }

    pub(crate) fn config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Each test looks at certificates, which a resumed session does not show.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// A connection whose handshake is done, or why it is not.
    fn connect(
        &self,
        fake: &Fake,
        name: &str,
        alpn: &[&str],
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut stream = TcpStream::connect_timeout(&fake.tls.expect("TLS"), SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut tls = ClientConnection::new(self.config(alpn), name).expect("a client");
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(tls, stream))
    }

    fn client(&self, fake: &Fake, name: &str) -> Client {
        let stream = self
            .connect(fake, name, &["http/1.1"])
            .expect("shakes hands");
        Client::over(Box::new(stream))
    }

    fn leaf(&self, fake: &Fake, name: &str) -> Option<CertificateDer<'static>> {
        let stream = self.connect(fake, name, &[]).ok()?;
        Some(
            stream
                .conn
                .peer_certificates()?
                .first()?
                .clone()
                .into_owned(),
        )
    }
}

fn id(sandbox: &Value) -> &str {
    sandbox["sandboxID"].as_str().expect("an id")
}

/// One request over HTTP/2: status, Content-Type, body.
fn over_http2(
    authority: &Authority,
    fake: &Fake,
    requests: Vec<http::Request<Full<Bytes>>>,
) -> Vec<Result<(u16, Bytes), hyper::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(fake.tls.expect("TLS"))
            .await
            .expect("connects");
        let connector = tokio_rustls::TlsConnector::from(authority.config(&["h2"]));
        let name = ServerName::try_from("api.box.example").expect("a name");
        let stream = connector.connect(name, stream).await.expect("shakes hands");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .expect("speaks HTTP/2");
        tokio::spawn(connection);
        let mut all = Vec::new();
        // All at once, on one connection.
        for request in requests {
            sender.ready().await.expect("open");
            all.push(sender.send_request(request));
        }
        let mut answers = Vec::new();
        for answer in all {
            answers.push(match answer.await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let body = answer.into_body().collect().await.expect("whole");
                    Ok((status, body.to_bytes()))
                }
                Err(error) => Err(error),
            });
        }
        answers
    })
}

#[test]
fn the_name_chooses_the_certificate() {
    let authority = Authority::new();
    let fake = Fake::with(vec![
        authority.signs("box.example"),
        authority.signs("other.example"),
    ]);
    let of_box = authority.leaf(&fake, "api.box.example").expect("shown");
    assert_eq!(
        authority.leaf(&fake, "80-i.box.example").as_ref(),
        Some(&of_box)
    );
    let other = authority.leaf(&fake, "api.other.example").expect("shown");
    assert_ne!(of_box, other);
    assert_eq!(
        authority.leaf(&fake, "stranger.example"),
        None,
        "not trusted for it"
    );
    let shown = fake.operator("GET", "/admin/certificates", b"").json();
    assert_eq!(
        shown[1]["names"],
        json!(["other.example", "*.other.example"])
    );
    assert_eq!(shown[0]["usable"], true);
    assert_eq!(shown[0]["problem"], Value::Null);
}

#[test]
fn both_domains_lead_to_the_api_and_to_sandboxes_and_it_is_https() {
    let authority = Authority::new();
    let fake = Fake::with(vec![
        authority.signs("box.example"),
        authority.signs("other.example"),
    ]);
    for domain in ["box.example", "other.example"] {
        let api = format!("api.{domain}");
        let made = authority.client(&fake, &api).ask(
            "POST",
            "/v2/sandboxes",
            &[("Host", &api), ("X-API-KEY", &fake.key)],
            br#"{"templateID":"base"}"#,
        );
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        assert_eq!(
            made["domain"],
            Value::Null,
            "the client's own, as there are two"
        );
        let guest = fake.guest(&made);
        let host = format!("{}-{}.{domain}", guest.open(), id(&made));
        let mut client = authority.client(&fake, &host);
        let lies = [("Host", host.as_str()), ("X-Forwarded-Proto", "http")];
        assert_eq!(client.ask("GET", "/a", &lies, b"").status, 200);
        let seen = guest.seen().pop().expect("asked");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("host"), Some(host.as_str()));
        let unnamed = format!("sandbox.{domain}");
        let refused = authority
            .client(&fake, &unnamed)
            .ask("GET", "/", &[("Host", &unnamed)], b"");
        assert_eq!(refused.status, 400, "nothing is guessed");
    }
}

#[test]
fn a_reload_keeps_connections_and_serves_new_ones_with_the_new_certificate() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let made = fake.create(json!({}));
    let host = format!("{}-{}.box.example", fake.guest(&made).open(), id(&made));
    let before = authority.leaf(&fake, &host).expect("shown");
    // Two that are in the middle of something: an upgraded stream, and an answer that is not over.
    let mut upgraded = authority.client(&fake, &host);
    let lines = [
        ("Host", host.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
    ];
    upgraded.send("GET", "/ws", &lines, b"");
    assert_eq!(upgraded.head().0, 101);
    let mut streaming = authority.client(&fake, &host);
    streaming.send("GET", "/stream", &[("Host", &host)], b"");
    assert_eq!(streaming.head().0, 200);
    assert_eq!(streaming.chunk(), b"first");

    fake.world().certificates = vec![authority.signs("box.example")];
    let reloaded = fake.operator("POST", "/admin/reload", b"");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(reloaded.json()["certificates"][0]["problem"], Value::Null);
    let after = authority.leaf(&fake, &host).expect("shown");
    assert_ne!(before, after);
    upgraded.raw(b"still here");
    assert_eq!(upgraded.exactly(10), b"still here");
    assert_eq!(streaming.chunk(), b"second");

    // Broken in three ways: the one before stays, and whoever reloads is told.
    let other_key = authority.signs("box.example").1;
    let chain = fake.world().certificates[0].0.clone();
    for (broken, says) in [
        (("rubbish".to_owned(), "rubbish".to_owned()), "certificate"),
        ((chain, other_key), "not the certificate's"),
        ((String::new(), String::new()), "is a pipe"),
    ] {
        fake.world().certificates = vec![broken];
        let reloaded = fake.operator("POST", "/admin/reload", b"").json();
        let problem = reloaded["certificates"][0]["problem"].as_str();
        assert!(
            problem.is_some_and(|p| p.contains(says)),
            "{says}: {reloaded}"
        );
        assert_eq!(authority.leaf(&fake, &host).as_ref(), Some(&after));
    }
}

#[test]
fn a_gateway_without_a_usable_certificate_serves_no_tls_until_it_gets_one() {
    let authority = Authority::new();
    let fake = Fake::with(vec![(String::new(), String::new())]);
    assert_eq!(authority.leaf(&fake, "api.box.example"), None);
    let shown = fake.operator("GET", "/admin/certificates", b"").json();
    assert_eq!(shown[0]["usable"], false);
    fake.world().certificates = vec![authority.signs("box.example")];
    assert_eq!(fake.operator("POST", "/admin/reload", b"").status, 200);
    assert!(authority.leaf(&fake, "api.box.example").is_some());
}

#[test]
fn http2_reaches_the_api_and_sandboxes() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let made = fake.create(json!({}));
    let guest = fake.guest(&made);
    let host = format!("{}-{}.box.example", guest.open(), id(&made));
    let ask = |uri: String| http::Request::builder().uri(uri);
    let body = |bytes: Vec<u8>| Full::from(bytes);
    let mut requests = vec![
        ask("https://api.box.example/v2/sandboxes".into())
            .header("x-api-key", &fake.key)
            .body(body(Vec::new()))
            .expect("a request"),
        ask(format!("https://{host}/x?y"))
            .method("POST")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(body(vec![7; 700_000]))
            .expect("a request"),
        ask("https://sandbox.box.example/files".into())
            .header("e2b-sandbox-id", id(&made))
            .header("e2b-sandbox-port", "49983")
            .body(body(Vec::new()))
            .expect("a request"),
        // The authority decides; another Host is a lie.
        ask(format!("https://{host}/"))
            .header("host", "api.box.example")
            .body(body(Vec::new()))
            .expect("a request"),
    ];
    for _ in 0..40 {
        let request = ask(format!("https://{host}/many")).body(body(Vec::new()));
        requests.push(request.expect("a request"));
    }
    let answers = over_http2(&authority, &fake, requests);
    let statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.as_ref().map_or(0, |(status, _)| *status))
        .collect();
    assert_eq!(statuses[..4], [200, 200, 200, 400]);
    assert!(
        statuses[4..].iter().all(|status| *status == 200),
        "{statuses:?}"
    );
    let seen = guest.seen();
    let post = seen
        .iter()
        .find(|s| s.line.starts_with("POST /x"))
        .expect("asked");
    assert_eq!(post.line, "POST /x?y HTTP/1.1");
    assert_eq!(post.body.len(), 700_000);
    assert_eq!(post.header("host"), Some(host.as_str()));
    assert_eq!(post.header("cookie"), Some("a=1; b=2"));
    assert_eq!(post.header("x-forwarded-proto"), Some("https"));
    assert_eq!(post.header("x-forwarded-host"), Some(host.as_str()));
}

#[test]
fn http2_refuses_tunnels_and_too_much() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let made = fake.create(json!({}));
    let host = format!("{}-{}.box.example", fake.guest(&made).open(), id(&made));
    let connect = http::Request::builder()
        .method("CONNECT")
        .uri(format!("{host}:443"))
        .body(Full::default())
        .expect("a request");
    let mut many = http::Request::builder().uri(format!("https://{host}/"));
    for n in 0..200 {
        many = many.header(format!("x-{n}"), "1");
    }
    let many = many.body(Full::default()).expect("a request");
    let plain = http::Request::builder()
        .uri(format!("https://{host}/"))
        .body(Full::default())
        .expect("a request");
    let answers = over_http2(&authority, &fake, vec![connect, many, plain]);
    let status = |n: usize| answers[n].as_ref().map_or(0, |(status, _)| *status);
    assert_eq!((status(0), status(1), status(2)), (405, 431, 200));
}

#[test]
fn a_client_that_takes_back_all_it_asks_is_cut_off() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let mut stream = authority
        .connect(&fake, "api.box.example", &["h2"])
        .expect("shakes hands");
    // RFC 9113: the preface, empty settings, then GET / of a host, each taken back at once.
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for n in 0..2000 {
        let head = [&[0x82, 0x87, 0x84, 0x41, 1][..], b"a"].concat();
        bytes.extend(frame(1, 5, 2 * n + 1, &head));
        bytes.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    // The server may close before it has read all of it.
    let _ = stream.write_all(&bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // GOAWAY for ENHANCE_YOUR_CALM.
    let calm = answer
        .windows(14)
        .any(|bytes| bytes.starts_with(&[7, 0, 0, 0, 0, 0]) && bytes[10..] == [0, 0, 0, 11]);
    assert!(calm, "{:?}", &answer[..answer.len().min(200)]);
    let mut other = authority.client(&fake, "api.box.example");
    let health = other.ask("GET", "/health", &[("Host", "api.box.example")], b"");
    assert_eq!(health.status, 204);
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let mut client = Client::tcp(fake.tls.expect("TLS"));
    let answer = client.ask("GET", "/health", &[], b"");
    assert!(answer.is_error(400).text().contains("https://"));
    assert!(client.closed());
}

#[test]
fn rubbish_on_the_tls_port_harms_nobody() {
    let authority = Authority::new();
    let mut fake = Fake::with(vec![authority.signs("box.example")]);
    let address = fake.tls.expect("TLS");
    let hello = [22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff, 3, 3];
    for rubbish in [
        &[0; 4096][..],
        &[0xff; 70_000],
        &hello,
        b"\x16\x03\x01\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
    ] {
        let mut stream = TcpStream::connect_timeout(&address, SOON).expect("connects");
        // It may be closed before all is sent, and must be in the end.
        let _ = stream.write_all(rubbish);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream.set_read_timeout(Some(SOON)).expect("set");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // A client that speaks neither version of HTTP is told so by TLS itself.
    assert!(
        authority
            .connect(&fake, "api.box.example", &["spdy/3"])
            .is_err()
    );
    let mut client = authority.client(&fake, "api.box.example");
    let health = client.ask("GET", "/health", &[("Host", "api.box.example")], b"");
    assert_eq!(health.status, 204);
    assert!(fake.runs());
}

#[test]
fn slow_handshakes_do_not_keep_others_out() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let address = fake.tls.expect("TLS");
    // The start of a record, and nothing more. Those beyond what one client may have are closed at once.
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect_timeout(&address, SOON).expect("connects");
            stream.write_all(&[22, 3, 1]).expect("open");
            stream
        })
        .collect();
    let last = slow.last_mut().expect("many");
    last.set_read_timeout(Some(SOON)).expect("set");
    assert!(matches!(last.read(&mut [0]), Ok(0) | Err(_)));
    // Its neighbours at another address are served; loopback has many.
    let stream = std::process::Command::new("curl")
        .args([
            "-sk",
            "--interface",
            "127.0.0.9",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ])
        .arg(format!("https://{address}/health"))
        .output()
        .expect("curl runs");
    assert_eq!(
        stream.stdout,
        b"204",
        "{}",
        String::from_utf8_lossy(&stream.stderr)
    );
}
