//! Templates.

use std::process::Command;

use super::pool::{bench, id, name, run};

pub(crate) fn a_snapshot_outlives_its_sandbox() {
    let mut bench = bench();
    let root = bench.clone(1, "bare");
    root.materialize(64).expect("makes");
    std::fs::write(root.path().join("file"), "before").expect("writes");
    bench.snapshot("one", 1);
    std::fs::write(root.path().join("file"), "after").expect("the sandbox goes on");
    assert!(bench.store().discard(&id(1)).expect("discards"));
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare", "templates/one"]);
    bench.reopen();
    let root = bench.clone(2, "one");
    root.materialize(64).expect("makes");
    let read =
        |root: &warder_freebsd::storage::Root| std::fs::read_to_string(root.path().join("file"));
    assert_eq!(read(&root).expect("there"), "before");
    let lineage = [name("one"), name("bare")];
    assert_eq!(bench.store().lineage(Some(&id(2)), &name("bare")), lineage);
    // A fork: of a snapshot that goes with this process.
    let store = bench.store();
    let draft = store
        .draft(&name("fork"), Some(&id(2)))
        .expect("drafts")
        .passing();
    store
        .copy_changes(&draft, &id(2), super::pool::IDS, 0)
        .expect("copies");
    store.keep(&draft).expect("keeps");
    store.settle(draft, true).expect("settles");
    let fork = bench.clone(3, "fork");
    fork.materialize(64).expect("makes");
    assert_eq!(read(&fork).expect("there"), "before");
    bench.reopen();
    assert!(!bench.store().has_template(&name("fork")));
    for n in [2, 3] {
        assert!(bench.store().discard(&id(n)).expect("discards"));
    }
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare", "templates/one"]);
}

pub(crate) fn a_template_waits_for_its_clones() {
    let mut bench = bench();
    bench.clone(1, "bare").materialize(64).expect("makes");
    bench.snapshot("one", 1);
    bench.clone(2, "one").materialize(64).expect("makes");
    bench.snapshot("two", 2);
    assert!(
        bench
            .store()
            .discard_template(&name("one"))
            .expect("discards")
    );
    bench.store().empty_trash().expect("waits");
    assert!(bench.there().contains(&"templates/one".to_owned()));
    assert!(!bench.store().has_template(&name("one")));
    for n in [1, 2] {
        assert!(bench.store().discard(&id(n)).expect("discards"));
    }
    assert!(
        bench
            .store()
            .discard_template(&name("two"))
            .expect("discards")
    );
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
    bench.reopen();
    assert!(!bench.store().has_trash().expect("looks"));
}

pub(crate) fn base_knows_its_users() {
    let mut bench = bench();
    assert!(!bench.store().base_is_fresh().expect("looks"));
    let store = bench.store();
    let draft = store.draft(&name("base"), None).expect("drafts");
    store.make_base(&draft).expect("makes");
    store.keep(&draft).expect("keeps");
    store.settle(draft, true).expect("settles");
    assert!(bench.store().base_is_fresh().expect("looks"));
    let root = bench.clone(1, "base");
    assert!(root.host_base());
    root.materialize(64).expect("makes");
    for file in ["etc/pwd.db", "etc/spwd.db", "etc/passwd", "etc/services"] {
        assert!(root.path().join(file).exists(), "{file}");
    }
    // Of the host's /etc there is nothing, though it has these.
    let etc = root.path().join("etc");
    assert!(!etc.join("localtime").exists());
    for file in ["services", "protocols", "rpc", "netconfig"] {
        let ours = std::fs::read(etc.join(file)).expect("reads");
        assert_ne!(ours, std::fs::read(format!("/etc/{file}")).expect("reads"));
    }
    let etc = etc.to_str().expect("text");
    let user = run("/usr/sbin/pw", &["-V", etc, "usershow", "user"]);
    assert!(user.contains(":1000:1000:"), "{user}");
    // Nothing of the host's own users.
    let output = Command::new("/usr/sbin/pw")
        .args(["-V", etc, "usershow", "-a"])
        .output();
    let all = output.expect("pw").stdout;
    assert_eq!(String::from_utf8_lossy(&all).lines().count(), 10);
}
