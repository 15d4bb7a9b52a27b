//! By what names clients reach the server, and what they export for it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// Below `localhost`, which needs no DNS. One label more than that: TLS libraries take no wildcard directly below
/// a name without a dot.
const LOCAL: &str = "warder.localhost";

/// A domain as the operator names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Domain {
    pub(crate) name: String,
    port: Option<u16>,
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let label = |l: &str| {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !l.is_empty() && l.len() <= 63 && l.bytes().all(fine)
        };
        let port = port.map(str::parse).transpose();
        let number = name
            .rsplit('.')
            .next()
            .is_some_and(|l| l.parse::<u8>().is_ok());
        match port {
            Ok(port) if port != Some(0) && text.len() <= 200 && !number => name
                .split('.')
                .all(label)
                .then(|| Self {
                    name: name.to_ascii_lowercase(),
                    port,
                })
                .ok_or_else(|| "expected DOMAIN or DOMAIN:PORT".to_owned()),
            _ => Err("expected DOMAIN or DOMAIN:PORT".to_owned()),
        }
    }
}

/// `--tls`: files, or `self`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Tls {
    /// Made here.
    OwnCa,
    /// A chain and its key.
    Files(PathBuf, PathBuf),
}

impl FromStr for Tls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(',') {
            None if text == "self" => Ok(Self::OwnCa),
            Some((chain, key)) if !chain.is_empty() && !key.is_empty() => {
                Ok(Self::Files(chain.into(), key.into()))
            }
            _ => Err("expected CHAIN,KEY (two PEM files) or `self`".to_owned()),
        }
    }
}

/// What was asked for, in order.
#[derive(Debug)]
pub(crate) struct Names {
    /// Domains as clients are told them, with a port where they need one.
    pub(crate) domains: Vec<String>,
    /// The same without ports.
    pub(crate) bare: Vec<String>,
    /// Clients are told the domain and nothing else; otherwise one URL for everything.
    by_domain: bool,
    tls: bool,
    pub(crate) address: SocketAddr,
}

impl Names {
    pub(crate) fn new(domains: &[Domain], tls: &[Tls], address: SocketAddr) -> Result<Self, Error> {
        let own = tls.iter().filter(|tls| **tls == Tls::OwnCa).count();
        if own > 1 {
            return Err(Error::Usage("`--tls self` is given once".to_owned()));
        }
        if domains.is_empty() && tls.len() > own {
            let text = "`--tls CHAIN,KEY` needs `--domain`: a domain the certificate is for";
            return Err(Error::Usage(text.to_owned()));
        }
        let local = Domain {
            name: if tls.is_empty() { "localhost" } else { LOCAL }.to_owned(),
            port: Some(address.port()),
        };
        let given = match domains {
            [] => std::slice::from_ref(&local),
            given => given,
        };
        if own > 0 && given.iter().any(|domain| !domain.name.contains('.')) {
            return Err(Error::Usage(format!(
                "`--tls self` needs a domain with a dot (such as {LOCAL}): clients take no wildcard directly below a name without one"
            )));
        }
        // Without TLS here something in front speaks it, and the port is that one's.
        let own_port = (!tls.is_empty()).then_some(address.port());
        let told = |domain: &Domain| match domain.port.or(own_port) {
            None | Some(443) => domain.name.clone(),
            Some(port) => format!("{}:{port}", domain.name),
        };
        Ok(Self {
            domains: given.iter().map(told).collect(),
            bare: given.iter().map(|domain| domain.name.clone()).collect(),
            by_domain: !domains.is_empty() || !tls.is_empty(),
            tls: !tls.is_empty(),
            address,
        })
    }

    /// Addresses that a certificate of our own is for too.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let mut all = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let ip = self.address.ip();
        if !ip.is_unspecified() && !all.contains(&ip) {
            all.push(ip);
        }
        all
    }

    /// The URLs of the API and of sandboxes.
    pub(crate) fn urls(&self) -> (String, String) {
        if self.by_domain {
            let domain = &self.domains[0];
            (
                format!("https://api.{domain}"),
                format!("https://sandbox.{domain}"),
            )
        } else {
            let url = format!("http://{}", reachable(self.address));
            (url.clone(), url)
        }
    }

    /// The lines for a shell. `ca` are the authority's certificate alone, and behind those of the system.
    pub(crate) fn lines(&self, key: &str, ca: Option<&[PathBuf; 2]>) -> String {
        let quote = |path: &Path| super::quote(&path.to_string_lossy());
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = if self.by_domain {
            writeln!(
                text,
                "unset E2B_API_URL E2B_SANDBOX_URL E2B_VOLUME_API_URL E2B_DEBUG\nexport E2B_DOMAIN={}",
                self.domains[0]
            )
        } else {
            let (api, sandbox) = self.urls();
            writeln!(
                text,
                "export E2B_API_URL={api}\nexport E2B_SANDBOX_URL={sandbox}\nexport E2B_VOLUME_API_URL={api}"
            )
        };
        let _ = writeln!(text, "export E2B_API_KEY={}", super::quote(key));
        if let Some([alone, bundle]) = ca {
            let _ = writeln!(
                text,
                "export SSL_CERT_FILE={}\nexport NODE_EXTRA_CA_CERTS={}",
                quote(bundle),
                quote(alone)
            );
        }
        text
    }

    /// A name that clients of this machine need and do not find. Who is not told in time, is not told.
    pub(crate) async fn unresolved(&self) -> Option<String> {
        if !self.by_domain {
            return None;
        }
        let name = format!("api.{}", self.bare[0]);
        let lookup = tokio::net::lookup_host((name.as_str(), 443));
        let missing = match tokio::time::timeout(Duration::from_secs(2), lookup).await {
            Ok(found) => found.is_err(),
            Err(_) => false,
        };
        missing.then_some(name)
    }

    /// What to know beside the lines.
    pub(crate) fn notes(&self, ca: Option<&[PathBuf; 2]>) -> Vec<String> {
        let mut notes = Vec::new();
        if self.by_domain {
            notes.push(format!(
                "{} and every name below must lead here (docs/names-and-tls.md has the ways)",
                self.bare.join(", ")
            ));
        }
        if self.by_domain && !self.tls {
            notes.push(format!(
                "without --tls something in front must speak HTTPS for {} and pass it on to {}",
                self.domains.join(", "),
                self.address
            ));
        }
        if let Some([alone, _]) = ca {
            let alone = alone.display();
            notes.push(format!(
                "the certificate is signed by an authority of this server's own, which may sign for these names only: {alone}"
            ));
            notes.push(format!(
                "the two lines above let the SDKs trust it; for browsers: Debian `sudo cp {alone} /usr/local/share/ca-certificates/warder.crt && sudo update-ca-certificates`, \
                 Fedora `sudo trust anchor {alone}`, macOS `sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {alone}`"
            ));
        }
        notes
    }
}

/// The address a client on this machine uses: a wildcard is no address to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(domains: &[&str], tls: &[&str], listen: &str) -> Result<Names, Error> {
        let domains: Vec<Domain> = domains
            .iter()
            .map(|d| d.parse().expect("a domain"))
            .collect();
        let tls: Vec<Tls> = tls.iter().map(|t| t.parse().expect("tls")).collect();
        Names::new(&domains, &tls, listen.parse().expect("an address"))
    }

    #[test]
    fn clients_get_an_address_to_connect_to() {
        let url = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(url("0.0.0.0:3000"), "127.0.0.1:3000");
        assert_eq!(url("[::]:1"), "[::1]:1");
        assert_eq!(url("10.1.2.3:80"), "10.1.2.3:80");
    }

    #[test]
    fn each_mode_has_its_lines() {
        let plain = names(&[], &[], "0.0.0.0:3000").expect("good");
        assert_eq!(plain.domains, ["localhost:3000"]);
        assert_eq!(
            plain.lines("e2b_0", None),
            "export E2B_API_URL=http://127.0.0.1:3000\nexport E2B_SANDBOX_URL=http://127.0.0.1:3000\n\
             export E2B_VOLUME_API_URL=http://127.0.0.1:3000\nexport E2B_API_KEY=e2b_0\n"
        );
        let ca = [PathBuf::from("/run/ca.pem"), PathBuf::from("/run/b.pem")];
        let local = names(&[], &["self"], "127.0.0.1:3443").expect("good");
        assert_eq!(
            local.lines("e2b_0", Some(&ca)),
            "unset E2B_API_URL E2B_SANDBOX_URL E2B_VOLUME_API_URL E2B_DEBUG\nexport E2B_DOMAIN=warder.localhost:3443\nexport E2B_API_KEY=e2b_0\n\
             export SSL_CERT_FILE=/run/b.pem\nexport NODE_EXTRA_CA_CERTS=/run/ca.pem\n"
        );
        let real = names(&["Box.example", "b.example:8443"], &["a,b"], "0.0.0.0:443");
        let real = real.expect("good");
        assert_eq!(real.domains, ["box.example", "b.example:8443"]);
        assert_eq!(real.bare, ["box.example", "b.example"]);
        assert_eq!(real.urls().0, "https://api.box.example");
        let fronted = names(&["box.example"], &[], "127.0.0.1:3000").expect("good");
        assert_eq!(fronted.domains, ["box.example"]);
        assert!(fronted.notes(None)[1].contains("in front"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(names(&[], &["a,b"], "127.0.0.1:1").is_err());
        assert!(names(&["localhost"], &["self"], "127.0.0.1:1").is_err());
        assert!(names(&["a.b"], &["self", "self"], "127.0.0.1:1").is_err());
        for bad in [
            "a b",
            "a..b",
            "a:0",
            "a:x",
            "",
            "a\nlisten",
            "10.0.0.1",
            "*.a.b",
        ] {
            assert!(bad.parse::<Domain>().is_err(), "{bad:?}");
        }
        for bad in ["", "cert.pem", "cert.pem,", ",key", "Self"] {
            assert!(bad.parse::<Tls>().is_err(), "{bad:?}");
        }
    }
}
