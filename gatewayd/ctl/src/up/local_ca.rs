//! `--tls self`: a certificate authority of this instance's own, and the certificate it signs.
//!
//! Both lie below the state directory, 0600, each with its key in one file, so that no crash can leave a
//! certificate without its key. What is known of a file is written above its PEM sections, which readers of PEM
//! skip. The authority may sign for these names only (RFC 5280, 4.2.1.10): who steals its key can imitate
//! nothing else to those who trust it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use time::OffsetDateTime;

use super::env_file;
use crate::error::Error;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority lasts, and when one with the same names takes its place.
const AUTHORITY: (Duration, Duration) = (DAY.saturating_mul(3650), DAY.saturating_mul(365));
/// The same for its certificate.
const LEAF: (Duration, Duration) = (DAY.saturating_mul(90), DAY.saturating_mul(30));
/// Where the system keeps the authorities it trusts, as one file.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
];

/// The authority and its certificate.
#[derive(Debug)]
pub(crate) struct LocalCa {
    dir: PathBuf,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// What a look at the files came to.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Made {
    /// The certificate is a new one.
    pub(crate) leaf: bool,
    /// So is the authority: whoever trusted the one before must trust this one.
    pub(crate) authority: bool,
}

/// A file of ours: what is said above, and the PEM sections.
struct Kept {
    names: String,
    end: u64,
    text: String,
}

impl LocalCa {
    /// In `state_dir`, for `names` and everything one label below them, and for addresses.
    pub(crate) fn new(state_dir: &Path, names: Vec<String>, addresses: Vec<IpAddr>) -> Self {
        Self {
            dir: state_dir.join("tls"),
            names,
            addresses,
        }
    }

    /// The certificate with its key.
    pub(crate) fn leaf(&self) -> PathBuf {
        self.dir.join("leaf.pem")
    }

    fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Makes what is missing, ends soon, or is for other names.
    pub(crate) fn ensure(&self) -> Result<Made, Error> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|e| Error::io(format!("make {}", self.dir.display()), e))?;
        let now = now();
        let kept = self.kept(&self.authority(), now, AUTHORITY.1)?;
        let authority = kept.is_none();
        let text = match kept {
            Some(text) => text,
            None => {
                let text = self.make_authority(now).map_err(failed)?;
                env_file::replace(&self.authority(), &text, None)?;
                text
            }
        };
        let leaf = authority || self.kept(&self.leaf(), now, LEAF.1)?.is_none();
        if leaf {
            let text = self.make_leaf(&text, now).map_err(failed)?;
            env_file::replace(&self.leaf(), &text, None)?;
        }
        Ok(Made { leaf, authority })
    }

    /// Writes the authority's certificate where everybody may read it; alone, and behind those that the system
    /// trusts, for programs that take one file or the other.
    pub(crate) fn publish(&self, run_dir: &Path) -> Result<[PathBuf; 2], Error> {
        let text = self.read(&self.authority())?.unwrap_or_default();
        let certificate = section(&text, "CERTIFICATE").unwrap_or_default();
        let system = SYSTEM.iter().find_map(|path| fs::read_to_string(path).ok());
        let files = [run_dir.join("ca.pem"), run_dir.join("ca-bundle.pem")];
        let bundle = format!("{}\n{certificate}", system.unwrap_or_default());
        for (file, text) in files.iter().zip([certificate, &bundle]) {
            env_file::replace(file, text, None)?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o644))
                .map_err(|e| Error::io(format!("show {}", file.display()), e))?;
        }
        Ok(files)
    }

    fn read(&self, file: &Path) -> Result<Option<String>, Error> {
        match fs::read_to_string(file) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("read {}", file.display()), e)),
        }
    }

    /// The text of a file that is whole, for these names, and lasts longer than `spare`.
    fn kept(&self, file: &Path, now: Duration, spare: Duration) -> Result<Option<String>, Error> {
        let kept = self.read(file)?.and_then(Kept::parse);
        let good = |kept: &Kept| kept.names == self.said() && kept.end > (now + spare).as_secs();
        Ok(kept.filter(good).map(|kept| kept.text))
    }

    /// The names and addresses on one line.
    fn said(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let all: Vec<String> = self.names.iter().cloned().chain(addresses).collect();
        all.join(" ")
    }

    fn make_authority(&self, now: Duration) -> Result<String, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(&self.said(), now.as_secs());
        let names = self.names.iter().cloned().map(GeneralSubtree::DnsName);
        let addresses = self.addresses.iter().map(|address| {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, whole))
        });
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.chain(addresses).collect(),
            excluded_subtrees: Vec::new(),
        });
        let end = last(&mut params, now, AUTHORITY.0)?;
        let certificate = params.self_signed(&key)?;
        Ok(self.text(end, now, &certificate.pem(), &key))
    }

    fn make_leaf(&self, authority: &str, now: Duration) -> Result<String, rcgen::Error> {
        let made = Kept::line(authority, "made").and_then(|made| made.parse().ok());
        let signer = KeyPair::from_pem(section(authority, "PRIVATE KEY").unwrap_or_default())?;
        let issuer = Issuer::new(
            authority_params(&self.said(), made.unwrap_or_default()),
            signer,
        );
        let key = KeyPair::generate()?;
        let names = self
            .names
            .iter()
            .flat_map(|name| [name.clone(), format!("*.{name}")]);
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        let addresses = self.addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = self.names.first().cloned().unwrap_or_default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let end = last(&mut params, now, LEAF.0)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(self.text(end, now, &certificate.pem(), &key))
    }

    fn text(&self, end: u64, now: Duration, certificate: &str, key: &KeyPair) -> String {
        let (said, made) = (self.said(), now.as_secs());
        let key = key.serialize_pem();
        format!("names: {said}\nmade: {made}\nend: {end}\n{certificate}{key}")
    }
}

impl Kept {
    /// `None` if it is not whole; then another takes its place.
    fn parse(text: String) -> Option<Self> {
        section(&text, "CERTIFICATE")?;
        KeyPair::from_pem(section(&text, "PRIVATE KEY")?).ok()?;
        Some(Self {
            names: Self::line(&text, "names")?.to_owned(),
            end: Self::line(&text, "end")?.parse().ok()?,
            text,
        })
    }

    fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        let of = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
        text.lines().find_map(of)
    }
}

/// What identifies an authority to those whom it signs for. Told apart by names and second, so that a client that
/// still trusts an earlier one is not confused by the same name with another key.
fn authority_params(names: &str, made: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let first = names.split(' ').next().unwrap_or_default();
    let name = format!("Warder of {first}, {made}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Valid from yesterday, since clocks differ, for so long; the end in seconds since 1970.
fn last(
    params: &mut CertificateParams,
    now: Duration,
    life: Duration,
) -> Result<u64, rcgen::Error> {
    let at = |time: Duration| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
            .ok_or(rcgen::Error::Time)
    };
    params.not_before = at(now.saturating_sub(DAY))?;
    params.not_after = at(now + life)?;
    Ok((now + life).as_secs())
}

/// The first PEM section of this kind, with its marks.
fn section<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let (begin, end) = (
        format!("-----BEGIN {kind}-----"),
        format!("-----END {kind}-----"),
    );
    let from = text.find(&begin)?;
    let to = from + text[from..].find(&end)? + end.len();
    // With the end of its line.
    text.get(from..=to).or_else(|| text.get(from..to))
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn failed(error: rcgen::Error) -> Error {
    Error::Failed(format!("a certificate cannot be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(dir: &Path, names: &[&str]) -> LocalCa {
        let names = names.iter().copied().map(str::to_owned).collect();
        LocalCa::new(dir, names, vec![IpAddr::from([127, 0, 0, 1])])
    }

    fn age(file: &Path, end: u64) {
        let text = fs::read_to_string(file).expect("reads");
        let lines = text.lines().map(|line| {
            if line.starts_with("end: ") {
                format!("end: {end}\n")
            } else {
                format!("{line}\n")
            }
        });
        fs::write(file, lines.collect::<String>()).expect("writes");
    }

    #[test]
    fn it_is_kept_and_renewed_before_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = ca(dir.path(), &["box.example", "other.example"]);
        let made = |leaf, authority| Made { leaf, authority };
        assert_eq!(ca.ensure().expect("makes"), made(true, true));
        let first = fs::read_to_string(ca.leaf()).expect("reads");
        assert_eq!(ca.ensure().expect("keeps"), made(false, false));
        for file in [ca.leaf(), ca.authority()] {
            let mode = fs::metadata(&file).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        age(&ca.leaf(), (now() + DAY * 29).as_secs());
        assert_eq!(ca.ensure().expect("renews"), made(true, false));
        assert_ne!(fs::read_to_string(ca.leaf()).expect("reads"), first);
        // One that is not whole is none.
        let text = fs::read_to_string(ca.leaf()).expect("reads");
        fs::write(ca.leaf(), &text[..text.len() / 2]).expect("writes");
        assert_eq!(ca.ensure().expect("renews"), made(true, false));
        age(&ca.authority(), (now() + DAY).as_secs());
        assert_eq!(ca.ensure().expect("renews"), made(true, true));
        let other = LocalCa::new(dir.path(), vec!["new.example".into()], Vec::new());
        assert_eq!(other.ensure().expect("makes"), made(true, true));
    }

    #[test]
    fn only_the_certificate_is_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = ca(dir.path(), &["box.example"]);
        ca.ensure().expect("makes");
        let [alone, bundle] = ca.publish(dir.path()).expect("shows");
        for file in [&alone, &bundle] {
            let text = fs::read_to_string(file).expect("reads");
            assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE"));
            let mode = fs::metadata(file).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o644);
        }
        let [alone, bundle] = [alone, bundle].map(|f| fs::read_to_string(f).expect("reads"));
        assert!(bundle.ends_with(&alone) && alone.ends_with("-----\n"));
    }
}
