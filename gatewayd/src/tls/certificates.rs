//! The certificates in use, and how they are replaced.
//!
//! privd opens the files and hands over descriptors; which file that is nobody here knows. One that is broken
//! leaves the one before in use. Connections that are open keep what they were opened with.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error};
use serde::Serialize;
use tokio::sync::watch;
use warder_wire::Fault;
use zeroize::Zeroizing;

use super::validity::not_after;
use crate::clock::Micros;

/// Longest file in bytes.
const MOST_BYTES: usize = 128 * 1024;

/// All of them, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Certificates {
    slots: RwLock<Vec<Slot>>,
    /// The last round that came whole.
    round: watch::Sender<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The last round that said something of it.
    round: u32,
    key: Option<Arc<CertifiedKey>>,
    /// What is wrong with the newest.
    problem: Option<String>,
}

/// One of them, for the operator.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Whether there is one to show.
    usable: bool,
    names: Vec<String>,
    not_after: Option<Micros>,
    /// Why the newest file is not in use, or soon cannot be.
    problem: Option<String>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            slots: RwLock::default(),
            round: watch::Sender::new(0),
        }
    }
}

impl Certificates {
    /// Takes what privd says of certificate `index` of `of`.
    pub(crate) fn take(
        &self,
        round: u32,
        (index, of): (u8, u8),
        given: Result<[OwnedFd; 2], Fault>,
    ) {
        let loaded = given
            .map_err(|fault| fault.detail)
            .and_then(|[chain, key]| load(&chain, &key));
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.resize_with(usize::from(of), Slot::default);
        let Some(slot) = slots.get_mut(usize::from(index)) else {
            return;
        };
        slot.round = round;
        slot.problem = None;
        match loaded {
            Ok(new) => {
                let over = end_of(&new).is_none_or(|end| end <= Micros::now());
                if over {
                    slot.problem = Some("it has expired".to_owned());
                }
                if !over || slot.key.is_none() {
                    slot.key = Some(Arc::new(new));
                }
            }
            Err(problem) => slot.problem = Some(problem),
        }
        if let Some(problem) = &slot.problem {
            let instead = if slot.key.is_some() {
                "the one before stays in use"
            } else {
                "there is none to use"
            };
            eprintln!("gatewayd: certificate {}: {problem}; {instead}", index + 1);
        }
        if slots.iter().all(|slot| slot.round == round) {
            self.round.send_replace(round);
        }
    }

    /// Waits until the round has come whole. Zero: any.
    pub(crate) async fn complete(&self, round: u32) {
        let mut rounds = self.round.subscribe();
        // The sender lives as long as this.
        let _ = rounds.wait_for(|now| *now >= round.max(1)).await;
    }

    /// What there is.
    pub(crate) fn report(&self) -> Vec<Report> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .map(|slot| Report {
                usable: slot.key.is_some(),
                names: slot.key.as_deref().map(names).unwrap_or_default(),
                not_after: slot.key.as_deref().and_then(end_of),
                problem: slot.problem.clone(),
            })
            .collect()
    }

    /// The first one for this name whose key serves the client, else the first whose key does: the client
    /// then says itself what is wrong with the name.
    fn choose(
        &self,
        name: Option<&str>,
        serves: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut usable = slots
            .iter()
            .filter_map(|slot| slot.key.as_ref())
            .filter(|key| serves(key));
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| usable.clone().find(|key| is_for(key, &name)));
        named.or_else(|| usable.next()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = client.signature_schemes();
        self.choose(client.server_name(), |key| {
            key.key.choose_scheme(schemes).is_some()
        })
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    leaf.is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

fn end_of(key: &CertifiedKey) -> Option<Micros> {
    key.end_entity_cert().ok().and_then(|leaf| not_after(leaf))
}

/// The names it is for, as the library words them when it misses one.
fn names(key: &CertifiedKey) -> Vec<String> {
    let missing = ServerName::try_from("missing.invalid");
    let leaf = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    let (Ok(missing), Ok(leaf)) = (missing, leaf) else {
        return Vec::new();
    };
    match verify_server_name(&leaf, &missing) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => presented
            .iter()
            .map(|name| {
                let bare = name
                    .split_once("(\"")
                    .map_or(name.as_str(), |(_, rest)| rest);
                bare.trim_end_matches("\")").to_owned()
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn load(chain: &OwnedFd, key: &OwnedFd) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("its chain is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("its chain holds no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| format!("its key is no private key in PEM: {error}"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
        error => format!("it cannot be used: {error}"),
    })
}

/// A file from its beginning. What was read is wiped with the buffer, which never grows.
fn read(fd: &OwnedFd) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(vec![0; MOST_BYTES + 1]);
    let mut length = 0;
    loop {
        let at = u64::try_from(length).unwrap_or(u64::MAX);
        match rustix::io::pread(fd.as_fd(), &mut bytes[length..], at) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(format!("it cannot be read: {errno}")),
        }
        if length > MOST_BYTES {
            return Err("it is too long".to_owned());
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn file(text: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        file.into()
    }

    fn pair(names: &[&str], year: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).expect("signs");
        (certificate.pem(), key.serialize_pem())
    }

    fn give(to: &Certificates, round: u32, at: (u8, u8), (chain, key): &(String, String)) {
        to.take(round, at, Ok([file(chain), file(key)]));
    }

    fn chosen(from: &Certificates, name: Option<&str>) -> Vec<String> {
        from.choose(name, |_| true)
            .map(|key| names(&key))
            .unwrap_or_default()
    }

    #[test]
    fn the_name_chooses_and_the_first_stands_in() {
        let all = Certificates::default();
        assert!(all.choose(Some("a.example"), |_| true).is_none());
        give(&all, 1, (0, 2), &pair(&["a.example", "*.a.example"], 2100));
        give(&all, 1, (1, 2), &pair(&["*.b.example"], 2100));
        for (name, first) in [
            (Some("a.example"), "a.example"),
            (Some("80-i.a.example"), "a.example"),
            (Some("80-i.B.example"), "*.b.example"),
            (Some("b.example"), "a.example"),
            (Some("x.y.b.example"), "a.example"),
            (None, "a.example"),
        ] {
            assert_eq!(chosen(&all, name)[0], first, "{name:?}");
        }
    }

    #[test]
    fn a_broken_one_leaves_the_one_before() {
        let all = Certificates::default();
        let (good, other) = (pair(&["a.example"], 2100), pair(&["b.example"], 2100));
        give(&all, 1, (0, 1), &good);
        let problem = |all: &Certificates| all.report()[0].problem.clone().unwrap_or_default();
        for (n, (chain, key, says)) in (2..).zip([
            ("", good.1.as_str(), "no certificate"),
            ("rubbish", &good.1, "no certificate"),
            (&good.0, "", "no private key"),
            (&good.0, &good.0, "no private key"),
            (&good.0, &other.1, "not the certificate's"),
            (
                &pair(&["c.example"], 2020).0,
                &good.1,
                "not the certificate's",
            ),
            (&"x".repeat(MOST_BYTES + 1), &good.1, "too long"),
        ]) {
            give(&all, n, (0, 1), &(chain.to_owned(), key.to_owned()));
            assert!(problem(&all).contains(says), "{says}: {}", problem(&all));
            assert_eq!(chosen(&all, None), ["a.example"]);
            assert_eq!(*all.round.borrow(), n);
        }
        let old = pair(&["old.example"], 2020);
        give(&all, 20, (0, 1), &old);
        assert!(problem(&all).contains("expired"));
        assert_eq!(chosen(&all, None), ["a.example"]);
        let fault = Fault::new(warder_wire::FaultCode::Refused, "its chain is a pipe");
        all.take(21, (0, 1), Err(fault));
        assert_eq!(problem(&all), "its chain is a pipe");
        give(&all, 22, (0, 1), &other);
        assert_eq!(
            (problem(&all).as_str(), chosen(&all, None)),
            ("", vec!["b.example".to_owned()])
        );
        let fresh = Certificates::default();
        give(&fresh, 1, (0, 1), &old);
        assert_eq!(chosen(&fresh, None), ["old.example"], "better than none");
    }

    #[tokio::test]
    async fn a_round_is_complete_when_all_have_come() {
        let all = Certificates::default();
        let pair = pair(&["a.example"], 2100);
        give(&all, 1, (0, 2), &pair);
        assert_eq!(*all.round.borrow(), 0);
        give(&all, 1, (1, 2), &pair);
        all.complete(0).await;
        give(&all, 2, (1, 2), &pair);
        assert_eq!(*all.round.borrow(), 1);
    }
}
