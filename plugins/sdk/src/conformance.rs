//! The suite that any backend must pass.
//!
//! In a test of the plugin:
//!
//! ```text
//! warder_sdk::conformance::of_backend::<Mine>();
//! ```
//!
//! or, for a plugin that is loaded as it will be, [`run`] with a closure that loads it. Template `base`
//! exists. Each check has a fresh host; the first broken one panics with what was expected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warder_abi::message::{code, decode, encode};
use warder_abi::{Head, HostCalls, HostHandle, PluginCalls};

use crate::fake::{FakeHost, Trouble};
use crate::{
    Backend, Create, Description, Dispatch, EndReason, Ended, Fault, FaultCode, Limits,
    LimitsInForce, Pause, Resume, Resumed, SandboxId, Snapshot, TemplateName, Usage,
};

/// Makes the plugin's object with this host.
pub type Make<'a> = &'a dyn Fn(Arc<dyn HostCalls>) -> Box<dyn PluginCalls>;

/// Time for a call that should not need any.
const DEADLINE_MS: u32 = 20_000;
/// How much later than its deadline a call may return: time to undo.
const LATE: Duration = Duration::from_secs(8);

type Check = fn(&Scene<'_>);

/// Every check, with the name it is reported by.
const CHECKS: [(&str, Check); 16] = [
    ("describes itself", describes),
    ("create, stats, destroy", life),
    ("the same operation is done once", same_operation),
    ("an existing sandbox is a conflict and lives on", existing),
    (
        "an unknown template fails and leaves nothing",
        unknown_template,
    ),
    ("an unknown sandbox", unknown_sandbox),
    (
        "a failure at any step of create leaves nothing",
        create_fails,
    ),
    (
        "a lost answer at any step of create leaves nothing",
        create_loses_answers,
    ),
    (
        "a failure at any step of destroy can be made good",
        destroy_fails,
    ),
    ("pause and resume", pauses),
    (
        "a failure at any step of pause or resume loses nothing",
        pause_fails,
    ),
    ("snapshots", snapshots),
    ("a deadline is kept", deadline),
    ("a new process finds what an earlier one made", adopts),
    ("many at once", many),
    ("garbage is a fault", garbage),
];

/// Runs every check on a backend in this process. Returns their names.
///
/// # Panics
/// When one is broken.
pub fn of_backend<B: Backend>() -> Vec<&'static str> {
    run(&local::<B>)
}

/// Runs every check on what `make` makes. Returns their names.
///
/// # Panics
/// When one is broken.
pub fn run(make: Make<'_>) -> Vec<&'static str> {
    for (name, check) in CHECKS {
        check(&Scene::new(make, name));
    }
    names()
}

/// The names of the checks, in their order.
#[must_use]
pub fn names() -> Vec<&'static str> {
    CHECKS.map(|(name, _)| name).to_vec()
}

/// Runs the check of that name alone on what `make` makes; whether there is one.
///
/// # Panics
/// When it is broken.
#[must_use]
pub fn one(name: &str, make: Make<'_>) -> bool {
    let Some((name, check)) = CHECKS.into_iter().find(|(known, _)| *known == name) else {
        return false;
    };
    check(&Scene::new(make, name));
    true
}

/// What a backend has not, of all that one may have not: each with its fault.
#[must_use]
pub fn refusals<B: Backend>() -> Vec<(&'static str, Fault)> {
    let scene = Scene::new(&local::<B>, "refusals");
    let sandbox = id(1);
    scene.wants(scene.create(1, &sandbox).is_ok(), "create succeeds");
    let snapshot = encode(&Snapshot {
        sandbox: sandbox.clone(),
        template: TemplateName("kept".into()),
    });
    let snapshot = scene.call(code::SNAPSHOT, 2, DEADLINE_MS, &snapshot);
    let asked = [
        ("snapshot", snapshot.map(drop)),
        ("pause with memory", scene.pause(3, &sandbox, true)),
        ("resume", scene.resume(4, &sandbox, true).map(drop)),
        ("pause", scene.pause(5, &sandbox, false)),
        ("cold resume", scene.resume(6, &sandbox, false).map(drop)),
    ];
    let refused = |(what, result): (&'static str, Result<(), Fault>)| {
        let fault = result.err()?;
        (fault.code == FaultCode::Unsupported).then_some((what, fault))
    };
    asked.into_iter().filter_map(refused).collect()
}

/// Loads a backend into this process.
fn local<B: Backend>(host: Arc<dyn HostCalls>) -> Box<dyn PluginCalls> {
    match Dispatch::<B>::load(HostHandle::local(host)) {
        Ok(plugin) => Box::new(plugin),
        Err(fault) => panic!("the backend refuses to start: {fault}"),
    }
}

struct Scene<'a> {
    make: Make<'a>,
    check: &'static str,
    host: Arc<FakeHost>,
    plugin: Box<dyn PluginCalls>,
}

impl<'a> Scene<'a> {
    fn new(make: Make<'a>, check: &'static str) -> Self {
        let host = FakeHost::new();
        Self {
            make,
            check,
            plugin: make(Arc::clone(&host) as Arc<dyn HostCalls>),
            host,
        }
    }

    fn again(&self) -> Self {
        Self {
            plugin: (self.make)(Arc::clone(&self.host) as Arc<dyn HostCalls>),
            host: Arc::clone(&self.host),
            ..*self
        }
    }

    #[track_caller]
    fn wants(&self, holds: bool, what: &str) {
        let asked = self.host.asked();
        assert!(
            holds,
            "{}: {what}\nasked of the host: {asked:#?}",
            self.check
        );
    }

    fn call(
        &self,
        code: u32,
        operation: u8,
        deadline_ms: u32,
        body: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let head = Head {
            code,
            operation: [operation; 16],
            deadline_ms,
        };
        self.plugin
            .call(head, body)
            .map_err(|bytes| Fault::decode(&bytes))
    }

    fn create(&self, operation: u8, sandbox: &SandboxId) -> Result<LimitsInForce, Fault> {
        let body = encode(&wanted(sandbox, "base"));
        decode(&self.call(code::CREATE, operation, DEADLINE_MS, &body)?)
    }

    fn destroy(&self, operation: u8, sandbox: &SandboxId) -> Result<(), Fault> {
        self.call(code::DESTROY, operation, DEADLINE_MS, &encode(sandbox))
            .map(drop)
    }

    fn stats(&self, sandbox: &SandboxId) -> Result<Usage, Fault> {
        decode(&self.call(code::STATS, 0, DEADLINE_MS, &encode(sandbox))?)
    }

    fn pause(&self, operation: u8, sandbox: &SandboxId, memory: bool) -> Result<(), Fault> {
        let wanted = Pause {
            sandbox: sandbox.clone(),
            memory,
        };
        self.call(code::PAUSE, operation, DEADLINE_MS, &encode(&wanted))
            .map(drop)
    }

    fn resume(&self, operation: u8, sandbox: &SandboxId, memory: bool) -> Result<Resumed, Fault> {
        let wanted = Resume {
            sandbox: sandbox.clone(),
            memory,
            limits: wanted(sandbox, "base").limits,
        };
        decode(&self.call(code::RESUME, operation, DEADLINE_MS, &encode(&wanted))?)
    }

    fn description(&self) -> Description {
        let said = self.call(code::DESCRIBE, 0, DEADLINE_MS, &[]);
        said.and_then(|bytes| decode(&bytes)).unwrap_or_default()
    }

    fn is_clean(&self) -> bool {
        self.host.leftovers().is_empty()
    }

    /// How many calls to the host a create that succeeds makes.
    fn steps(&self) -> usize {
        self.host.plan(None);
        self.wants(self.create(200, &id(200)).is_ok(), "create succeeds");
        let steps = self.host.asked().len();
        self.wants(self.destroy(201, &id(200)).is_ok(), "destroy succeeds");
        steps
    }
}

fn id(number: u8) -> SandboxId {
    SandboxId(format!("i{number:0>20}"))
}

fn wanted(sandbox: &SandboxId, template: &str) -> Create {
    Create {
        sandbox: sandbox.clone(),
        template: TemplateName(template.into()),
        limits: Limits {
            memory_mib: 128,
            cpu_percent: 100,
            pids: 64,
            disk_mib: 256,
        },
    }
}

fn is(fault: Option<Fault>, code: FaultCode) -> bool {
    fault.is_some_and(|fault| fault.code == code)
}

fn describes(scene: &Scene<'_>) {
    let bytes = scene.call(code::DESCRIBE, 0, DEADLINE_MS, &[]);
    let said = bytes.and_then(|bytes| decode::<Description>(&bytes));
    let title = said.map(|said| said.title).unwrap_or_default();
    let fits = (1..=120).contains(&title.len());
    let plain = title.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    scene.wants(fits && plain, "a title of 1 to 120 printable characters");
}

fn life(scene: &Scene<'_>) {
    let sandbox = id(1);
    scene.wants(scene.create(1, &sandbox).is_ok(), "create succeeds");
    scene.wants(scene.stats(&sandbox).is_ok(), "a live sandbox has stats");
    scene.wants(scene.destroy(2, &sandbox).is_ok(), "destroy succeeds");
    scene.wants(scene.is_clean(), "destroy leaves nothing");
    scene.wants(
        scene.destroy(3, &sandbox).is_ok(),
        "destroying twice succeeds",
    );
    let ended = Ended {
        sandbox: id(9),
        reason: EndReason::Expired,
    };
    let heard = scene.call(code::ENDED, 0, DEADLINE_MS, &encode(&ended));
    scene.wants(heard.is_ok(), "the end of a sandbox is heard");
}

fn same_operation(scene: &Scene<'_>) {
    scene.wants(scene.create(1, &id(1)).is_ok(), "create succeeds");
    scene.wants(
        scene.create(1, &id(1)).is_ok(),
        "the same create succeeds again",
    );
    scene.wants(scene.stats(&id(1)).is_ok(), "the sandbox lives");
    scene.wants(scene.destroy(2, &id(1)).is_ok(), "destroy succeeds");
    scene.wants(
        scene.destroy(2, &id(1)).is_ok(),
        "the same destroy succeeds again",
    );
    scene.wants(scene.is_clean(), "nothing is left");
}

fn existing(scene: &Scene<'_>) {
    scene.wants(scene.create(1, &id(1)).is_ok(), "create succeeds");
    let second = scene.create(2, &id(1)).err();
    scene.wants(
        is(second, FaultCode::Conflict),
        "another create is a conflict",
    );
    scene.wants(scene.stats(&id(1)).is_ok(), "the first sandbox lives on");
    let running = scene.host.running();
    let lost = !running.is_empty() || !scene.host.leftovers().contains(&id(1));
    scene.wants(lost, "its cell was not taken away");
}

fn unknown_template(scene: &Scene<'_>) {
    let body = encode(&wanted(&id(1), "no-such-template"));
    let fault = scene.call(code::CREATE, 1, DEADLINE_MS, &body).err();
    scene.wants(
        is(fault, FaultCode::NotFound),
        "an unknown template is not found",
    );
    scene.wants(scene.is_clean(), "nothing is left");
}

fn unknown_sandbox(scene: &Scene<'_>) {
    let fault = scene.stats(&id(1)).err();
    scene.wants(
        is(fault, FaultCode::NotFound),
        "stats of an unknown sandbox is not found",
    );
    scene.wants(
        scene.destroy(1, &id(1)).is_ok(),
        "destroy of an unknown sandbox succeeds",
    );
}

fn create_fails(scene: &Scene<'_>) {
    for step in 0..scene.steps() {
        for code in [
            FaultCode::System,
            FaultCode::Exhausted,
            FaultCode::Unavailable,
        ] {
            let again = Scene::new(scene.make, scene.check);
            again.host.plan(Some(Trouble::Fails(step, code)));
            let fault = again.create(1, &id(1)).err();
            again.wants(
                is(fault, code),
                "the fault of the failing step is the answer",
            );
            again.wants(again.is_clean(), "what was made is undone");
            again.host.plan(None);
            again.wants(again.create(2, &id(1)).is_ok(), "another try succeeds");
        }
    }
}

fn create_loses_answers(scene: &Scene<'_>) {
    for step in 0..scene.steps() {
        let again = Scene::new(scene.make, scene.check);
        again.host.plan(Some(Trouble::AnswerLost(step)));
        again.wants(again.create(1, &id(1)).is_err(), "create fails");
        again.wants(again.is_clean(), "what may have been made is undone");
    }
}

fn destroy_fails(scene: &Scene<'_>) {
    scene.wants(scene.create(1, &id(1)).is_ok(), "create succeeds");
    scene.host.plan(None);
    scene.wants(scene.destroy(2, &id(1)).is_ok(), "destroy succeeds");
    for step in 0..scene.host.asked().len() {
        let again = Scene::new(scene.make, scene.check);
        again.wants(again.create(1, &id(1)).is_ok(), "create succeeds");
        again
            .host
            .plan(Some(Trouble::Fails(step, FaultCode::System)));
        again.wants(
            again.destroy(2, &id(1)).is_err(),
            "a failing step is not hidden",
        );
        again.host.plan(None);
        again.wants(again.destroy(3, &id(1)).is_ok(), "another try succeeds");
        again.wants(again.is_clean(), "nothing is left");
    }
}

fn pauses(scene: &Scene<'_>) {
    let sandbox = id(1);
    scene.wants(scene.create(1, &sandbox).is_ok(), "create succeeds");
    if let Some(fault) = scene.pause(2, &sandbox, false).err() {
        // What cannot pause says so, and says that it cannot keep memory.
        let said = fault.code == FaultCode::Unsupported && !scene.description().pause_memory;
        scene.wants(said, "pausing succeeds or is unsupported");
        return scene.wants(scene.stats(&sandbox).is_ok(), "the sandbox lives on");
    }
    scene.wants(scene.host.running().is_empty(), "its processes are gone");
    let twice = scene.pause(3, &sandbox, false).err();
    scene.wants(
        is(twice, FaultCode::Conflict),
        "pausing twice is a conflict",
    );
    let resumed = scene.resume(4, &sandbox, true).ok();
    let anew = resumed == Some(Resumed { memory: false });
    scene.wants(anew, "what was started anew is said to be");
    scene.wants(scene.stats(&sandbox).is_ok(), "it lives");
    let running = scene.resume(5, &sandbox, true).err();
    scene.wants(
        is(running, FaultCode::Conflict),
        "resuming what runs is a conflict",
    );
    scene.wants(scene.stats(&sandbox).is_ok(), "and it lives on");
    for fault in [
        scene.pause(6, &id(9), false).err(),
        scene.resume(7, &id(9), true).err(),
    ] {
        scene.wants(
            is(fault, FaultCode::NotFound),
            "an unknown sandbox is not found",
        );
    }
    if scene.description().pause_memory {
        let wake = |memory| (scene.resume(9, &sandbox, memory), scene.host.frozen());
        let paused = scene.pause(8, &sandbox, true);
        scene.wants(
            paused.is_ok() && scene.host.frozen() == [sandbox.clone()],
            "its processes are kept",
        );
        let woken = wake(true) == (Ok(Resumed { memory: true }), Vec::new());
        scene.wants(woken, "and go on");
        scene.wants(scene.pause(10, &sandbox, true).is_ok(), "pause succeeds");
        scene.host.lose_memory(&sandbox);
        let resumed = scene.resume(11, &sandbox, true);
        scene.wants(
            resumed == Ok(Resumed { memory: false }),
            "lost memory is said to be lost",
        );
        scene.wants(scene.pause(12, &sandbox, true).is_ok(), "pause succeeds");
        let resumed = scene.resume(13, &sandbox, false);
        scene.wants(
            resumed == Ok(Resumed { memory: false }) && scene.host.frozen().is_empty(),
            "kept processes are given up where that is asked for",
        );
        scene.wants(scene.pause(14, &sandbox, true).is_ok(), "pause succeeds");
    }
    scene.wants(scene.destroy(15, &sandbox).is_ok(), "destroy succeeds");
    scene.wants(scene.is_clean(), "nothing is left");
}

fn pause_fails(scene: &Scene<'_>) {
    let code = FaultCode::System;
    for memory in [false, scene.description().pause_memory] {
        let counted = Scene::new(scene.make, scene.check);
        counted.wants(counted.create(1, &id(1)).is_ok(), "create succeeds");
        let mut steps = [0; 2];
        for (number, operation) in [2, 3].into_iter().enumerate() {
            counted.host.plan(None);
            let done = match number {
                0 => counted.pause(operation, &id(1), memory),
                _ => counted.resume(operation, &id(1), memory).map(drop),
            };
            if is(done.err(), FaultCode::Unsupported) {
                return;
            }
            steps[number] = counted.host.asked().len();
        }
        for step in 0..steps[0] {
            let again = Scene::new(scene.make, scene.check);
            again.wants(again.create(1, &id(1)).is_ok(), "create succeeds");
            again.host.plan(Some(Trouble::Fails(step, code)));
            let fault = again.pause(2, &id(1), memory).err();
            again.wants(is(fault, code), "a failing step is not hidden");
            again.host.plan(None);
            again.wants(again.stats(&id(1)).is_ok(), "it lives on");
            let paused = again.pause(3, &id(1), memory);
            again.wants(paused.is_ok(), "another try succeeds");
        }
        for step in 0..steps[1] {
            let again = Scene::new(scene.make, scene.check);
            again.wants(again.create(1, &id(1)).is_ok(), "create succeeds");
            let paused = again.pause(2, &id(1), memory);
            again.wants(paused.is_ok(), "pause succeeds");
            again.host.plan(Some(Trouble::Fails(step, code)));
            let fault = again.resume(3, &id(1), memory).err();
            again.wants(is(fault, code), "a failing step is not hidden");
            again.host.plan(None);
            let kept = again.host.leftovers().contains(&id(1));
            again.wants(kept, "its disk is kept");
            let resumed = again.resume(4, &id(1), memory);
            again.wants(resumed.is_ok(), "another try succeeds");
        }
    }
}

fn snapshots(scene: &Scene<'_>) {
    scene.wants(scene.create(1, &id(1)).is_ok(), "create succeeds");
    let snapshot = |operation, sandbox: &SandboxId, template: &str| {
        let wanted = Snapshot {
            sandbox: sandbox.clone(),
            template: TemplateName(template.into()),
        };
        scene
            .call(code::SNAPSHOT, operation, DEADLINE_MS, &encode(&wanted))
            .map(drop)
    };
    if let Some(fault) = snapshot(2, &id(1), "kept").err() {
        let said = fault.code == FaultCode::Unsupported;
        return scene.wants(said, "a snapshot succeeds or is unsupported");
    }
    scene.wants(scene.stats(&id(1)).is_ok(), "the sandbox lives on");
    let twice = snapshot(3, &id(1), "kept").err();
    scene.wants(
        is(twice, FaultCode::Conflict),
        "a template of that name is a conflict",
    );
    let unknown = snapshot(4, &id(9), "other").err();
    scene.wants(
        is(unknown, FaultCode::NotFound),
        "an unknown sandbox is not found",
    );
    scene.wants(scene.destroy(5, &id(1)).is_ok(), "destroy succeeds");
    scene.wants(
        scene.is_clean() && scene.host.templates().len() == 1,
        "the snapshot outlives its sandbox",
    );
}

fn deadline(scene: &Scene<'_>) {
    const SHORT_MS: u32 = 50;
    for step in 0..scene.steps() {
        let again = Scene::new(scene.make, scene.check);
        again.host.plan(Some(Trouble::Hangs(step)));
        let start = Instant::now();
        let body = encode(&wanted(&id(1), "base"));
        let fault = again.call(code::CREATE, 1, SHORT_MS, &body).err();
        again.wants(
            is(fault, FaultCode::TimedOut),
            "a host that hangs is a timeout",
        );
        let kept = start.elapsed() < Duration::from_millis(SHORT_MS.into()) + 2 * LATE;
        again.wants(kept, "the call ends");
    }
    scene.host.plan(None);
    let late = scene.call(code::CREATE, 9, 0, &encode(&wanted(&id(2), "base")));
    scene.wants(is(late.err(), FaultCode::TimedOut), "no time means no work");
    scene.wants(scene.is_clean(), "nothing is left");
}

fn adopts(scene: &Scene<'_>) {
    let mut all: Vec<SandboxId> = (1..=5).map(id).collect();
    for (number, sandbox) in (1..).zip(&all) {
        scene.wants(scene.create(number, sandbox).is_ok(), "create succeeds");
    }
    let later = scene.again();
    let found = later.call(code::ADOPT, 0, DEADLINE_MS, &[]);
    let mut found: Vec<SandboxId> = found.and_then(|bytes| decode(&bytes)).unwrap_or_default();
    found.sort();
    all.sort();
    later.wants(found == all, "it finds the five that were made");
    for (number, sandbox) in (10..).zip(&all) {
        later.wants(later.stats(sandbox).is_ok(), "each has stats");
        later.wants(
            later.destroy(number, sandbox).is_ok(),
            "each can be destroyed",
        );
    }
    later.wants(later.is_clean(), "nothing is left");
}

fn many(scene: &Scene<'_>) {
    let plugin: &dyn PluginCalls = &*scene.plugin;
    let one = |number: u8| -> Result<(), Fault> {
        let ask = |code, operation: u8, body: &[u8]| {
            let head = Head {
                code,
                operation: [operation; 16],
                deadline_ms: DEADLINE_MS,
            };
            plugin
                .call(head, body)
                .map_err(|bytes| Fault::decode(&bytes))
        };
        for round in 0..8 {
            let sandbox = id(number * 8 + round);
            ask(
                code::CREATE,
                number * 8 + round,
                &encode(&wanted(&sandbox, "base")),
            )?;
            ask(code::STATS, 0, &encode(&sandbox))?;
            ask(code::DESTROY, 128 + number * 8 + round, &encode(&sandbox))?;
        }
        Ok(())
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    scene.wants(
        results.iter().all(Result::is_ok),
        &format!("all succeed: {results:?}"),
    );
    scene.wants(scene.is_clean(), "nothing is left");
}

fn garbage(scene: &Scene<'_>) {
    for code in [
        code::CREATE,
        code::DESTROY,
        code::STATS,
        code::PAUSE,
        code::RESUME,
        code::SNAPSHOT,
        code::ENDED,
    ] {
        for body in [&[0xff; 40][..], &[], &[5]] {
            let result = scene.call(code, 1, DEADLINE_MS, body);
            scene.wants(result.is_err(), &format!("{body:?} for operation {code}"));
        }
    }
    let fault = scene.call(4_000_000, 1, DEADLINE_MS, &[]).err();
    scene.wants(
        is(fault, FaultCode::Unsupported),
        "an unknown operation is unsupported",
    );
    scene.wants(scene.is_clean(), "nothing is left");
}
