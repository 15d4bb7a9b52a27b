//! A connection to whom a verdict allows.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use warder_web::judge::Basis;
use warder_web::socks::{Socks, Step, Target};
use warder_wire::{Cidr, HostName, Policy, Proxy, ProxyHost};

use super::io::{read_some, write_all};
use crate::connection::Connection;
use crate::dns;
use crate::egress::Egress;
use crate::flow::Flow;
use crate::netd::DialError;
use crate::resolve::ResolveError;
use crate::sandboxes::Sandbox;

/// How long all of it may take: the name's addresses, the connection, the proxy's answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What connects.
pub(super) trait World: Sync {
    /// See [`Egress::never`].
    fn never(&self) -> &[Cidr];

    /// See [`Egress::resolve`].
    fn resolve(
        &self,
        sandbox: &Sandbox,
        name: &HostName,
    ) -> impl Future<Output = Result<Vec<Ipv4Addr>, ResolveError>> + Send;

    /// See [`crate::netd::Netd::dial`].
    fn dial(
        &self,
        sandbox: &Sandbox,
        generation: u64,
        to: SocketAddrV4,
    ) -> impl Future<Output = Result<Connection, DialError>> + Send;
}

impl World for Egress {
    fn never(&self) -> &[Cidr] {
        &self.never
    }

    async fn resolve(
        &self,
        sandbox: &Sandbox,
        name: &HostName,
    ) -> Result<Vec<Ipv4Addr>, ResolveError> {
        Egress::resolve(self, sandbox, name).await
    }

    async fn dial(
        &self,
        sandbox: &Sandbox,
        generation: u64,
        to: SocketAddrV4,
    ) -> Result<Connection, DialError> {
        self.netd.dial(sandbox, generation, to).await
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// Another policy is in force: judge again.
    Changed,
    /// The name has no address that may be reached.
    Unresolved,
    /// The proxy cannot be reached, or would not.
    Proxy,
    /// Nobody answers there; what happened, in words.
    Unreachable(String),
}

/// Who connects, by which policy, and until when.
pub(super) struct Attempt<'a, W> {
    pub(super) world: &'a W,
    pub(super) flow: &'a Flow,
    pub(super) generation: u64,
    pub(super) policy: &'a Policy,
    pub(super) meant: SocketAddrV4,
    pub(super) deadline: Instant,
}

impl<W: World> Attempt<'_, W> {
    /// Connects to `name`, or to the address that the client meant; through the policy's proxy if it has one.
    pub(super) async fn connect(&self, name: Option<&HostName>) -> Result<Connection, Failure> {
        let Some(proxy) = &self.policy.proxy else {
            let addresses = match name {
                Some(name) => self.resolve(name).await?,
                None => vec![*self.meant.ip()],
            };
            return self.dial(name, &addresses, self.meant.port()).await;
        };
        let addresses = match &proxy.host {
            ProxyHost::Address(address) => vec![*address],
            ProxyHost::Name(host) => self.resolve(host).await.map_err(of_proxy)?,
        };
        let server = self.dial(name, &addresses, proxy.port).await;
        let server = server.map_err(of_proxy)?;
        let target = match name {
            Some(name) => Target::Name(name.clone()),
            None => Target::Address(*self.meant.ip()),
        };
        let open = open(&server, proxy, &target, self.meant.port());
        match timeout_at(self.deadline, open).await {
            Ok(Some(())) => Ok(server),
            _ => Err(Failure::Proxy),
        }
    }

    async fn resolve(&self, name: &HostName) -> Result<Vec<Ipv4Addr>, Failure> {
        let resolve = self.world.resolve(self.flow.sandbox(), name);
        match timeout_at(self.deadline, resolve).await {
            Ok(Ok(addresses)) => Ok(addresses),
            _ => Err(Failure::Unresolved),
        }
    }

    /// Tries one address after the other, each with its share of the time that is left.
    async fn dial(
        &self,
        name: Option<&HostName>,
        addresses: &[Ipv4Addr],
        port: u16,
    ) -> Result<Connection, Failure> {
        let mut last = Failure::Unresolved;
        for (index, address) in addresses.iter().enumerate() {
            if !self.policy.reaches(self.world.never(), *address) {
                continue;
            }
            // Before netd is asked: whatever policy comes after its answer then meets the flow with its basis.
            if !self.judged(name, *address) {
                return Err(Failure::Changed);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let to = SocketAddrV4::new(*address, port);
            let dial = self.world.dial(self.flow.sandbox(), self.generation, to);
            last = match tokio::time::timeout(left / others, dial).await {
                Ok(Ok(server)) => return Ok(server),
                Ok(Err(DialError::Changed)) => return Err(Failure::Changed),
                Ok(Err(DialError::Refused)) => continue,
                Ok(Err(DialError::Failed(error))) => Failure::Unreachable(error.kind().to_string()),
                Ok(Err(DialError::TimedOut)) | Err(_) => Failure::Unreachable("timed out".into()),
                Ok(Err(error @ DialError::Netd(_))) => Failure::Unreachable(error.to_string()),
            };
        }
        Err(last)
    }

    fn judged(&self, name: Option<&HostName>, dialled: Ipv4Addr) -> bool {
        let basis = Basis {
            name: name.cloned(),
            meant: *self.meant.ip(),
            dialled,
            proxy: self.policy.proxy.as_ref().map(|p| (p.host.clone(), p.port)),
        };
        let never = self.world.never().to_vec();
        // Else it is DNS's to judge; see `dns::tcp`.
        let (dns, meant) = (self.meant.port() == dns::PORT, *self.meant.ip());
        self.flow.judged(move |policy| {
            basis.stands(policy, &never) && (!dns || dns::through_proxy(policy, &never, meant))
        })
    }
}

/// What fails on the way to the proxy is the proxy's.
fn of_proxy(failure: Failure) -> Failure {
    match failure {
        Failure::Changed => Failure::Changed,
        Failure::Unresolved | Failure::Proxy | Failure::Unreachable(_) => Failure::Proxy,
    }
}

/// Has the proxy connect. `None` if it does not.
async fn open(server: &Connection, proxy: &Proxy, target: &Target, port: u16) -> Option<()> {
    let (mut socks, greeting) = Socks::new(proxy, target, port);
    write_all(server, &greeting).await.ok()?;
    let mut step = socks.push(&[]);
    loop {
        step = match step.ok()? {
            Step::Open => return Some(()),
            Step::Send(bytes) => {
                write_all(server, &bytes).await.ok()?;
                socks.push(&[])
            }
            Step::Read(most) => {
                let read = read_some(server, most, |bytes| match bytes {
                    [] => None,
                    bytes => Some(socks.push(bytes)),
                });
                read.await.ok()??
            }
        };
    }
}
