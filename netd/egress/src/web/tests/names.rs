//! Whom a connection is for, and what happens to those that do not say it plainly.

use super::*;

/// A name that is allowed leads to its own server, wherever the client meant to go.
#[tokio::test]
async fn a_name_is_dialled_and_not_the_address_its_client_has_for_it() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    let server = stage.server(SERVER, 443, Some("allowed.example")).await;
    // As an entry in the sandbox's /etc/hosts would have it.
    for address in [MEANT, Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1)] {
        let mut client = stage.client(address, 443).await;
        let hello = hello("allowed.example");
        send(&mut client, &hello).await;
        let mut at_server = accept(&server).await;
        expect(&mut at_server, &hello).await;
        send(&mut at_server, b"answer").await;
        expect(&mut client, b"answer").await;
    }
    assert_eq!(stage.dialled(), [SocketAddrV4::new(SERVER, 443); 3]);
}

#[tokio::test]
async fn wildcard_apex_and_case() {
    let stage = Stage::new(names(&["apex.example", "*.below.example"])).await;
    for (name, allowed) in [
        ("apex.example", true),
        ("APEX.Example", true),
        ("apex.example.", true),
        ("www.apex.example", false),
        ("below.example", false),
        ("www.below.example", true),
        ("a.B.below.EXAMPLE", true),
        ("evilbelow.example", false),
        ("apex.example.evil.example", false),
    ] {
        let plain = name.trim_end_matches('.').to_ascii_lowercase();
        stage.name(&plain, &[SERVER]);
        let tls = stage.server(SERVER, 443, None).await;
        let mut client = stage.client(MEANT, 443).await;
        send(&mut client, &hello_with(Some(name.as_bytes()), &[])).await;
        match allowed {
            true => drop(accept(&tls).await),
            false => assert_eq!(rest(&mut client).await.expect("in order"), DENIED, "{name}"),
        }
        let http = stage.server(SERVER, 80, None).await;
        let mut client = stage.client(MEANT, 80).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
        send(&mut client, request.as_bytes()).await;
        match allowed {
            true => expect(&mut accept(&http).await, request.as_bytes()).await,
            false => {
                let answer = json(&rest(&mut client).await.expect("in order"), 403);
                assert_eq!(answer["host"], plain);
            }
        }
    }
}

/// Names that only look like allowed ones: other alphabets, a NUL, a character too long.
#[tokio::test]
async fn what_is_no_name_is_not_allowed_by_any() {
    let mut stage = Stage::new(names(&["*"])).await;
    let long = "a.".repeat(126) + "bc";
    assert_eq!(long.len(), 254);
    for name in [
        long.as_bytes(),
        "b\u{fc}cher.example".as_bytes(),
        "allowed\u{3002}example".as_bytes(),
        "\u{430}llowed.example".as_bytes(),
        b"allowed.example\0",
        b"allowed.example\0.evil.example",
        b"allowed.example:443@evil.example",
        b"allowed..example",
        b"allowed.example..",
        b".",
        b"\xff\xfe",
    ] {
        let mut client = stage.client(MEANT, 443).await;
        send(&mut client, &hello_with(Some(name), &[])).await;
        let alert = rest(&mut client).await.expect("in order");
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50], "{name:?}");
        let mut client = stage.client(MEANT, 80).await;
        let request = [&b"GET / HTTP/1.1\r\nHost: "[..], name, b"\r\n\r\n"].concat();
        send(&mut client, &request).await;
        json(&rest(&mut client).await.expect("in order"), 403);
    }
    assert_eq!(stage.refused().await, (None, Why::NotUnderstood));
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn an_encrypted_client_hello_is_refused_where_names_decide() {
    let mut stage = Stage::new(names(&["allowed.example"])).await;
    stage.server(SERVER, 443, Some("allowed.example")).await;
    // Real or not, nobody here can tell: outer, a cipher suite, a configuration, a key, a payload.
    let ech = [
        &[0, 0, 1, 0, 1, 7, 0, 32][..],
        &[9; 32],
        &[0, 144],
        &[8; 144],
    ]
    .concat();
    let mut client = stage.client(MEANT, 443).await;
    let bytes = hello_with(Some(b"allowed.example"), &[(0xfe0d, &ech)]);
    send(&mut client, &bytes).await;
    assert_eq!(rest(&mut client).await.expect("in order"), DENIED);
    let told = stage.refused().await;
    assert_eq!(told, (Some("allowed.example".into()), Why::HiddenName));
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn a_client_hello_without_a_name_is_refused_where_names_decide() {
    let mut stage = Stage::new(names(&["allowed.example"])).await;
    for bytes in [
        hello("203.0.113.5"),
        hello_with(None, &[]),
        hello_with(Some(b"203.0.113.5"), &[]),
    ] {
        let mut client = stage.client(MEANT, 443).await;
        send(&mut client, &bytes).await;
        assert_eq!(rest(&mut client).await.expect("in order"), DENIED);
    }
    assert_eq!(stage.refused().await, (None, Why::NoName));
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn a_host_that_is_an_address_is_no_name() {
    let mut stage = Stage::new(names(&["*"])).await;
    for host in ["203.0.113.5", "203.0.113.5:80", "[2001:db8::1]", ""] {
        let mut client = stage.client(MEANT, 80).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        send(&mut client, request.as_bytes()).await;
        let answer = json(&rest(&mut client).await.expect("in order"), 403);
        assert_eq!(answer["rule"], "denyOut 0.0.0.0/0");
        assert_eq!(answer["host"], serde_json::Value::Null);
    }
    assert_eq!(stage.refused().await, (None, Why::NoName));
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn a_client_hello_in_many_segments_and_records_is_read() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    let server = stage.server(SERVER, 443, Some("allowed.example")).await;
    let whole = hello("allowed.example");
    let cut = |size| {
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).expect("short").to_be_bytes();
            [&[22, 3, 1][..], &length, part].concat()
        };
        whole[5..]
            .chunks(size)
            .flat_map(record)
            .collect::<Vec<u8>>()
    };
    for bytes in [whole.clone(), cut(1), cut(7)] {
        let mut client = stage.client(MEANT, 443).await;
        client.set_nodelay(true).expect("TCP");
        for byte in &bytes {
            send(&mut client, &[*byte]).await;
            tokio::task::yield_now().await;
        }
        expect(&mut accept(&server).await, &bytes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_hello_that_does_not_come_in_time_is_refused() {
    let mut stage = Stage::new(names(&["allowed.example"])).await;
    let mut client = stage.client(MEANT, 443).await;
    let bytes = hello("allowed.example");
    send(&mut client, &bytes[..bytes.len() - 1]).await;
    let alert = rest(&mut client).await.expect("in order");
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50]);
    assert_eq!(stage.refused().await, (None, Why::NotUnderstood));
    // Who says nothing is judged by where it meant to go.
    let mut client = stage.client(MEANT, 443).await;
    assert!(is_reset(&mut client).await);
    let rule = warder_wire::Rule::Deny(Cidr::ALL);
    assert_eq!(stage.refused().await, (None, Why::Address(rule)));
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn a_beginning_without_an_end_is_refused() {
    let mut stage = Stage::new(names(&["allowed.example"])).await;
    let mut client = stage.client(MEANT, 80).await;
    let long = "x".repeat(100_000);
    send(
        &mut client,
        format!("GET / HTTP/1.1\r\nX: {long}").as_bytes(),
    )
    .await;
    json(&rest(&mut client).await.expect("in order"), 403);
    assert_eq!(stage.refused().await, (None, Why::NotUnderstood));
    // More than 64 KiB are announced.
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &[22, 3, 1, 0x40, 0, 1, 1, 0, 1, 3, 3]).await;
    let alert = rest(&mut client).await.expect("in order");
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50]);
}

#[tokio::test]
async fn http2_without_tls_is_refused_in_its_own_frames() {
    let mut stage = Stage::new(names(&["allowed.example"])).await;
    let mut client = stage.client(MEANT, 80).await;
    send(
        &mut client,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    )
    .await;
    let frames = rest(&mut client).await.expect("in order");
    assert_eq!(frames[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // GOAWAY, because HTTP_1_1_REQUIRED.
    assert_eq!((frames[12], &frames[22..26]), (7, &[0, 0, 0, 13][..]));
    assert_eq!(stage.refused().await, (None, Why::NotUnderstood));
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn the_wrong_protocol_is_refused_in_the_words_of_its_client() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    let mut client = stage.client(MEANT, 443).await;
    send(
        &mut client,
        b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
    )
    .await;
    json(&rest(&mut client).await.expect("in order"), 403);
    let mut client = stage.client(MEANT, 80).await;
    send(&mut client, &hello("allowed.example")).await;
    let alert = rest(&mut client).await.expect("in order");
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50]);
    // SSLv2.
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &[0x80, 0x2e, 1, 0, 2]).await;
    assert!(is_reset(&mut client).await);
    assert_eq!(stage.dialled(), []);
}
