//! A Warder in the middle of it.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Deref;
use std::os::fd::OwnedFd;

use serde_json::{Value, json};
use warder_harness::{Builder, Instance};

use crate::capture::Capture;
use crate::namespace::{inside, open};
use crate::world::{ALPHA, GOOGLE, World};

/// A running instance and what is around it. It is used as the instance itself.
#[derive(Debug)]
pub struct Stage {
    /// What is around.
    pub world: World,
    /// Everything that passes on the internet.
    pub wire: Capture,
    /// A socket on the host.
    pub host: UdpSocket,
    instance: Option<Instance>,
}

impl Deref for Stage {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        self.instance.as_ref().expect("it runs until the end")
    }
}

impl Stage {
    /// Starts one whose sandboxes resolve names with [`GOOGLE`].
    #[must_use]
    pub fn start() -> Self {
        Self::with(|builder| builder)
    }

    /// Starts one with more in its configuration. [`crate::NEVER`] is never opened.
    #[must_use]
    pub fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let world = World::build();
        let builder = Instance::builder()
            .line(&format!("dns_servers {GOOGLE}"))
            .line("network_never 198.51.100.192/26");
        let instance = change(builder).start();
        Self {
            wire: Capture::of(&world.internet),
            host: inside(&world.host, || {
                UdpSocket::bind("0.0.0.0:0").expect("a socket")
            }),
            world,
            instance: Some(instance),
        }
    }

    /// The instance, to be killed and started.
    pub fn instance(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("it runs until the end")
    }

    /// The instance itself.
    #[must_use]
    pub fn instance_of(&self) -> &Instance {
        self
    }

    /// A sandbox that trusts the servers of the internet.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn sandbox(&self, body: &Value) -> Value {
        let sandbox = self.create(body);
        self.trust(&sandbox);
        sandbox
    }

    /// Has a sandbox trust the servers of the internet.
    ///
    /// # Panics
    /// When it does not run commands.
    pub fn trust(&self, sandbox: &Value) {
        let write = format!("cat > /tmp/ca.pem <<'EOF'\n{}\nEOF", self.world.ca);
        let ran = self.run(sandbox, "user", &write, 60_000);
        assert_eq!(ran.exit, Some(0), "{ran:?}\n{}", self.log_text());
    }

    /// `PUT /sandboxes/{id}/network`; it has to be taken.
    ///
    /// # Panics
    /// When it is refused.
    pub fn put(&self, sandbox: &Value, network: &Value) {
        let id = sandbox["sandboxID"].as_str().unwrap_or_default();
        let answer = self.api("PUT", &format!("/sandboxes/{id}/network"), network);
        assert_eq!(
            answer.status,
            204,
            "{network}: {}\n{}",
            answer.text(),
            self.log_text()
        );
    }

    /// Lets nothing out of a sandbox, or undoes that; the answer's status.
    #[must_use]
    pub fn airgap(&self, sandbox: &Value, enabled: bool) -> u16 {
        let id = sandbox["sandboxID"].as_str().unwrap_or_default();
        let body = json!({ "enabled": enabled });
        self.api("PUT", &format!("/sandboxes/{id}/airgap"), &body)
            .status
    }

    /// What the API says of a sandbox.
    #[must_use]
    pub fn detail(&self, sandbox: &Value) -> Value {
        let id = sandbox["sandboxID"].as_str().unwrap_or_default();
        self.api("GET", &format!("/sandboxes/{id}"), &Value::Null)
            .json()
    }

    /// Everything that was sent to the internet before has been captured when this returns. What is sent from now on is
    /// [`Capture::since`] what it returns.
    pub fn barrier(&self) -> usize {
        self.wire.barrier(&self.host, ALPHA)
    }

    /// The network namespace of a sandbox, seen from the host.
    ///
    /// # Panics
    /// When it has no process.
    #[must_use]
    pub fn namespace(&self, sandbox: &Value) -> OwnedFd {
        open(format!("/proc/{}/ns/net", self.process(sandbox)))
    }

    /// A process of a sandbox, by the host's number.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn process(&self, sandbox: &Value) -> u32 {
        let id = sandbox["sandboxID"].as_str().unwrap_or_default();
        let own = open("/proc/self/ns/net");
        let own = inode(&own);
        let all = std::fs::read_dir("/proc").expect("mounted").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/root/etc/hostname"));
            name.is_ok_and(|name| name.trim() == id)
        })
        .find(|pid| {
            std::fs::File::open(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|ns| inode(&ns.into()) != own)
        })
        .expect("it runs")
    }

    /// A sandbox's own address.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn address(&self, sandbox: &Value) -> Ipv4Addr {
        let text = inside(&self.namespace(sandbox), || {
            crate::namespace::run("ip -4 -o addr show dev eth0")
        });
        let address = text
            .split_whitespace()
            .skip_while(|word| *word != "inet")
            .nth(1);
        let address = address.and_then(|a| a.split('/').next()?.parse().ok());
        address.expect("it has an address")
    }

    /// The router's namespace: the outside of every sandbox's pair.
    #[must_use]
    pub fn router(&self) -> OwnedFd {
        open(format!("/run/warder/{}/router", self.tag()))
    }

    /// Ends the instance and checks that nothing is left of it.
    ///
    /// # Panics
    /// When something is.
    pub fn finish(mut self) {
        if let Some(instance) = self.instance.take() {
            instance.finish();
        }
    }
}

fn inode(ns: &OwnedFd) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::File::from(ns.try_clone().expect("a descriptor"));
    file.metadata().map(|meta| meta.ino()).unwrap_or_default()
}
