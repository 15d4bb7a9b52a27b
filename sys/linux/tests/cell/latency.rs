//! Not a test: `cargo test -p warder-linux --release --test cell latency` prints how long things take.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use warder_linux::cell::Outcome;
use warder_linux::dirs::{Access, detached};
use warder_linux::process::Signal;

use crate::support::{self, Instance, LIMITS};

pub(crate) fn print() {
    let start = Instant::now();
    let mut instance = Instance::with_base();
    println!("template base: {:?}", start.elapsed());
    let own = detached(
        &std::env::current_exe().expect("own path"),
        Access::ReadOnly,
    )
    .expect("agent");
    let mut times: Vec<[Duration; 5]> = Vec::new();
    for round in 0..200 {
        let sandbox = support::random_id();
        let start = Instant::now();
        instance
            .store
            .clone_template(&sandbox, &support::base(), instance.users.range(), &[])
            .expect("clone");
        let cloned = Instant::now();
        let listener = support::listener(&instance.dir.path().join(format!("{round}")));
        let ready = Instant::now();
        let (cell, status) = instance
            .spawn(&sandbox, &LIMITS, own.as_fd(), listener.as_fd())
            .expect("spawn");
        let spawned = Instant::now();
        assert_eq!(support::wait(status), Outcome::Running);
        let running = Instant::now();
        cell.process.signal(Signal::Kill).expect("kill");
        support::ended(&cell.process);
        let _ = cell.process.try_wait().expect("wait");
        let dead = Instant::now();
        while !instance
            .controllers
            .remove_leftovers(&sandbox)
            .expect("remove")
        {}
        instance.store.discard(&sandbox).expect("discard");
        let removed = Instant::now();
        times.push([
            cloned - start,
            spawned - ready,
            running - ready,
            dead - running,
            removed - dead,
        ]);
        if std::env::var_os("SPARSE").is_some() {
            std::thread::sleep(Duration::from_millis(40));
        }
    }
    let names = [
        "storage",
        "spawn returns",
        "spawn to exec",
        "kill to ended",
        "remove",
    ];
    for (column, name) in names.iter().enumerate() {
        let mut one: Vec<_> = times.iter().map(|row| row[column]).collect();
        one.sort();
        println!(
            "{name}: min {:?} median {:?} p95 {:?}",
            one[0], one[100], one[190]
        );
    }
    let start = Instant::now();
    instance.store.empty_trash().expect("trash");
    println!("trash of 200: {:?}", start.elapsed());
}
