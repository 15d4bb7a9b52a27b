//! What passes in a network namespace, on every interface, as packet(7) shows it.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SocketType, eth, recv, socket, sockopt};

use crate::namespace::inside;

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;

const PATIENCE: Duration = Duration::from_secs(20);
/// A port that only a capture's own packets are for.
pub(crate) const SENTINEL: u16 = 9;

/// A frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// What is in it (`0x0800` for IPv4).
    pub ether: u16,
    /// Of IPv4: source and destination.
    pub from: Ipv4Addr,
    /// See `from`.
    pub to: Ipv4Addr,
    /// Of IPv4: the protocol.
    pub protocol: u8,
    /// Of TCP and UDP: source and destination port.
    pub ports: (u16, u16),
    /// Of TCP: its flags.
    pub flags: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Seen {
    fn parse(frame: &[u8]) -> Option<Self> {
        let ether = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
        let mut seen = Self {
            ether,
            from: Ipv4Addr::UNSPECIFIED,
            to: Ipv4Addr::UNSPECIFIED,
            protocol: 0,
            ports: (0, 0),
            flags: 0,
            payload: frame[14..].to_vec(),
        };
        if ether != 0x0800 {
            return Some(seen);
        }
        let ip = frame.get(14..)?;
        let length = usize::from(*ip.first()? & 15) * 4;
        let address = |at: usize| -> Option<Ipv4Addr> {
            Some(Ipv4Addr::from(
                <[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?,
            ))
        };
        (seen.from, seen.to) = (address(12)?, address(16)?);
        seen.protocol = *ip.get(9)?;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]])).min(ip.len());
        let body = ip.get(length..total)?;
        seen.payload = body.to_vec();
        if matches!(seen.protocol, TCP | UDP) {
            let port = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
            seen.ports = (port(0)?, port(2)?);
            let head = if seen.protocol == TCP {
                seen.flags = *body.get(13)?;
                usize::from(*body.get(12)? >> 4) * 4
            } else {
                8
            };
            seen.payload = body.get(head..)?.to_vec();
        }
        Some(seen)
    }
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    list: Arc<Mutex<Vec<Seen>>>,
    over: Arc<AtomicBool>,
    next: AtomicU32,
}

impl Capture {
    /// Begins to watch `ns`.
    ///
    /// # Panics
    /// Without the right to.
    #[must_use]
    pub fn of(ns: &OwnedFd) -> Self {
        let raw = inside(ns, || {
            let all = Some(eth::ALL);
            let raw = socket(AddressFamily::PACKET, SocketType::RAW, all).expect("root");
            let pause = Some(Duration::from_millis(100));
            sockopt::set_socket_timeout(&raw, sockopt::Timeout::Recv, pause).expect("a socket");
            sockopt::set_socket_recv_buffer_size(&raw, 8 << 20).expect("a socket");
            raw
        });
        let list = Arc::<Mutex<Vec<Seen>>>::default();
        let over = Arc::<AtomicBool>::default();
        let (into, end) = (Arc::clone(&list), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut frame = vec![0; 1 << 16];
            while !end.load(Ordering::Relaxed) {
                if let Ok((length, _)) = recv(&raw, frame.as_mut_slice(), RecvFlags::empty())
                    && let Some(seen) = Seen::parse(&frame[..length])
                {
                    into.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(seen);
                }
            }
        });
        Self {
            list,
            over,
            next: AtomicU32::new(1),
        }
    }

    /// How many frames there are. What is captured later, some of it sent before, is [`Self::since`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Frames from number `mark` on that are not the capture's own.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Seen> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |seen: &&Seen| seen.protocol != UDP || seen.ports.1 != SENTINEL;
        list[mark.min(list.len())..]
            .iter()
            .filter(own)
            .cloned()
            .collect()
    }

    /// Everything sent before is captured when this returns: a datagram that `from` sends to `to` comes behind it. How
    /// many frames there were then: what is sent from now on is [`Self::since`].
    ///
    /// # Panics
    /// When that never comes.
    pub fn barrier(&self, from: &UdpSocket, to: Ipv4Addr) -> usize {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let word = format!("barrier {number}");
        from.send_to(word.as_bytes(), (to, SENTINEL))
            .expect("a route");
        self.until("the barrier", |seen| seen.payload == word.as_bytes())
    }

    /// Waits until a frame like this came; how many there are up to it.
    ///
    /// # Panics
    /// When it never does.
    pub fn until(&self, what: &str, which: impl Fn(&Seen) -> bool) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = list.iter().position(&which) {
                return at + 1;
            }
            drop(list);
            assert!(Instant::now() < end, "{what} was never seen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
