//! netd itself on a FreeBSD host whose pf is switched off and on, and flushed. Needs root, pf enabled with the lines of
//! `warder_pf::ROOT`, and `WARDER_TEST_SWITCH_PF=1`, as the host is without its filter for some seconds. `WARDER_NETD` names
//! the program where it was not built on this host.
#![cfg(target_os = "freebsd")]

use std::collections::VecDeque;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use warder_ipc::Channel;
use warder_links::port_name;
use warder_wire::gateway_net::{self, Event};
use warder_wire::start::{NetStart, Ready, Role, Start};
use warder_wire::{
    Bounds, Fault, FaultCode, InstanceTag, Message, Policy, Request, SandboxId, priv_net,
};

/// Generous: an emulated host takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn sh(line: &str) -> String {
    let out = Command::new("/bin/sh")
        .args(["-c", line])
        .output()
        .expect("sh(1)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&out.stdout) + &text(&out.stderr)
}

/// Whatever becomes of the test, the host has its filter again.
struct PfOn;

impl Drop for PfOn {
    fn drop(&mut self) {
        sh("pfctl -q -e");
    }
}

struct Netd {
    child: Child,
    privd: Channel,
    gateway: Channel,
    told: VecDeque<Event>,
    seq: u64,
}

impl Netd {
    fn start(dir: &tempfile::TempDir, tag: InstanceTag) -> Self {
        let (mut privd, theirs) = Channel::pair().expect("socketpair");
        let program = std::env::var("WARDER_NETD");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_netd").to_owned());
        // The shell moves the channel from 0 to 3: no unsafe code for that here.
        let child = Command::new("/bin/sh")
            .args(["-c", "exec \"$0\" 3<&0 </dev/null", &program])
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .expect("sh(1) runs");
        let config = NetStart {
            instance: 33,
            block: Ipv4Addr::new(10, 214, 0, 0),
            slots: 8,
            ready: 1,
            first_id: 1_000_000,
            ids: 65_536,
            never: Vec::new(),
            resolvers: Vec::new(),
        };
        let start = Start {
            version: warder_wire::VERSION,
            tag,
            role: Role::Net(config),
        };
        let dir = OwnedFd::from(File::open(dir.path()).expect("there"));
        privd
            .send_timeout(&start, vec![dir], PATIENCE)
            .expect("netd reads");
        privd.recv_timeout::<Ready>(PATIENCE).expect("netd starts");
        let (event, _) = privd
            .recv_timeout::<Message<priv_net::Answer, priv_net::Event>>(PATIENCE)
            .expect("an event");
        assert_eq!(event, Message::Event(priv_net::Event::Ready));
        let (gateway, end) = Channel::pair().expect("socketpair");
        let mut netd = Self {
            child,
            privd,
            gateway,
            told: VecDeque::new(),
            seq: 0,
        };
        netd.post(priv_net::Ask::GatewayChannel, vec![end.into_fd()]);
        netd
    }

    fn post(&mut self, body: priv_net::Ask, fds: Vec<OwnedFd>) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        let sent = self
            .privd
            .send_timeout(&Request { seq, body }, fds, PATIENCE);
        sent.expect("netd reads");
        seq
    }

    fn ask(&mut self, body: priv_net::Ask) -> Result<priv_net::Answer, Fault> {
        let wanted = self.post(body, Vec::new());
        loop {
            let got = self
                .privd
                .recv_timeout::<Message<priv_net::Answer, priv_net::Event>>(PATIENCE);
            match got.expect("an answer").0 {
                Message::Reply { seq, result } if seq == wanted => return result,
                _ => {}
            }
        }
    }

    fn take(&mut self, n: u8) -> Result<u32, Fault> {
        match self.ask(priv_net::Ask::SlotTake { sandbox: id(n) })? {
            priv_net::Answer::Slot(slot) => Ok(slot.counter),
            other => panic!("{other:?}"),
        }
    }

    fn lease(&mut self, n: u8) {
        let (sandbox, bounds) = (id(n), Bounds::DEFAULT);
        self.post(priv_net::Ask::LeaseLive { sandbox, bounds }, Vec::new());
    }

    /// What netd tells the gateway next.
    fn hear(&mut self) -> Message<gateway_net::Answer, Event> {
        let got = self.gateway.recv_timeout(PATIENCE);
        got.expect("netd says something").0
    }

    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.told.pop_front() {
                return event;
            }
            if let Message::Event(event) = self.hear() {
                return event;
            }
        }
    }

    fn gateway(&mut self, body: gateway_net::Ask) -> Result<gateway_net::Answer, Fault> {
        self.seq += 1;
        let wanted = self.seq;
        let request = Request { seq: wanted, body };
        let sent = self.gateway.send_timeout(&request, Vec::new(), PATIENCE);
        sent.expect("netd reads");
        loop {
            match self.hear() {
                Message::Reply { seq, result } if seq == wanted => return result,
                Message::Reply { .. } => {}
                Message::Event(event) => self.told.push_back(event),
            }
        }
    }

    fn set(&mut self, n: u8, generation: u64, policy: Policy) -> Result<(), Fault> {
        let sandbox = id(n);
        self.gateway(gateway_net::Ask::PolicySet {
            sandbox,
            generation,
            policy,
        })
        .map(drop)
    }

    /// The generation, and whether everything is closed.
    fn get(&mut self, n: u8) -> (u64, bool) {
        match self.gateway(gateway_net::Ask::PolicyGet { sandbox: id(n) }) {
            Ok(gateway_net::Answer::Policy {
                generation, sealed, ..
            }) => (generation, sealed),
            other => panic!("{other:?}"),
        }
    }

    fn closes(&mut self) -> Fault {
        match self.event() {
            Event::Shut { fault } => fault,
            other => panic!("{other:?}"),
        }
    }
}

fn id(n: u8) -> SandboxId {
    SandboxId::from_random(&[n; 20])
}

fn up(port: &str) -> bool {
    let said = sh(&format!("ifconfig {port}"));
    assert!(said.contains("flags="), "{said}");
    said.contains("<UP,")
}

#[test]
fn nothing_is_open_while_pf_is_not_whole() {
    assert!(
        std::env::var_os("WARDER_TEST_SWITCH_PF").is_some(),
        "the host's pf would be off for a while: say WARDER_TEST_SWITCH_PF=1"
    );
    let _on = PfOn;
    let dir = tempfile::tempdir().expect("a directory");
    let tag = InstanceTag::of_state_dir(dir.path().as_os_str().as_encoded_bytes());
    let mut netd = Netd::start(&dir, tag);
    netd.ask(priv_net::Ask::ReconcileEnd).expect("serves");
    netd.lease(1);
    netd.lease(2);
    netd.set(1, 1, Policy::OPEN).expect("in force");
    let counter = netd.take(1).expect("a slot");
    let port = port_name(tag, counter);
    assert!(up(&port));
    // The next slot finds it, before the clock does.
    sh("pfctl -q -d");
    let fault = netd.take(2).expect_err("no slot without rules");
    assert_eq!(fault.code, FaultCode::Unsupported);
    assert!(fault.detail.contains("pf_enable=\"YES\""), "{fault}");
    assert!(!up(&port), "its port is down");
    assert_eq!(netd.closes(), fault);
    let passes = || {
        let anchors = sh(&format!("pfctl -v -a warder/{tag} -s Anchors"));
        let own = anchors.lines().map(str::trim).find(|a| a.ends_with(&port));
        let own = own.expect("the sandbox's anchor").to_owned();
        sh(&format!("pfctl -q -a {own} -s rules")).contains("pass in")
    };
    assert!(passes());
    // A change is written down, and holds when something passes again.
    let (sandbox, generation, policy) = (id(1), 2, Policy::CLOSED);
    let kept = netd.gateway(gateway_net::Ask::PolicySet {
        sandbox,
        generation,
        policy,
    });
    assert_eq!(kept, Ok(gateway_net::Answer::Kept { generation, fault }));
    assert_eq!(netd.get(1), (2, true));
    sh("pfctl -q -e");
    assert_eq!(netd.event(), Event::Opened);
    assert!(up(&port));
    assert_eq!(netd.get(1), (2, false));
    assert!(!passes(), "the last that was asked for");
    // Nobody asks for anything.
    sh("pfctl -q -d");
    netd.closes();
    assert!(!up(&port));
    // Whoever takes over finds what is closed, and leaves it so; the cell was still being made.
    netd.child.kill().expect("it runs");
    netd.child.wait().expect("it is ours");
    drop(netd);
    sh(&format!("ifconfig {port} up"));
    let mut netd = Netd::start(&dir, tag);
    assert!(!up(&port), "closed before anything else");
    netd.lease(1);
    let sandbox = id(1);
    let adopted = netd.ask(priv_net::Ask::SlotAdopt { sandbox });
    assert!(adopted.is_ok(), "{adopted:?}");
    netd.ask(priv_net::Ask::ReconcileEnd).expect("serves");
    assert_eq!(netd.get(1), (2, true));
    netd.lease(2);
    netd.take(2).expect_err("still no slot");
    sh("pfctl -q -e");
    assert_eq!(netd.event(), Event::Opened);
    assert!(up(&port));
    assert_eq!(netd.get(1), (2, false));
    netd.set(1, 3, Policy::OPEN).expect("in force");
    netd.take(2).expect("a slot");
    // Its own rules, with everything of the host's as it should be.
    let anchor = format!("warder/{tag}");
    let before = sh(&format!("pfctl -q -a {anchor} -s rules"));
    sh(&format!("pfctl -q -a {anchor} -F rules"));
    let fault = netd.closes();
    assert!(fault.detail.contains(&anchor), "{fault}");
    assert_eq!(netd.event(), Event::Opened);
    assert_eq!(sh(&format!("pfctl -q -a {anchor} -s rules")), before);
    netd.ask(priv_net::Ask::Purge).expect("purges");
    assert!(netd.child.wait().expect("it is ours").success());
    let left = format!(
        "ifconfig -l | tr ' ' '\\n' | grep {tag}; ifconfig -g w{tag}l; jls name | grep {tag}; pfctl -v -a warder -s Anchors 2>/dev/null | grep {tag}"
    );
    let end = Instant::now() + PATIENCE;
    while !sh(&left).is_empty() {
        assert!(Instant::now() < end, "left: {}", sh(&left));
        std::thread::sleep(Duration::from_millis(500));
    }
}
