//! A DNS server that answers well or badly, as the first label of the name says, and a web server.

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::message::{self, A, CNAME, Read, Record, TXT, answer};

/// Where it says that names are.
pub const ADDRESS: [u8; 4] = [203, 0, 113, 7];
pub const GOOD: u16 = 0x8180;

/// The server and what it was asked.
#[derive(Clone, Debug)]
pub struct Server {
    pub at: SocketAddr,
    /// The web server.
    pub web: SocketAddr,
    asked: Arc<Mutex<Vec<(bool, Read)>>>,
    resets: Arc<AtomicUsize>,
}

impl Server {
    pub fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("free");
        let at = tcp.local_addr().expect("bound");
        let udp = UdpSocket::bind(at).expect("free");
        let web = TcpListener::bind("127.0.0.1:0").expect("free");
        let server = Self {
            at,
            web: web.local_addr().expect("bound"),
            asked: Arc::default(),
            resets: Arc::default(),
        };
        let one = server.clone();
        std::thread::spawn(move || one.datagrams(&udp));
        let resets = Arc::clone(&server.resets);
        std::thread::spawn(move || {
            for stream in web.incoming().flatten() {
                let resets = Arc::clone(&resets);
                std::thread::spawn(move || http(stream, &resets));
            }
        });
        let one = server.clone();
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let one = one.clone();
                std::thread::spawn(move || one.stream(stream));
            }
        });
        server
    }

    /// What it was asked since it was last asked this: over TCP or not, and the message.
    pub fn asked(&self) -> Vec<(bool, Read)> {
        std::mem::take(&mut *self.asked.lock().expect("whole"))
    }

    /// Connections to the web server that were reset, once one was.
    pub fn resets(&self) -> usize {
        loop {
            match self.resets.load(Ordering::SeqCst) {
                0 => std::thread::yield_now(),
                resets => return resets,
            }
        }
    }

    fn note(&self, stream: bool, question: &[u8]) {
        let mut asked = self.asked.lock().expect("whole");
        asked.push((stream, message::read(question)));
    }

    fn datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            self.note(false, &buffer[..length]);
            for reply in replies(&buffer[..length], false) {
                let _ = socket.send_to(&reply, from);
            }
        }
    }

    fn stream(&self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut question).is_err() {
                return;
            }
            self.note(true, &question);
            for reply in replies(&question, true) {
                let length = u16::try_from(reply.len()).expect("short").to_be_bytes();
                let _ = stream.write_all(&[length.as_slice(), &reply].concat());
            }
        }
    }
}

/// Answers every request.
fn http(mut stream: TcpStream, resets: &AtomicUsize) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => request.extend(&buffer[..n]),
            Err(_) => {
                resets.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    }
}

fn replies(question: &[u8], stream: bool) -> Vec<Vec<u8>> {
    let asked = message::read(question);
    let own = |kind, data: Vec<u8>| -> Record { (asked.name.clone(), kind, data) };
    let good = answer(question, GOOD, &[own(A, ADDRESS.to_vec())]);
    let with = |at: usize, byte: u8| {
        let mut forged = answer(question, GOOD, &[own(A, vec![203, 0, 113, 66])]);
        forged[at] ^= byte;
        forged
    };
    match asked
        .name
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
        .as_str()
    {
        "silent" => Vec::new(),
        "none" => vec![answer(question, 0x8183, &[])],
        "refused" => vec![answer(question, 0x8185, &[])],
        "text" => vec![answer(question, GOOD, &[own(TXT, b"\x05hello".to_vec())])],
        // Another number, another name, no response, garbage, and then the answer.
        "forged" => vec![
            with(0, 1),
            with(13, 0x20),
            with(13, 1),
            with(2, 0x80),
            vec![0xff; 600],
            good,
        ],
        "garbage" => vec![vec![0xc0; 300]],
        "loop" => vec![answer(question, GOOD, &[own(CNAME, vec![0xc0, 12])])],
        "cut" if !stream => vec![answer(question, 0x8380, &[])],
        "giant" => {
            let records: Vec<Record> = (0..200).map(|n| own(A, vec![203, 0, 113, n])).collect();
            let all = answer(question, GOOD, &records);
            vec![if stream {
                all
            } else {
                answer(question, 0x8380, &[])
            }]
        }
        // As some do, the name in letters of its own.
        "lower" => {
            let mut lower = good;
            lower[12..12 + asked.name.len()].make_ascii_lowercase();
            vec![lower]
        }
        "inner" => vec![answer(
            question,
            GOOD,
            &[own(A, vec![127, 0, 0, 1]), own(A, vec![10, 0, 0, 1])],
        )],
        "mixed" => vec![answer(
            question,
            GOOD,
            &[own(A, vec![169, 254, 169, 254]), own(A, ADDRESS.to_vec())],
        )],
        "more" => vec![answer(
            question,
            GOOD,
            &[
                own(CNAME, message::name("alias.elsewhere")),
                own(TXT, b"\x04text".to_vec()),
                ("other.example".to_owned(), A, vec![203, 0, 113, 66]),
                ("alias.elsewhere".to_owned(), A, ADDRESS.to_vec()),
            ],
        )],
        _ => vec![good],
    }
}
