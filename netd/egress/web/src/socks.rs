//! The client's side of SOCKS5 (RFC 1928) with user and password (RFC 1929), up to where the connection is its own.

use std::net::Ipv4Addr;

use warder_wire::{HostName, Proxy};

/// Whom the proxy is to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A name, which it resolves.
    Name(HostName),
    /// An address.
    Address(Ipv4Addr),
}

/// What a proxy did wrong, or would not do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SocksError {
    /// It speaks something else.
    #[error("the egress proxy does not speak SOCKS5")]
    NotSocks,
    /// It takes no way to log in that was offered.
    #[error("the egress proxy wants another login")]
    Method,
    /// User or password are wrong.
    #[error("the egress proxy refused user and password")]
    Login,
    /// It did not connect, for this reason (RFC 1928, section 6).
    #[error("the egress proxy answered {0}")]
    Refused(u8),
}

/// A connection to a proxy, from its first byte on.
#[derive(Debug)]
pub struct Socks<'a> {
    proxy: &'a Proxy,
    target: &'a Target,
    port: u16,
    at: At,
    came: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Method,
    Login,
    Reply,
    Open,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Read, at most so many bytes: those behind are not the proxy's any more.
    Read(usize),
    /// Send this, then read.
    Send(Vec<u8>),
    /// The connection is open.
    Open,
}

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

impl<'a> Socks<'a> {
    /// Begins; what to send comes along.
    #[must_use]
    pub fn new(proxy: &'a Proxy, target: &'a Target, port: u16) -> (Self, Vec<u8>) {
        let greeting = match proxy.login {
            // A proxy that needs none may say so; whoever names a user is not sent on without.
            Some(_) => vec![VERSION, 1, USER_AND_PASSWORD],
            None => vec![VERSION, 1, NO_LOGIN],
        };
        let socks = Self {
            proxy,
            target,
            port,
            at: At::Method,
            came: Vec::new(),
        };
        (socks, greeting)
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// When the connection will not come about.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Step, SocksError> {
        self.came.extend_from_slice(bytes);
        let needed = self.needed()?;
        if self.came.len() < needed {
            return Ok(Step::Read(needed - self.came.len()));
        }
        let came = std::mem::take(&mut self.came);
        match (self.at, came.as_slice()) {
            (At::Method, [_, NO_LOGIN]) if self.proxy.login.is_none() => Ok(self.request()),
            (At::Method, [_, USER_AND_PASSWORD]) => {
                let Some((user, password)) = &self.proxy.login else {
                    return Err(SocksError::Method);
                };
                self.at = At::Login;
                let mut login = vec![LOGIN_VERSION];
                for text in [user, password] {
                    let length = u8::try_from(text.len()).map_err(|_| SocksError::Login)?;
                    login.push(length);
                    login.extend(text.as_bytes());
                }
                Ok(Step::Send(login))
            }
            (At::Method, _) => Err(SocksError::Method),
            (At::Login, [_, 0]) => Ok(self.request()),
            (At::Login, _) => Err(SocksError::Login),
            (At::Reply | At::Open, _) => {
                self.at = At::Open;
                Ok(Step::Open)
            }
        }
    }

    fn request(&mut self) -> Step {
        self.at = At::Reply;
        let mut request = vec![VERSION, CONNECT, 0];
        match self.target {
            Target::Address(address) => {
                request.push(IPV4);
                request.extend(address.octets());
            }
            Target::Name(name) => {
                // At most 253 bytes.
                let length = u8::try_from(name.as_str().len()).unwrap_or(u8::MAX);
                request.extend([NAME, length]);
                request.extend(name.as_str().as_bytes());
            }
        }
        request.extend(self.port.to_be_bytes());
        Step::Send(request)
    }

    /// Bytes of the answer that is awaited, as far as can be told yet.
    fn needed(&self) -> Result<usize, SocksError> {
        let came = self.came.as_slice();
        let version = match self.at {
            At::Login => LOGIN_VERSION,
            At::Open => return Ok(0),
            At::Method | At::Reply => VERSION,
        };
        if came.first().is_some_and(|first| *first != version) {
            return Err(SocksError::NotSocks);
        }
        if self.at != At::Reply {
            return Ok(2);
        }
        if let Some(code) = came.get(1)
            && *code != 0
        {
            return Err(SocksError::Refused(*code));
        }
        Ok(match came.get(3..) {
            None => 5,
            Some([IPV4, ..]) => 10,
            Some([IPV6, ..]) => 22,
            Some([NAME, length, ..]) => 7 + usize::from(*length),
            Some([NAME] | []) => 5,
            Some(_) => return Err(SocksError::NotSocks),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warder_wire::ProxyHost;

    use super::*;

    fn proxy(login: Option<(&str, &str)>) -> Proxy {
        Proxy {
            host: ProxyHost::Address(Ipv4Addr::new(203, 0, 113, 9)),
            port: 1080,
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
        }
    }

    /// Lets a proxy say its lines, `size` bytes at a time; what was sent to it, and how it ended.
    fn talk(
        proxy: &Proxy,
        target: &Target,
        lines: &[&[u8]],
        size: usize,
    ) -> (Vec<Vec<u8>>, Result<Step, SocksError>) {
        let (mut socks, greeting) = Socks::new(proxy, target, 443);
        let mut sent = vec![greeting];
        let mut last = Ok(Step::Read(2));
        for line in lines {
            let mut line = *line;
            while !line.is_empty() {
                let room = match last {
                    Ok(Step::Read(room)) => room,
                    Ok(Step::Send(_)) => 1,
                    _ => return (sent, last),
                };
                let (now, rest) = line.split_at(room.min(size).min(line.len()));
                last = socks.push(now);
                line = rest;
                if let Ok(Step::Send(bytes)) = &last {
                    sent.push(bytes.clone());
                }
            }
        }
        (sent, last)
    }

    #[test]
    fn a_name_is_handed_on_with_user_and_password() {
        let target = Target::Name(HostName::new("example.com").expect("a name"));
        for size in 1..20 {
            let lines: [&[u8]; 3] = [&[5, 2], &[1, 0], &[5, 0, 0, 1, 1, 2, 3, 4, 5, 6]];
            let (sent, end) = talk(&proxy(Some(("me", "secret"))), &target, &lines, size);
            assert_eq!(end, Ok(Step::Open), "{size}");
            let wanted: [&[u8]; 3] = [
                &[5, 1, 2],
                b"\x01\x02me\x06secret",
                b"\x05\x01\x00\x03\x0bexample.com\x01\xbb",
            ];
            assert_eq!(sent, wanted);
        }
    }

    #[test]
    fn an_address_is_handed_on_without_a_login() {
        let target = Target::Address(Ipv4Addr::new(192, 0, 2, 1));
        let name = [&[5, 0, 0, 3, 2][..], b"xy", &[0, 80]].concat();
        let six = [&[5, 0, 0, 4][..], &[0; 18]].concat();
        for reply in [name, six] {
            let (sent, end) = talk(&proxy(None), &target, &[&[5, 0], &reply], 3);
            assert_eq!(end, Ok(Step::Open));
            assert_eq!(sent, [&[5, 1, 0][..], &[5, 1, 0, 1, 192, 0, 2, 1, 1, 187]]);
        }
    }

    #[test]
    fn what_comes_behind_the_reply_is_not_asked_for() {
        let target = Target::Address(Ipv4Addr::new(192, 0, 2, 1));
        let proxy = proxy(None);
        let (mut socks, _) = Socks::new(&proxy, &target, 22);
        assert_eq!(socks.push(&[]), Ok(Step::Read(2)));
        assert!(matches!(socks.push(&[5, 0]), Ok(Step::Send(_))));
        assert_eq!(socks.push(&[]), Ok(Step::Read(5)));
        assert_eq!(socks.push(&[5, 0, 0, 1, 9]), Ok(Step::Read(5)));
        assert_eq!(socks.push(&[9, 9, 9, 0, 1]), Ok(Step::Open));
    }

    #[test]
    fn a_proxy_that_will_not_is_told_apart() {
        let target = Target::Address(Ipv4Addr::new(192, 0, 2, 1));
        let end = |login, lines: &[&[u8]]| talk(&proxy(login), &target, lines, 100).1;
        let login = Some(("me", "x"));
        assert_eq!(end(None, &[b"HTTP/1.1 400"]), Err(SocksError::NotSocks));
        assert_eq!(end(None, &[&[5, 255]]), Err(SocksError::Method));
        assert_eq!(end(None, &[&[5, 2]]), Err(SocksError::Method));
        assert_eq!(end(login, &[&[5, 0]]), Err(SocksError::Method));
        assert_eq!(end(login, &[&[5, 2], &[1, 1]]), Err(SocksError::Login));
        assert_eq!(end(None, &[&[5, 0], &[5, 2]]), Err(SocksError::Refused(2)));
        assert_eq!(
            end(None, &[&[5, 0], &[5, 0, 0, 9, 1]]),
            Err(SocksError::NotSocks)
        );
    }

    proptest! {
        #[test]
        fn nothing_a_proxy_says_panics(
            lines in proptest::collection::vec(proptest::collection::vec(0..6_u8, 1..30), 1..6),
            login: bool,
        ) {
            let target = Target::Address(Ipv4Addr::new(192, 0, 2, 1));
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let _ = talk(&proxy(login.then_some(("a", "b"))), &target, &lines, 3);
        }
    }
}
