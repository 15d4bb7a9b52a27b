//! The backend against the suite for backends, and what it refuses.
#![forbid(unsafe_code)]

use warder_bhyve::Bhyve;
use warder_sdk::conformance;

#[test]
fn bhyve_conforms() {
    let passed = conformance::of_backend::<Bhyve>();
    assert!(passed.contains(&"a failure at any step of create leaves nothing"));
}

#[test]
fn what_it_has_not_is_named_with_what_it_lacks() {
    let refused = conformance::refusals::<Bhyve>();
    let lacks = |what: &str| {
        let found = refused.iter().find(|(name, _)| *name == what);
        found
            .map(|(_, fault)| fault.detail.clone())
            .expect("refused")
    };
    assert_eq!(refused.len(), 5);
    assert!(lacks("pause with memory").contains("BHYVE_SNAPSHOT"));
    assert!(lacks("pause").contains("not have it yet"));
    assert!(lacks("snapshot").contains("while it runs"));
    assert_eq!(lacks("resume"), lacks("cold resume"));
    assert!(refused.iter().all(|(_, fault)| fault.detail.len() <= 240));
}
