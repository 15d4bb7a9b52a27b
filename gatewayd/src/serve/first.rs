//! The first bytes of a connection, looked at without taking them: which thread it is for. A guess, and only about speed:
//! every thread serves every request.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::proxy::host::{Target, target};

/// As many are looked at. Clients name the host first.
const LOOK: usize = 2048;

/// Whether the first request is for a sandbox, as far as can be told from what has come of it. Waits for the first byte.
///
/// # Errors
/// When the connection has failed.
pub(super) async fn is_for_a_sandbox(stream: &TcpStream, domains: &[String]) -> io::Result<bool> {
    loop {
        stream.readable().await?;
        let looked = stream.try_io(Interest::READABLE, || {
            let mut bytes = [0; LOOK];
            let (count, _) = recv(stream, &mut bytes[..], RecvFlags::PEEK)?;
            Ok(names_a_sandbox(
                bytes.get(..count).unwrap_or_default(),
                domains,
            ))
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}

fn names_a_sandbox(head: &[u8], domains: &[String]) -> bool {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?)))
        else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) {
            headers.append(name, value);
        }
    }
    let target = target(&Uri::from_static("/"), &headers, domains);
    matches!(target, Ok(Target::Sandbox { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "iaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn heads_whole_and_cut() {
        let of = |head: &str| names_a_sandbox(head.as_bytes(), &["box.test".to_owned()]);
        assert!(of(&format!(
            "GET / HTTP/1.1\r\nHost: 8000-{ID}.box.test\r\nAcce"
        )));
        assert!(of(&format!(
            "POST /x HTTP/1.1\r\nhost: localhost\r\ne2b-sandbox-id: {ID}\r\nE2B-Sandbox-Port: 80\r\n\r\nbody: x"
        )));
        for other in [
            "",
            "GET / HTTP/1.1\r\nHost: api.box.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 8000",
            "\x16\x03\x01\x02\x00",
            "\n:\n::\n",
        ] {
            assert!(!of(other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_taken() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).await.expect("loopback");
        let (mut stream, _) = listener.accept().await.expect("connected");
        let text = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(text).await.expect("open");
        assert!(!is_for_a_sandbox(&stream, &[]).await.expect("open"));
        let mut all = vec![0; text.len()];
        stream.read_exact(&mut all).await.expect("all of it");
        assert_eq!(all, text);
        drop(client);
        assert!(!is_for_a_sandbox(&stream, &[]).await.expect("its end"));
    }
}
