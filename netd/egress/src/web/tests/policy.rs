//! Policies that change while connections live.

use warder_wire::Rule;

use super::*;

/// A connection for a name, open.
async fn open(stage: &Stage, name: &str, address: Ipv4Addr) -> (TcpStream, TcpStream) {
    let server = stage.server(address, 443, Some(name)).await;
    let mut client = stage.client(MEANT, 443).await;
    let hello = hello(name);
    send(&mut client, &hello).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, &hello).await;
    (client, at_server)
}

async fn lives((client, server): &mut (TcpStream, TcpStream)) {
    send(client, b"question").await;
    expect(server, b"question").await;
    send(server, b"answer").await;
    expect(client, b"answer").await;
}

#[tokio::test]
async fn exactly_what_a_policy_forbids_is_reset_on_both_sides() {
    let stage = Stage::new(names(&["a.example", "b.example"])).await;
    let other = Ipv4Addr::new(203, 0, 113, 81);
    let mut a = open(&stage, "a.example", SERVER).await;
    let mut b = open(&stage, "b.example", other).await;
    // Still whom it is for has to be said.
    let mut silent = stage.client(MEANT, 443).await;
    stage.put(2, names(&["a.example", "c.example"])).await;
    assert!(is_reset(&mut b.0).await && is_reset(&mut b.1).await);
    lives(&mut a).await;
    stage.put(3, Policy::OPEN).await;
    lives(&mut a).await;
    let denied = Policy {
        allow: vec![Cidr::new(SERVER, 32).expect("a network")],
        ..deny_all()
    };
    stage.put(4, denied).await;
    lives(&mut a).await;
    stage.put(5, names(&["c.example"])).await;
    assert!(is_reset(&mut a.0).await && is_reset(&mut a.1).await);
    // Judged by what holds when it speaks.
    send(&mut silent, &hello("a.example")).await;
    assert_eq!(rest(&mut silent).await.expect("in order"), DENIED);
}

#[tokio::test]
async fn what_its_receiver_has_not_taken_is_not_past_forbidding() {
    let stage = Stage::new(names(&["a.example"])).await;
    let (mut client, mut server) = open(&stage, "a.example", SERVER).await;
    // Both have ended; only the server has not read what the sandbox sent.
    send(&mut client, &vec![0; 400_000]).await;
    server.shutdown().await.expect("open");
    client.shutdown().await.expect("open");
    assert_eq!(rest(&mut client).await.expect("in order"), b"");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    stage.put(2, names(&["b.example"])).await;
    assert!(is_reset(&mut server).await);
}

#[tokio::test]
async fn an_air_gap_leaves_nothing_open() {
    let stage = Stage::new(names(&["a.example"])).await;
    let mut a = open(&stage, "a.example", SERVER).await;
    let mut silent = stage.client(MEANT, 80).await;
    let closed = Policy {
        airgap: true,
        ..names(&["a.example"])
    };
    stage.put(2, closed).await;
    assert!(is_reset(&mut a.0).await && is_reset(&mut a.1).await);
    assert!(is_reset(&mut silent).await);
}

#[tokio::test]
async fn a_policy_that_netd_has_already_is_waited_for() {
    let stage = Stage::new(names(&["a.example"])).await;
    let server = stage.server(SERVER, 443, Some("a.example")).await;
    *stage.world.generation.lock().expect("no panic") = 2;
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &hello("a.example")).await;
    while stage.dialled().is_empty() {
        tokio::task::yield_now().await;
    }
    stage.put(2, names(&["*"])).await;
    accept(&server).await;
    // And if that forbids it, it ends there.
    *stage.world.generation.lock().expect("no panic") = 3;
    let before = stage.dialled().len();
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &hello("a.example")).await;
    while stage.dialled().len() == before {
        tokio::task::yield_now().await;
    }
    stage.put(3, names(&["b.example"])).await;
    assert!(is_reset(&mut client).await);
}

#[tokio::test]
async fn what_an_address_rule_denies_is_told_with_that_rule() {
    let mut stage = Stage::new(deny_all()).await;
    let inner = Ipv4Addr::new(169, 254, 169, 254);
    for (to, rule, text) in [
        (MEANT, Rule::Deny(Cidr::ALL), "denyOut 0.0.0.0/0"),
        (inner, Rule::AlwaysDenied, "always denied"),
    ] {
        let mut client = stage.client(to, 80).await;
        send(&mut client, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        let answer = json(&rest(&mut client).await.expect("in order"), 403);
        assert_eq!(
            (&answer["rule"], &answer["port"]),
            (&text.into(), &80.into())
        );
        assert_eq!(answer["address"], to.to_string());
        assert_eq!(answer["sandboxId"], id().as_str());
        let told = stage.refused().await;
        assert_eq!(told, (Some("a.example".into()), Why::Address(rule)));
        let mut client = stage.client(to, 443).await;
        send(&mut client, &hello("a.example")).await;
        assert_eq!(rest(&mut client).await.expect("in order"), DENIED);
        let told = stage.refused().await;
        assert_eq!(told, (Some("a.example".into()), Why::Address(rule)));
    }
    assert_eq!(stage.dialled(), []);
}

#[tokio::test]
async fn what_is_sent_behind_a_refused_request_does_not_hide_the_answer() {
    let stage = Stage::new(deny_all()).await;
    let mut client = stage.client(MEANT, 80).await;
    send(
        &mut client,
        b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 500000\r\n\r\n",
    )
    .await;
    let (mut reader, mut writer) = client.split();
    let body = vec![0; 500_000];
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(writer.write_all(&body), reader.read_to_end(&mut answer));
    read.expect("in order");
    json(&answer, 403);
}
