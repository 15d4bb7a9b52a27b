//! A certificate authority of the fake internet, and one certificate for everything in it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the servers show, and what clients trust it by (PEM).
pub(crate) fn make(names: &[String]) -> (Arc<ServerConfig>, String) {
    let ca_key = KeyPair::generate().expect("random numbers");
    let mut ca = CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    ca.distinguished_name
        .push(DnType::CommonName, "internet of the test");
    let pem = ca.self_signed(&ca_key).expect("signs").pem();
    let key = KeyPair::generate().expect("random numbers");
    let mut leaf = CertificateParams::new(names.to_vec()).expect("names");
    leaf.distinguished_name.push(DnType::CommonName, "servers");
    let leaf = leaf
        .signed_by(&key, &Issuer::from_params(&ca, &ca_key))
        .expect("signs");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("fits");
    (Arc::new(config), pem)
}
