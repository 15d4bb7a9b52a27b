//! What a guest and clients can make the gateway keep.

mod by;

use rustix::io::ioctl_fionread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use warder_mux::Host;
use warder_mux::frame::{CONSOLE_ROOM, FIRST, Frame, MOST, SHARED, Target, WINDOW};

use by::{By, socket, soon};

/// As many as there may be.
const STREAMS: usize = 1024;
/// Until everybody has had his turn many times: all of them are in one thread, and the kernel hands over at once.
async fn quiet() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// A guest that sends as much as it may of each of its streams, and their clients.
struct Attack {
    host: Host,
    guest: By,
    clients: Vec<UnixStream>,
    /// What may still be sent of each.
    may: Vec<usize>,
    /// And what was.
    sent: Vec<usize>,
}

impl Attack {
    async fn begin() -> Self {
        let (host, guest) = By::greeted(CONSOLE_ROOM).await;
        Self {
            host,
            guest,
            clients: Vec::new(),
            may: Vec::new(),
            sent: Vec::new(),
        }
    }

    async fn open(&mut self) {
        let number = self.may.len() as u64 + 1;
        let (open, ()) = tokio::join!(self.host.port(80), async {
            loop {
                match self.guest.hear_of_a_stream().await {
                    Some((n, Frame::Open(Target::Port(80)))) if n == number => break,
                    Some((n, Frame::Credit(more))) => self.may[n as usize - 1] += more as usize,
                    Some((_, Frame::End | Frame::Reset)) => {}
                    other => panic!("{other:?}"),
                }
            }
            self.guest.say(number, Frame::Opened).await;
        });
        self.clients.push(socket(open.expect("open")));
        self.may.push(FIRST);
        self.sent.push(0);
        self.took().await;
    }

    /// Takes what it is sent.
    async fn took(&mut self) {
        let took = u32::try_from(std::mem::take(&mut self.guest.cost)).expect("little");
        self.guest.say(0, Frame::Took(took)).await;
    }

    async fn send(&mut self, at: usize) {
        while self.may[at] > 0 {
            let bytes = self.may[at].min(MOST);
            let data = Frame::Data(vec![7; bytes]);
            self.guest.say(at as u64 + 1, data).await;
            self.may[at] -= bytes;
            self.sent[at] += bytes;
        }
    }

    /// What it is allowed next; false when there is nothing any more.
    async fn allowed(&mut self) -> bool {
        let heard = tokio::select! {
            biased;
            heard = self.guest.hear() => heard,
            () = quiet() => return false,
        };
        if let (number, Frame::Credit(more)) = heard.expect("it is not thrown out") {
            self.may[number as usize - 1] += more as usize;
        }
        self.took().await;
        true
    }

    /// Sends as long as it may.
    async fn fill(&mut self) {
        loop {
            for at in 0..self.may.len() {
                self.send(at).await;
            }
            if !self.allowed().await {
                return;
            }
        }
    }

    /// What was sent and is in no client's socket: it is in the gateway's memory.
    fn kept(&self) -> usize {
        let waits = |client| ioctl_fionread(client).expect("a socket");
        let waiting: u64 = self.clients.iter().map(waits).sum();
        self.sent.iter().sum::<usize>() - usize::try_from(waiting).expect("fits")
    }
}

#[tokio::test]
async fn clients_that_do_not_read_cost_a_machine_no_more_than_its_budget() {
    let mut attack = Attack::begin().await;
    for _ in 0..STREAMS {
        attack.open().await;
    }
    attack.fill().await;
    let kept = attack.kept();
    assert!(kept <= STREAMS * FIRST + SHARED, "{kept}");
    // It was tried: nearly all that each has to itself, and most of what they share.
    assert!(kept > (STREAMS * FIRST + SHARED) / 2, "{kept}");
    // Nobody waits for ever. One ends, and who comes then gets through whatever there is to say.
    drop(attack.clients.pop());
    attack.sent.pop();
    while attack.allowed().await {}
    attack.may.pop();
    let late = attack.host.clone();
    let (open, number) = (late.port(80), STREAMS as u64 + 1);
    let (open, ()) = tokio::join!(open, async {
        let open = (number, Frame::Open(Target::Port(80)));
        while attack.guest.hear_of_a_stream().await.as_ref() != Some(&open) {}
        attack.guest.say(number, Frame::Opened).await;
    });
    let mut client = socket(open.expect("there is a place again"));
    let mut may = FIRST;
    let mut left = 4 * WINDOW;
    while left > 0 {
        while may > 0 && left > 0 {
            let bytes = may.min(left).min(MOST);
            attack.guest.say(number, Frame::Data(vec![8; bytes])).await;
            (may, left) = (may - bytes, left - bytes);
            soon(client.read_exact(&mut vec![0; bytes]))
                .await
                .expect("passed on");
        }
        match attack.guest.hear_of_a_stream().await {
            Some((n, Frame::Credit(more))) if n == number => may += more as usize,
            Some(_) => {}
            None => panic!("it ended"),
        }
        attack.took().await;
    }
    // And those that waited get all that was sent.
    for (at, client) in attack.clients.iter_mut().enumerate() {
        attack.guest.say(at as u64 + 1, Frame::End).await;
        client.shutdown().await.expect("half closed");
        let mut all = Vec::new();
        let read = async {
            tokio::select! {
                read = client.read_to_end(&mut all) => read.expect("whole"),
                () = async { while attack.guest.hear().await.is_some() {} } => panic!("it ended"),
            }
        };
        soon(read).await;
        assert_eq!(all.len(), attack.sent[at]);
        let took = u32::try_from(std::mem::take(&mut attack.guest.cost)).expect("little");
        attack.guest.say(0, Frame::Took(took)).await;
    }
    assert!(!attack.host.is_over());
}

/// A guest could end its connection again and again, and leave as much behind with each.
#[tokio::test]
async fn what_clients_did_not_take_goes_with_the_connection() {
    let mut attack = Attack::begin().await;
    for _ in 0..2 {
        attack.open().await;
    }
    attack.fill().await;
    assert!(attack.kept() > 2 * FIRST);
    // One of them is over already, as far as its guest is concerned.
    attack.guest.say(1, Frame::Reset).await;
    while attack.allowed().await {}
    attack.host.end();
    for (client, sent) in attack.clients.iter_mut().zip(attack.sent) {
        quiet().await;
        let mut all = Vec::new();
        let _ = soon(client.read_to_end(&mut all)).await;
        assert!(all.len() < sent - FIRST, "{} of {sent}", all.len());
    }
}

/// What clients send and a guest does not take stays with them, but for the stream's first bytes, two frames, and what
/// the kernel keeps.
#[tokio::test]
async fn a_guest_that_does_not_read_costs_two_frames_of_each_stream() {
    let mut attack = Attack::begin().await;
    for _ in 0..20 {
        attack.open().await;
    }
    for client in &mut attack.clients {
        let mut accepted = 0;
        let fill = async {
            loop {
                accepted += client.write(&[7; 4096]).await.expect("open");
            }
        };
        tokio::select! {
            () = fill => {}
            () = quiet() => {}
        }
        let kept = accepted.saturating_sub(FIRST);
        assert!(kept <= 2 * MOST + 32 * 1024, "{accepted}");
    }
}
