//! The backend against the suite for backends, and the order of what it asks.
#![forbid(unsafe_code)]

use warder_jail::Jail;
use warder_sdk::conformance;

#[test]
fn jail_conforms() {
    let passed = conformance::of_backend::<Jail>();
    assert!(passed.contains(&"a failure at any step of create leaves nothing"));
}
