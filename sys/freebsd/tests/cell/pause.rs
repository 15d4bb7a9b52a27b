//! Cells that stand still.

use std::time::{Duration, Instant};

use warder_freebsd::sys::procs::{self, State};

use crate::support::{Instance, Running};

fn freeze(instance: &Instance, running: &Running) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let ids = instance.users.range();
    while !instance
        .controllers
        .freeze(&running.sandbox, ids)
        .expect("freeze")
    {
        assert!(Instant::now() < deadline, "it does not stand still");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn stopped_and_gone_on() {
    let mut instance = Instance::new();
    let running = instance.cell();
    // One that forks all the time, one that counts, one that its own user has stopped.
    running.ok("(while :; do true; /bin/echo x > /dev/null; done) > /dev/null 2>&1 &");
    running.ok("(i=0; while :; do i=$((i+1)); echo $i > /count; done) > /dev/null 2>&1 &");
    // Told to stop when it is what it will be: before that it has this shell's output, whose end is waited for.
    let own = running.ok("sleep 1000 > /dev/null 2>&1 & \
         until [ \"$(ps -o comm= -p $!)\" = sleep ]; do :; done; kill -STOP $!; \
         until ps -o state= -p $! | grep -q T; do :; done; echo $!");
    let own: u32 = own.parse().expect("a number");
    // One that runs is told to when the cell is about to be paused: it stops a little after kill(2).
    let late = running.ok("yes > /dev/null 2>&1 & echo $!");
    let late: u32 = late.parse().expect("a number");
    procs::kill(late, libc::SIGSTOP).expect("told to stop");
    freeze(&instance, &running);
    assert!(
        instance
            .controllers
            .is_frozen(&running.sandbox, &running.cell)
    );
    let count = instance.tree(&running.sandbox).join("count");
    let read = || std::fs::read_to_string(&count).expect("a count");
    let before = read();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(before, read());
    assert!(!running.answers());
    let jid = procs::get(running.cell.handle.pid)
        .expect("asked")
        .expect("there")
        .jid;
    for process in procs::all().expect("processes") {
        assert!(
            process.jid != jid || matches!(process.state, State::Stopped | State::Zombie),
            "{process:?}"
        );
    }

    let ids = instance.users.range();
    instance
        .controllers
        .thaw(&running.sandbox, ids)
        .expect("thaw");
    assert!(
        !instance
            .controllers
            .is_frozen(&running.sandbox, &running.cell)
    );
    // The answer to what was asked meanwhile.
    assert!(running.hears(Duration::from_secs(60)));
    running.ok("true");
    let deadline = Instant::now() + Duration::from_secs(60);
    while before == read() {
        assert!(Instant::now() < deadline, "it does not go on counting");
        std::thread::sleep(Duration::from_millis(10));
    }
    for pid in [own, late] {
        let process = procs::get(pid).expect("asked").expect("there");
        assert_eq!(
            process.state,
            State::Stopped,
            "what the user had stopped stays stopped: {process:?}"
        );
    }

    // A stopped one can be killed.
    freeze(&instance, &running);
    instance.end(running);
}
