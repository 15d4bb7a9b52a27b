//! Connections over loopback, judged and relayed as those of a sandbox; servers stand in for the addresses they are for.

mod http;
mod names;
mod policy;
mod proxy;
mod relay;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use warder_ipc::Channel;
use warder_ipc::aio::AsyncChannel;
use warder_wire::egress_gateway::{self, Why};
use warder_wire::{Cidr, HostName, NamePattern, Policy, SandboxId};

use super::*;
use crate::flow::Kind;
use crate::netd::DialError;
use crate::resolve::ResolveError;
use crate::sandboxes::{Sandbox, Sandboxes};

/// Where clients mean to go when nothing else is said.
const MEANT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// Where names lead.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);

/// The rest of the world.
#[derive(Default)]
struct Fake {
    names: Mutex<HashMap<String, Vec<Ipv4Addr>>>,
    servers: Mutex<HashMap<SocketAddrV4, SocketAddr>>,
    dialled: Mutex<Vec<(u64, SocketAddrV4)>>,
    /// The policy that netd has before egressd hears of it.
    generation: Mutex<u64>,
    never: Vec<Cidr>,
}

impl World for Fake {
    fn never(&self) -> &[Cidr] {
        &self.never
    }

    async fn resolve(&self, _: &Sandbox, name: &HostName) -> Result<Vec<Ipv4Addr>, ResolveError> {
        let names = self.names.lock().expect("no panic");
        names
            .get(name.as_str())
            .cloned()
            .ok_or(ResolveError::NoAddress)
    }

    async fn dial(
        &self,
        _: &Sandbox,
        generation: u64,
        to: SocketAddrV4,
    ) -> Result<Connection, DialError> {
        self.dialled
            .lock()
            .expect("no panic")
            .push((generation, to));
        if generation != *self.generation.lock().expect("no panic") {
            return Err(DialError::Changed);
        }
        let server = self.servers.lock().expect("no panic").get(&to).copied();
        let server =
            server.ok_or_else(|| DialError::Failed(io::ErrorKind::ConnectionRefused.into()))?;
        let stream = TcpStream::connect(server)
            .await
            .map_err(DialError::Failed)?;
        Connection::new(stream).map_err(DialError::Failed)
    }
}

/// A sandbox, and the world as it may see it.
struct Stage {
    world: Arc<Fake>,
    sandboxes: Sandboxes,
    events: Events,
    told: AsyncChannel,
    listener: TcpListener,
}

impl Stage {
    async fn new(policy: Policy) -> Self {
        let world = Fake::default();
        *world.generation.lock().expect("no panic") = 1;
        let (ours, gateway) = Channel::pair().expect("a pair");
        let events = Events::default();
        tokio::spawn(events.clone().run(ours));
        let stage = Self {
            world: Arc::new(world),
            sandboxes: Sandboxes::new(1000),
            events,
            told: AsyncChannel::new(gateway).expect("a channel"),
            listener: TcpListener::bind("127.0.0.1:0").await.expect("loopback"),
        };
        drop(stage.sandboxes.put(id(), GUEST, 1, policy, 100));
        stage
    }

    /// Puts a policy in force, and waits until what it forbids has ended.
    async fn put(&self, generation: u64, policy: Policy) {
        *self.world.generation.lock().expect("no panic") = generation;
        for ended in self.sandboxes.put(id(), GUEST, generation, policy, 100) {
            ended.settled().await;
        }
    }

    /// A server at an address, and perhaps a name for it.
    async fn server(&self, address: Ipv4Addr, port: u16, name: Option<&str>) -> TcpListener {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let at = server.local_addr().expect("bound");
        let to = SocketAddrV4::new(address, port);
        self.world.servers.lock().expect("no panic").insert(to, at);
        if let Some(name) = name {
            self.name(name, &[address]);
        }
        server
    }

    fn name(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut names = self.world.names.lock().expect("no panic");
        names.insert(name.to_owned(), addresses.to_vec());
    }

    /// The sandbox connects.
    async fn client(&self, address: Ipv4Addr, port: u16) -> TcpStream {
        let at = self.listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(at), self.listener.accept());
        let connection = Connection::new(accepted.expect("loopback").0).expect("options");
        let sandbox = self.sandboxes.at(GUEST).expect("put");
        let (world, events) = (Arc::clone(&self.world), self.events.clone());
        tokio::spawn(async move {
            let flow = Flow::begin(&sandbox, Kind::Connection).expect("few");
            let work = Work {
                world: &*world,
                events: &events,
                flow: &flow,
                meant: SocketAddrV4::new(address, port),
            };
            flow.unless_ended(work.serve(connection)).await;
        });
        client.expect("loopback")
    }

    fn dialled(&self) -> Vec<SocketAddrV4> {
        let dialled = self.world.dialled.lock().expect("no panic");
        dialled.iter().map(|(_, to)| *to).collect()
    }

    /// The next thing the gateway is told.
    async fn refused(&mut self) -> (Option<String>, Why) {
        let received = self.told.recv::<egress_gateway::Event>().await;
        let (event, _) = received.expect("open");
        let egress_gateway::Event::Refused(refused) = event else {
            panic!("{event:?}");
        };
        assert_eq!((&refused.sandbox, refused.protocol), (&id(), TCP));
        (refused.name.map(|name| name.to_string()), refused.why)
    }
}

fn id() -> SandboxId {
    SandboxId::new("i00000000000000000000").expect("an id")
}

/// Denies everything but these names.
fn names(patterns: &[&str]) -> Policy {
    let pattern = |text: &&str| NamePattern::new(text).expect("a pattern");
    Policy {
        names: patterns.iter().map(pattern).collect(),
        ..deny_all()
    }
}

fn deny_all() -> Policy {
    Policy {
        deny: vec![Cidr::ALL],
        ..Policy::OPEN
    }
}

/// A ClientHello as rustls sends it.
fn hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes
}

/// The same with another name of any bytes, or none, and further extensions.
fn hello_with(name: Option<&[u8]>, more: &[(u16, &[u8])]) -> Vec<u8> {
    let long = |n: usize| u16::try_from(n).expect("short").to_be_bytes();
    let mut extensions = Vec::new();
    if let Some(name) = name {
        extensions.extend([0, 0]);
        extensions.extend(long(name.len() + 5));
        extensions.extend(long(name.len() + 3));
        extensions.push(0);
        extensions.extend(long(name.len()));
        extensions.extend(name);
    }
    for (kind, data) in more {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(long(data.len()));
        extensions.extend(*data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(long(extensions.len()));
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(long(body.len() + 4));
    record.extend([1, 0]);
    record.extend(long(body.len()));
    record.extend(body);
    record
}

/// An alert that says access_denied.
const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("open");
}

/// All up to the end.
async fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Exactly these bytes.
async fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    stream.read_exact(&mut bytes).await.expect("open");
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        String::from_utf8_lossy(wanted)
    );
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let end = rest(stream).await;
    end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

async fn accept(server: &TcpListener) -> TcpStream {
    server.accept().await.expect("loopback").0
}

/// The body of a 403, or of another status.
fn json(answer: &[u8], code: u16) -> serde_json::Value {
    let text = String::from_utf8_lossy(answer);
    assert!(text.starts_with(&format!("HTTP/1.1 {code} ")), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["code"], code);
    body
}
