//! The program in the tree is the one that the tables make.

use warder_header_check::{items, program};

#[test]
fn check_c_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/check.c");
    let text = program(&items::all());
    if std::env::var_os("WARDER_BLESS").is_some() {
        std::fs::write(path, &text).expect("the source tree can be written");
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == text,
        "{path} is out of date: run WARDER_BLESS=1 cargo test -p warder-header-check"
    );
}

#[test]
fn every_item_is_compared_once() {
    let items = items::all();
    let text = program(&items);
    assert_eq!(text.matches("\tsame(\"").count(), items.len());
    let mut seen = std::collections::BTreeSet::new();
    for item in &items {
        assert!(seen.insert(format!("{:?}", item.what)), "twice: {item:?}");
    }
}
