//! HTTP/1 by name: every request of a connection is for the one name it was judged by.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use warder_web::Odd;
use warder_web::http::{Asked, Head, Requests, Responses, Step, Upgrade};
use warder_wire::HostName;

use super::held::{Held, Share};
use super::io::{copy, end, read_some, write_all};
use crate::connection::Connection;

/// Requests that wait for their answers at most; more are read when some were answered.
const UNANSWERED: usize = 64;

/// The last request of a connection, which was left unserved.
#[derive(Debug)]
pub(super) struct Stray {
    /// Why.
    pub(super) why: Astray,
    /// What its first bytes are, which say how it is to be answered.
    pub(super) begins: &'static [u8],
}

impl Stray {
    /// What waits begins with it.
    fn new(why: Astray, waiting: &[u8]) -> Self {
        let begins = match waiting {
            [b'H', b'E', b'A', b'D', b' ', ..] => b"HEAD ",
            _ => b"HTTP".as_slice(),
        };
        Self { why, begins }
    }
}

/// Why it was.
#[derive(Debug)]
pub(super) enum Astray {
    /// It was for another host, or for nobody.
    Host(Option<HostName>),
    /// It could not be understood.
    Odd(Odd),
}

/// How the client's side ended.
enum Up {
    /// By itself.
    Ended,
    /// By a request that is not sent on; whether no part of it is with the server.
    Stray(Stray, bool),
}

/// What both directions know of the answers.
struct Answers<'a> {
    responses: Mutex<Responses>,
    /// What is kept of a head that is not whole.
    held: Mutex<Held<'a>>,
    over: AtomicBool,
    moved: Notify,
}

impl<'a> Answers<'a> {
    fn new(share: &'a Share) -> Self {
        Self {
            responses: Mutex::default(),
            held: Mutex::new(Held::new(share, 0)),
            over: AtomicBool::default(),
            moved: Notify::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Responses> {
        self.responses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, bytes: &[u8]) {
        let mut responses = self.lock();
        responses.saw(bytes);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.set(responses.held());
        if held.is_too_much() {
            responses.give_up();
            held.set(0);
        }
        drop((responses, held));
        self.moved.notify_waiters();
    }

    /// No answer follows.
    fn over(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Waits until `check` finds something; `None` when it never will.
    async fn until<T>(&self, check: impl Fn(&Responses) -> Option<T>) -> Option<T> {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            let found = check(&self.lock());
            if found.is_some() || self.over.load(Ordering::Relaxed) {
                return found;
            }
            moved.await;
        }
    }
}

/// How a connection ended that was not let go on: its client, to be told why, unless it is too late for words.
pub(super) type Strayed = (Option<Connection>, Stray);

/// Relays until both sides have ended. `waiting` is what came from the client before, from its first byte. If a request
/// strays, all before it are answered first.
pub(super) async fn relay(
    client: Connection,
    server: Connection,
    share: &Share,
    name: &HostName,
    waiting: Vec<u8>,
) -> Option<Strayed> {
    let answers = Answers::new(share);
    let relayed = both((&client, &server), share, name, waiting, &answers).await;
    // Without an end in order both are reset.
    match relayed.ok()? {
        None => {
            tokio::join!(client.finish_taken(), server.finish_taken());
            None
        }
        Some((true, stray)) => {
            server.finish();
            Some((Some(client), stray))
        }
        Some((false, stray)) => Some((None, stray)),
    }
}

/// Both directions. What strayed, and whether everything before it is answered.
async fn both(
    (client, server): (&TcpStream, &TcpStream),
    share: &Share,
    name: &HostName,
    waiting: Vec<u8>,
    answers: &Answers<'_>,
) -> io::Result<Option<(bool, Stray)>> {
    let mut up = pin!(upload((client, server), share, name, waiting, answers));
    let mut down = pin!(copy(server, client, share, |bytes| answers.saw(bytes)));
    let (mut up_ended, mut down_ended) = (false, false);
    while !(up_ended && down_ended) {
        tokio::select! {
            ended = &mut up, if !up_ended => match ended? {
                Up::Ended => up_ended = true,
                Up::Stray(stray, false) => return Ok(Some((false, stray))),
                Up::Stray(stray, true) => {
                    let answered = answers.until(|r| match r.waiting() {
                        Some(0) => Some(true),
                        Some(_) => None,
                        None => Some(false),
                    });
                    let answered = tokio::select! {
                        biased;
                        answered = answered => answered.unwrap_or(false),
                        // The end of the answers is the end of the connection: nothing can be said behind it.
                        _ = &mut down, if !down_ended => false,
                    };
                    return Ok(Some((answered && !down_ended, stray)));
                }
            },
            ended = &mut down, if !down_ended => {
                ended?;
                answers.over();
                down_ended = true;
            }
        }
    }
    Ok(None)
}

/// From the client to the server, request by request.
async fn upload(
    (client, server): (&TcpStream, &TcpStream),
    share: &Share,
    name: &HostName,
    mut waiting: Vec<u8>,
    answers: &Answers<'_>,
) -> io::Result<Up> {
    let mut requests = Requests::default();
    let mut upgrade = false;
    let mut held = Held::new(share, waiting.len());
    loop {
        let mut pass = Pass {
            server,
            bytes: &waiting,
            sent: 0,
            at: 0,
        };
        let stopped = pass.on(&mut requests, &mut upgrade, name, answers).await?;
        pass.flush().await?;
        let at = pass.at;
        waiting.drain(..at);
        held.set(waiting.len());
        match stopped {
            Stop::More => {}
            // The rest of a body that is cut short will not come, and its answer may not.
            Stop::Stray(why) => {
                let stray = Stray::new(why, &waiting);
                return Ok(Up::Stray(stray, !requests.within_body()));
            }
            Stop::Over => {
                end(server)?;
                return Ok(Up::Ended);
            }
            Stop::Upgraded => {
                write_all(server, &waiting).await?;
                drop((waiting, held));
                copy(client, server, share, |_| {}).await?;
                return Ok(Up::Ended);
            }
        }
        if waiting.is_empty() {
            // Nothing is kept for a connection that is idle.
            waiting = Vec::new();
        }
        consume_budget().await;
        if held.is_too_much() {
            let stray = Stray::new(Astray::Odd(Odd::TooLong), &waiting);
            return Ok(Up::Stray(stray, !requests.within_body()));
        }
        let read = read_some(client, share.most(), |bytes| {
            waiting.extend_from_slice(bytes);
            bytes.len()
        });
        let count = read.await?;
        held.set(waiting.len());
        if count == 0 {
            // A head that is cut is not sent on.
            end(server)?;
            return Ok(Up::Ended);
        }
    }
}

/// Why no further byte goes on for now.
enum Stop {
    /// There are none that are whole.
    More,
    /// The next request is not one for here.
    Stray(Astray),
    /// They are of another protocol.
    Upgraded,
    /// The server has ended its side, and never will answer.
    Over,
}

/// Bytes of the client on their way. What goes on unchanged is written at once.
struct Pass<'a> {
    server: &'a TcpStream,
    bytes: &'a [u8],
    /// So many are with the server.
    sent: usize,
    /// So many are judged.
    at: usize,
}

impl Pass<'_> {
    async fn flush(&mut self) -> io::Result<()> {
        write_all(self.server, &self.bytes[self.sent..self.at]).await?;
        self.sent = self.at;
        Ok(())
    }

    /// Judges and sends on what is whole. `upgrade` says that the request under way asks for one.
    async fn on(
        &mut self,
        requests: &mut Requests,
        upgrade: &mut bool,
        name: &HostName,
        answers: &Answers<'_>,
    ) -> io::Result<Stop> {
        loop {
            // Behind its body: the server may wait for that before it answers.
            if *upgrade && !requests.within_body() {
                *upgrade = false;
                if let Some(stop) = self.upgrade(answers).await? {
                    return Ok(stop);
                }
            }
            match requests.step(&self.bytes[self.at..]) {
                Ok(Step::More) => return Ok(Stop::More),
                Ok(Step::Body(count)) => self.at += count,
                Ok(Step::Empty(count)) => {
                    self.flush().await?;
                    self.at += count;
                    self.sent = self.at;
                }
                Ok(Step::Head(head, count)) => {
                    if head.name.as_ref() != Some(name) {
                        return Ok(Stop::Stray(Astray::Host(head.name)));
                    }
                    if !self.head(&head, count, answers).await? {
                        return Ok(Stop::Over);
                    }
                    *upgrade = head.upgrade;
                }
                Err(odd) => return Ok(Stop::Stray(Astray::Odd(odd))),
            }
        }
    }

    /// Sends a head on; not if the server will answer nothing more.
    async fn head(&mut self, head: &Head, count: usize, answers: &Answers<'_>) -> io::Result<bool> {
        let room = |r: &Responses| r.waiting().is_none_or(|n| n < UNANSWERED).then_some(());
        if room(&answers.lock()).is_none() {
            self.flush().await?;
            if answers.until(room).await.is_none() {
                return Ok(false);
            }
        }
        answers.lock().asked(Asked {
            head_only: head.head_only,
            upgrade: head.upgrade,
        });
        if head.withheld.is_empty() {
            self.at += count;
            return Ok(true);
        }
        self.flush().await?;
        let lines = &self.bytes[self.at..self.at + count];
        for part in head.sent_on(lines) {
            write_all(self.server, part).await?;
        }
        self.at += count;
        self.sent = self.at;
        Ok(true)
    }

    /// What follows a request for an upgrade is another protocol or the next request; the answer tells.
    async fn upgrade(&mut self, answers: &Answers<'_>) -> io::Result<Option<Stop>> {
        self.flush().await?;
        let answer = answers.until(|r| match r.upgrade() {
            Upgrade::Asked => None,
            answer => Some(answer),
        });
        Ok(match answer.await {
            None => Some(Stop::Over),
            Some(Upgrade::Granted) => Some(Stop::Upgraded),
            Some(Upgrade::Not) => None,
            Some(Upgrade::Unknown | Upgrade::Asked) => {
                let odd = Odd::Http("what became of its upgrade cannot be told");
                Some(Stop::Stray(Astray::Odd(odd)))
            }
        })
    }
}
