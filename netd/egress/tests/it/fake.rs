//! The other ends of egressd's channels: netd and the gateway.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use warder_ipc::{Channel, IpcError};
use warder_wire::egress_gateway::{Event as Told, Refused};
use warder_wire::net_egress::{Answer, Ask, Event};
use warder_wire::{Fault, FaultCode, Message, Policy, Request, SandboxId};

use crate::server::Server;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A netd that makes sockets to the test's server, whatever the address.
#[derive(Debug)]
pub struct Netd {
    say: Sender<(Event, Vec<OwnedFd>)>,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    web: SocketAddr,
    resolvers: Vec<Ipv4Addr>,
    policies: HashMap<SandboxId, (u64, Policy)>,
    asked: Vec<Ask>,
    settled: Vec<u64>,
    ended: bool,
}

impl Netd {
    pub fn start(mut channel_end: Channel, server: &Server, resolvers: Vec<Ipv4Addr>) -> Self {
        let (say, said) = channel();
        let state = State {
            server: server.at,
            web: server.web,
            resolvers,
            policies: HashMap::new(),
            asked: Vec::new(),
            settled: Vec::new(),
            ended: false,
        };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let own = Arc::clone(&state);
        std::thread::spawn(move || serve(&mut channel_end, &said, &own));
        Self { say, state }
    }

    pub fn say(&self, event: Event, fds: Vec<OwnedFd>) {
        self.say.send((event, fds)).expect("netd lives");
    }

    /// Goes by another policy from now on.
    pub fn judge_by(&self, sandbox: SandboxId, generation: u64, policy: Policy) {
        let mut state = self.state.0.lock().expect("whole");
        state.policies.insert(sandbox, (generation, policy));
    }

    pub fn asked(&self) -> Vec<Ask> {
        self.state.0.lock().expect("whole").asked.clone()
    }

    pub fn wait_settled(&self, serial: u64) {
        self.wait("settled", |state| state.settled.contains(&serial));
    }

    pub fn wait_asked(&self, what: impl Fn(&Ask) -> bool) {
        self.wait("asked", |state| state.asked.iter().any(&what));
    }

    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) {
        let (state, changed) = &*self.state;
        let state = state.lock().expect("whole");
        let waited = changed.wait_timeout_while(state, PATIENCE, |state| !until(state));
        assert!(!waited.expect("whole").1.timed_out(), "not {what}");
    }
}

fn serve(
    channel: &mut Channel,
    said: &Receiver<(Event, Vec<OwnedFd>)>,
    state: &(Mutex<State>, Condvar),
) {
    loop {
        loop {
            match said.try_recv() {
                Ok((event, fds)) => {
                    let message = Message::<Answer, Event>::Event(event);
                    if channel.send(&message, fds).is_err() {
                        return;
                    }
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                // The test lets go of netd, which dies.
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        match channel.recv_timeout::<Request<Ask>>(Duration::from_millis(2)) {
            Ok((request, _)) => {
                let mut all = state.0.lock().expect("whole");
                let answered = all.answer(&request.body);
                all.asked.push(request.body);
                drop(all);
                state.1.notify_all();
                let Some(answered) = answered else { continue };
                let (result, fds) = match answered {
                    Ok(fd) => (Ok(Answer::Socket), vec![fd]),
                    Err(fault) => (Err(fault), Vec::new()),
                };
                let seq = request.seq;
                let reply = Message::<Answer, Event>::Reply { seq, result };
                if channel.send(&reply, fds).is_err() {
                    return;
                }
            }
            Err(IpcError::TimedOut) => {}
            Err(_) => {
                state.0.lock().expect("whole").ended = true;
                return;
            }
        }
    }
}

impl State {
    fn answer(&mut self, ask: &Ask) -> Option<Result<OwnedFd, Fault>> {
        let refuse = |code| Some(Err(Fault::new(code, "no")));
        let (sandbox, generation) = match ask {
            Ask::Settled { serial } => {
                self.settled.push(*serial);
                return None;
            }
            Ask::Reply { .. } => panic!("egressd can answer itself here"),
            Ask::Dial {
                sandbox,
                generation,
                ..
            }
            | Ask::Query {
                sandbox,
                generation,
                ..
            } => (sandbox, generation),
        };
        let Some((current, policy)) = self.policies.get(sandbox) else {
            return refuse(FaultCode::NotFound);
        };
        if current != generation {
            return refuse(FaultCode::Conflict);
        }
        match ask {
            Ask::Query { server, stream, .. } if policy.resolves(&[], &self.resolvers, *server) => {
                Some(Ok(if *stream {
                    TcpStream::connect(self.server).expect("listens").into()
                } else {
                    let socket = UdpSocket::bind("127.0.0.1:0").expect("free");
                    socket.connect(self.server).expect("local");
                    socket.into()
                }))
            }
            Ask::Dial { to, .. } if policy.reaches(&[], *to.ip()) => {
                Some(Ok(TcpStream::connect(self.web).expect("listens").into()))
            }
            _ => refuse(FaultCode::Refused),
        }
    }
}

/// What the gateway is told.
#[derive(Clone, Debug, Default)]
pub struct Gateway(Arc<(Mutex<Vec<Told>>, Condvar)>);

impl Gateway {
    pub fn start(mut channel: Channel) -> Self {
        let gateway = Self::default();
        let own = gateway.clone();
        std::thread::spawn(move || {
            loop {
                match channel.recv_timeout::<Told>(PATIENCE) {
                    Ok((told, _)) => {
                        own.0.0.lock().expect("whole").push(told);
                        own.0.1.notify_all();
                    }
                    Err(IpcError::TimedOut) => {}
                    Err(_) => return,
                }
            }
        });
        gateway
    }

    /// Waits until something like this is refused; it.
    pub fn refused(&self, what: impl Fn(&Refused) -> bool) -> Refused {
        let end = Instant::now() + PATIENCE;
        let mut all = self.0.0.lock().expect("whole");
        loop {
            let found = all.iter().find_map(|told| match told {
                Told::Refused(refused) if what(refused) => Some(refused.clone()),
                _ => None,
            });
            if let Some(refused) = found {
                return refused;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not told; only {all:?}");
            all = self.0.1.wait_timeout(all, left).expect("whole").0;
        }
    }

    /// All of it until now.
    pub fn told(&self) -> Vec<Told> {
        self.0.0.lock().expect("whole").clone()
    }
}
