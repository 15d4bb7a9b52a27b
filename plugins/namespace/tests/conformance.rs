//! The backend against the suite for backends, and the order of what it asks.
#![forbid(unsafe_code)]

use warder_namespace::Namespace;
use warder_sdk::conformance;

#[test]
fn namespace_conforms() {
    let passed = conformance::of_backend::<Namespace>();
    assert!(passed.contains(&"a failure at any step of create leaves nothing"));
}
