//! The example against the suite for backends.
#![forbid(unsafe_code)]

#[test]
fn the_example_conforms() {
    warder_sdk::conformance::of_backend::<example::Example>();
}
