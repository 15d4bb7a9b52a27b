//! Names resolved for dialling.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use warder_wire::{HostName, Policy, policy};

use crate::dns::answer::Answer;
use crate::dns::question::{NO_ERROR, NO_SUCH_NAME};
use crate::dns::upstream;
use crate::egress::Egress;
use crate::sandboxes::Sandbox;

/// Names that are kept for one sandbox.
const NAMES: usize = 256;
/// Addresses of a name that are kept and tried; netd is asked for each.
const ADDRESSES: usize = 32;
/// How long an answer is kept, whatever it says itself; that there is none, always the shortest.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);
/// How long all servers together may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What was resolved for one sandbox; of its own, so that none learns what another has looked up.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<HostName, (Instant, Vec<Ipv4Addr>)>>);

impl Cache {
    fn get(&self, name: &HostName) -> Option<Vec<Ipv4Addr>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, addresses) = all.get(name)?;
        (*until > Instant::now()).then(|| addresses.clone())
    }

    fn put(&self, name: HostName, until: Instant, addresses: Vec<Ipv4Addr>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= NAMES && !all.contains_key(&name) {
            let now = Instant::now();
            all.retain(|_, (until, _)| *until > now);
            if all.len() >= NAMES {
                let next = all.iter().min_by_key(|(_, (until, _))| *until);
                let next = next.map(|(name, _)| name.clone());
                next.and_then(|name| all.remove(&name));
            }
        }
        all.insert(name, (until, addresses));
    }
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// There is no such name, or it has no address that may be reached.
    #[error("no address")]
    NoAddress,
    /// No server has answered.
    #[error("no answer")]
    NoAnswer,
}

impl Egress {
    /// The addresses of `name` that may be dialled for `sandbox`, at least one, in the order to try them in: those the
    /// operator's servers give, without the ones that are closed to all.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub(crate) async fn resolve(
        &self,
        sandbox: &Sandbox,
        name: &HostName,
    ) -> Result<Vec<Ipv4Addr>, ResolveError> {
        let addresses = match sandbox.names.get(name) {
            Some(addresses) => addresses,
            None => {
                let asked = tokio::time::timeout(TIMEOUT, self.ask_all(sandbox, name));
                let asked = asked.await.ok().flatten();
                let (keep, addresses) = self.usable(&asked.ok_or(ResolveError::NoAnswer)?);
                let until = Instant::now() + keep;
                sandbox.names.put(name.clone(), until, addresses.clone());
                addresses
            }
        };
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress);
        }
        Ok(addresses)
    }

    /// The first answer of one of the operator's servers that says something.
    async fn ask_all(&self, sandbox: &Sandbox, name: &HostName) -> Option<Answer> {
        for &server in &self.resolvers {
            let permitted = |policy: &Policy| policy.resolves(&self.never, &self.resolvers, server);
            let got = upstream::addresses(self, sandbox, server, name, &permitted).await;
            let says = |a: &Answer| matches!(a.code, NO_ERROR | NO_SUCH_NAME);
            if let Some(answer) = got.filter(says) {
                return Some(answer);
            }
        }
        None
    }

    /// For how long an answer is kept, and its addresses that may be dialled.
    fn usable(&self, answer: &Answer) -> (Duration, Vec<Ipv4Addr>) {
        let closed = |to| policy::always_denied(&self.never, to);
        let addresses = answer.addresses.iter().filter(|(a, _)| !closed(*a));
        let addresses = addresses.take(ADDRESSES);
        let aliases = answer.aliases.iter().map(|(_, ttl)| *ttl);
        let shortest = addresses.clone().map(|(_, ttl)| *ttl).chain(aliases).min();
        let addresses: Vec<Ipv4Addr> = addresses.map(|(address, _)| *address).collect();
        let keep = Duration::from_secs(shortest.unwrap_or(0).into()).clamp(SHORTEST, LONGEST);
        if addresses.is_empty() {
            return (SHORTEST, addresses);
        }
        (keep, addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_ends() {
        let cache = Cache::default();
        let address = vec![Ipv4Addr::new(192, 0, 2, 1)];
        let start = Instant::now();
        for n in 0..2 * NAMES {
            let until = start + Duration::from_secs(10 + n as u64);
            cache.put(name(&format!("n{n}.example")), until, address.clone());
        }
        assert_eq!(cache.0.lock().expect("whole").len(), NAMES);
        let last = name(&format!("n{}.example", 2 * NAMES - 1));
        assert_eq!(cache.get(&last), Some(address));
        assert_eq!(cache.get(&name("n0.example")), None);
        tokio::time::advance(Duration::from_secs(10 + 2 * NAMES as u64)).await;
        assert_eq!(cache.get(&last), None);
    }
}
