use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;

use super::*;

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut all = kind.to_be_bytes().to_vec();
    all.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    all.extend(data);
    all
}

fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, name) in names {
        list.push(*kind);
        list.extend(u16::try_from(name.len()).expect("short").to_be_bytes());
        list.extend(*name);
    }
    let mut data = u16::try_from(list.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    data.extend(list);
    extension(SERVER_NAME, &data)
}

/// The message in a ClientHello with these extensions.
fn message(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 0x01]);
    body.extend([1, 0]);
    body.extend(
        u16::try_from(extensions.len())
            .expect("short")
            .to_be_bytes(),
    );
    body.extend(extensions);
    let mut message = vec![CLIENT_HELLO];
    message.extend(&u32::try_from(body.len()).expect("short").to_be_bytes()[1..]);
    message.extend(body);
    message
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| {
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend(u16::try_from(fragment.len()).expect("short").to_be_bytes());
        record.extend(fragment);
        record
    };
    message.chunks(size).flat_map(record).collect()
}

fn read(bytes: &[u8]) -> Result<Option<Hello>, Odd> {
    Reader::default().push(bytes)
}

fn of(extensions: &[u8]) -> Result<Option<Hello>, Odd> {
    read(&records(&message(extensions), MAX_FRAGMENT))
}

fn named(name: &str) -> Hello {
    Hello {
        name: Some(HostName::new(name).expect("a name")),
        hidden: false,
    }
}

/// What rustls, which most clients in Rust use, sends.
fn rustls_hello(name: &str) -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes
}

#[test]
fn a_real_one_is_read_at_its_last_byte_and_not_before() {
    let bytes = rustls_hello("www.Example.com");
    let mut reader = Reader::default();
    let (last, front) = bytes.split_last().expect("some");
    for byte in front {
        assert_eq!(reader.push(&[*byte]), Ok(None));
    }
    assert_eq!(reader.push(&[*last]), Ok(Some(named("www.example.com"))));
}

#[test]
fn it_may_be_cut_anywhere_and_into_many_records() {
    let message = message(&names(&[(0, b"example.com")]));
    for size in 1..=message.len() {
        let bytes = records(&message, size);
        for cut in 0..=bytes.len() {
            let mut reader = Reader::default();
            let first = reader.push(&bytes[..cut]).expect("good");
            assert_eq!(first.is_some(), cut == bytes.len());
            if first.is_none() {
                let second = reader.push(&bytes[cut..]);
                assert_eq!(second, Ok(Some(named("example.com"))), "{size} {cut}");
            }
        }
    }
}

#[test]
fn what_follows_its_records_is_not_its_own() {
    let mut bytes = records(&message(&names(&[(0, b"example.com")])), 100);
    bytes.extend([20, 3, 3, 0, 1, 1]);
    assert_eq!(read(&bytes), Ok(Some(named("example.com"))));
}

#[test]
fn no_server_name_and_an_address_are_no_name() {
    let none = Ok(Some(Hello {
        name: None,
        hidden: false,
    }));
    assert_eq!(of(&[]), none);
    assert_eq!(of(&extension(43, &[2, 3, 4])), none);
    assert_eq!(of(&names(&[(0, b"192.0.2.1")])), none);
    assert_eq!(of(&names(&[(0, b"2001:db8::1")])), none);
    assert_eq!(read(&rustls_hello("192.0.2.1")), none);
    // Before there were extensions.
    let mut old = message(&[]);
    old.truncate(old.len() - 2);
    old[3] -= 2;
    assert_eq!(read(&records(&old, 100)), none);
}

#[test]
fn a_hidden_name_is_seen_whether_real_or_not() {
    for kind in HIDDEN {
        let mut extensions = names(&[(0, b"example.com")]);
        extensions.extend(extension(kind, &[0; 40]));
        let hello = of(&extensions).expect("good").expect("whole");
        assert!(
            hello.hidden && hello.name == named("example.com").name,
            "{kind:x}"
        );
    }
}

#[test]
fn odd_server_names_are_refused() {
    let long = "a.".repeat(126) + "bc";
    assert_eq!(long.len(), 254);
    for name in [
        long.as_bytes(),
        b"example.com\0.evil.example",
        b"b\xc3\xbccher.de",
        b"\xff",
        b"a b",
        b"example.com:443",
        b"127.1",
        b"*.example.com",
        b"",
    ] {
        let read = of(&names(&[(0, name)]));
        assert_eq!(read, Err(Odd::Hello("its server name")), "{name:?}");
    }
    assert_eq!(
        of(&names(&[(0, b"Example.COM.")])),
        Ok(Some(named("example.com")))
    );
}

#[test]
fn only_one_server_name_may_be_given() {
    let list = Err(Odd::Hello("its list of server names"));
    assert_eq!(of(&names(&[(0, b"a.example"), (0, b"b.example")])), list);
    assert_eq!(of(&names(&[(0, b"a.example"), (1, b"b.example")])), list);
    assert_eq!(of(&names(&[(1, b"a.example")])), list);
    let mut twice = names(&[(0, b"a.example")]);
    twice.extend(names(&[(0, b"b.example")]));
    assert_eq!(of(&twice), Err(Odd::Hello("an extension twice")));
    let mut more = names(&[(0, b"a.example")]);
    let data = more.split_off(4);
    let behind = extension(SERVER_NAME, &[&data[..], &[0]].concat());
    assert_eq!(of(&behind), list);
    assert_eq!(
        of(&extension(SERVER_NAME, &[])),
        Err(Odd::Hello("a length"))
    );
}

#[test]
fn what_is_no_tls_is_seen_at_its_first_bytes() {
    // An SSLv2 ClientHello, HTTP, SSH, an alert, application data, a ServerHello, SSL 4.
    for bytes in [
        &[0x80, 0x2e, 1, 3, 1][..],
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-x",
        &[21],
        &[23, 3, 3],
        &[22, 3, 3, 0, 4, 2],
        &[22, 4],
    ] {
        let early = read(bytes);
        let whole = |n: usize| [bytes, &vec![0; n]].concat();
        let found = early.and_then(|_| read(&whole(8)));
        assert_eq!(found, Err(Odd::NotTls), "{bytes:?}");
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    assert!(
        matches!(read(&[22, 3, 1, 0, 0]), Err(Odd::Hello(_))),
        "empty"
    );
    assert!(
        matches!(read(&[22, 3, 1, 0x40, 1]), Err(Odd::Hello(_))),
        "long"
    );
    // 16 MiB are announced at the first bytes.
    assert_eq!(read(&[22, 3, 1, 0, 4, 1, 255, 255, 255]), Err(Odd::TooLong));
    let two = [message(&[]), message(&[])].concat();
    assert!(matches!(read(&records(&two, 1000)), Err(Odd::Hello(_))));
    let good = message(&names(&[(0, b"example.com")]));
    for at in 38..good.len() - 11 {
        let mut bad = good.clone();
        bad[at] = bad[at].wrapping_add(1);
        // Whatever is said of it, nothing panics.
        let _ = read(&records(&bad, 1000));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        cuts in proptest::collection::vec(1..40_usize, 1..20),
        framed in any::<bool>(),
    ) {
        let bytes = match framed {
            true => records(&message(&bytes), 61),
            false => bytes,
        };
        let whole = read(&bytes);
        let (mut reader, mut at, mut cuts) = (Reader::default(), 0, cuts.iter().cycle());
        let mut pieces = Ok(None);
        while at < bytes.len() && matches!(pieces, Ok(None)) {
            let end = (at + cuts.next().expect("a cycle")).min(bytes.len());
            pieces = reader.push(&bytes[at..end]);
            at = end;
        }
        prop_assert_eq!(pieces, whole);
    }
}
