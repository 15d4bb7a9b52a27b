//! Everything through the user's own SOCKS5 proxy.

use warder_wire::{Proxy, ProxyHost};

use super::*;

const PROXY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn through(policy: Policy, host: ProxyHost) -> Policy {
    Policy {
        proxy: Some(Proxy {
            host,
            port: 1080,
            login: Some(("me".to_owned(), "secret".to_owned())),
        }),
        ..policy
    }
}

fn address() -> ProxyHost {
    ProxyHost::Address(PROXY)
}

/// A proxy that logs in and then is asked for this.
async fn proxied(proxy: &TcpListener, request: &[u8]) -> TcpStream {
    let mut stream = accept(proxy).await;
    expect(&mut stream, &[5, 1, 2]).await;
    send(&mut stream, &[5, 2]).await;
    expect(&mut stream, b"\x01\x02me\x06secret").await;
    send(&mut stream, &[1, 0]).await;
    expect(&mut stream, request).await;
    stream
}

#[tokio::test]
async fn a_name_is_handed_to_the_proxy_and_an_address_otherwise() {
    let policy = Policy {
        allow: vec![Cidr::new(MEANT, 32).expect("a network")],
        ..through(names(&["allowed.example"]), address())
    };
    let stage = Stage::new(policy).await;
    let proxy = stage.server(PROXY, 1080, None).await;
    let opened = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    let mut client = stage.client(Ipv4Addr::LOCALHOST, 443).await;
    let bytes = hello("allowed.example");
    send(&mut client, &bytes).await;
    let mut server = proxied(&proxy, b"\x05\x01\x00\x03\x0fallowed.example\x01\xbb").await;
    // The reply and the server's first bytes in one segment.
    send(&mut server, &[&opened[..], b"answer"].concat()).await;
    expect(&mut server, &bytes).await;
    expect(&mut client, b"answer").await;

    // Not one of the names, but an address that is allowed.
    let mut client = stage.client(MEANT, 443).await;
    let bytes = hello("other.example");
    send(&mut client, &bytes).await;
    let mut server = proxied(&proxy, &[5, 1, 0, 1, 203, 0, 113, 5, 1, 187]).await;
    send(&mut server, &opened).await;
    expect(&mut server, &bytes).await;

    // Where no name is to be seen, nothing is waited for: the server may be the first to speak.
    let mut client = stage.client(MEANT, 22).await;
    let mut server = proxied(&proxy, &[5, 1, 0, 1, 203, 0, 113, 5, 0, 22]).await;
    send(&mut server, &opened).await;
    send(&mut server, b"SSH-2.0-x\r\n").await;
    expect(&mut client, b"SSH-2.0-x\r\n").await;
    assert_eq!(stage.dialled(), [SocketAddrV4::new(PROXY, 1080); 3]);
}

#[tokio::test]
async fn lists_come_before_the_proxy() {
    let mut stage = Stage::new(through(deny_all(), address())).await;
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &hello("a.example")).await;
    assert_eq!(rest(&mut client).await.expect("in order"), DENIED);
    let rule = warder_wire::Rule::Deny(Cidr::ALL);
    let told = stage.refused().await;
    assert_eq!(told, (Some("a.example".into()), Why::Address(rule)));
    // On other ports a reset says it.
    let mut client = stage.client(MEANT, 22).await;
    assert!(is_reset(&mut client).await);
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn without_the_proxy_nothing_goes_out() {
    let proxy_name = HostName::new("proxy.example").expect("a name");
    for host in [address(), ProxyHost::Name(proxy_name)] {
        let mut stage = Stage::new(through(Policy::OPEN, host)).await;
        stage.server(MEANT, 80, None).await;
        // A proxy that leads inside is not dialled at all.
        stage.name("proxy.example", &[Ipv4Addr::new(10, 0, 0, 9)]);
        let mut client = stage.client(MEANT, 80).await;
        assert!(is_reset(&mut client).await);
        assert_eq!(stage.refused().await, (None, Why::Proxy));
        assert!(stage.dialled().iter().all(|to| *to.ip() == PROXY));
    }
}

#[tokio::test]
async fn a_proxy_that_will_not_is_told_of() {
    for says in [&[5, 255][..], b"HTTP/1.1 400 Bad\r\n\r\n", &[5, 0], b""] {
        let mut stage = Stage::new(through(names(&["*"]), address())).await;
        let proxy = stage.server(PROXY, 1080, None).await;
        let mut client = stage.client(MEANT, 80).await;
        send(&mut client, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        let mut server = accept(&proxy).await;
        expect(&mut server, &[5, 1, 2]).await;
        send(&mut server, says).await;
        server.shutdown().await.expect("open");
        let answer = json(&rest(&mut client).await.expect("in order"), 502);
        assert_eq!(answer["error"], "egress_proxy");
        assert_eq!(
            stage.refused().await,
            (Some("a.example".into()), Why::Proxy)
        );
    }
}

#[tokio::test]
async fn another_proxy_ends_what_goes_through_this_one() {
    let stage = Stage::new(through(Policy::OPEN, address())).await;
    let proxy = stage.server(PROXY, 1080, None).await;
    let mut client = stage.client(MEANT, 22).await;
    let mut server = proxied(&proxy, &[5, 1, 0, 1, 203, 0, 113, 5, 0, 22]).await;
    send(&mut server, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    send(&mut client, b"x").await;
    expect(&mut server, b"x").await;
    stage.put(2, through(Policy::OPEN, address())).await;
    send(&mut client, b"y").await;
    expect(&mut server, b"y").await;
    stage.put(3, Policy::OPEN).await;
    assert!(is_reset(&mut client).await && is_reset(&mut server).await);
}
