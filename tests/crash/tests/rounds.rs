//! kill -9 of every daemon at random points of create, destroy, pause and resume: no sandbox lost, nothing left
//! behind.
//!
//! `CRASH_ROUNDS` (20) is the number of rounds, `CRASH_SEED` repeats the choices of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_crash::{
    Churn, Kernel, PATIENCE, Resident, Restless, Seed, Sleeper, Tally, listed, settle, steady,
    usable,
};
use warder_harness::Instance;

const RESIDENTS: usize = 20;
/// Paused and woken all the time, half of them with their processes.
const SLEEPERS: usize = 4;
const CLIENTS: usize = 3;
const VICTIMS: [&str; 5] = ["privd", "netd", "egressd", "gatewayd", "pluginhost"];
/// How long a mortal sandbox is given to live, in seconds: longer than a round, so that crashes meet it at any age.
const MORTAL: u64 = 6;
/// How exactly its end is looked at; a deadline that a crash moves is off by more.
const EXACTLY: Duration = Duration::from_secs(2);

/// A sandbox that ends by itself.
struct Mortal {
    id: String,
    /// Between the request and the answer of its create, plus its time.
    due: (Instant, Instant),
}

/// Who lives through more than one round.
struct Cast {
    residents: Vec<Resident>,
    sleepers: Vec<Sleeper>,
    mortals: Vec<Mortal>,
}

impl Cast {
    /// Those that live through all of them.
    fn ids(&self) -> BTreeSet<String> {
        let residents = self.residents.iter().map(Resident::id);
        let all = residents.chain(self.sleepers.iter().map(Sleeper::id));
        all.map(str::to_owned).collect()
    }
}

/// What a victim's rounds came to.
#[derive(Clone, Debug, Default)]
struct Account {
    rounds: usize,
    twice: usize,
    answered: usize,
    refused: usize,
    broken: usize,
    unknown: usize,
    slowest: Duration,
    paused: usize,
}

/// One at a time, or they would only wait for each other's load.
static TURN: Mutex<()> = Mutex::new(());

fn rounds() -> usize {
    let asked = std::env::var("CRASH_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// The same where no control groups are: sandboxes are found again without them.
#[test]
fn nor_on_a_host_without_control_groups() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let hide =
        "mount --make-rprivate / && { umount -l /sys/fs/cgroup || true; } && exec \"$0\" \"$@\"";
    let this = std::env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", hide])
        .arg(this)
        .args([
            "--exact",
            "nothing_is_lost_and_nothing_is_left",
            "--nocapture",
        ])
        .env("CRASH_ROUNDS", (rounds() / 2).to_string())
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

#[test]
fn nothing_is_lost_and_nothing_is_left() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = rounds();
    let mut seed = Seed::from_environment();
    let first = seed.value();
    say(&format!("crash: {rounds} rounds, CRASH_SEED={first}"));

    let mut instance = Instance::builder().start();
    settle(&instance, "the first sandbox comes and goes", || {
        usable(&instance)
    });
    let start = steady(&instance);
    let mut cast = Cast {
        residents: (0..RESIDENTS)
            .map(|n| Resident::make(&instance, n))
            .collect(),
        sleepers: (0..SLEEPERS).map(|n| Sleeper::make(&instance, n)).collect(),
        mortals: Vec::new(),
    };
    let mut accounts: BTreeMap<&str, Account> = BTreeMap::new();
    let mut order = Vec::new();
    for round in 0..rounds {
        if order.is_empty() {
            order = seed.shuffled(&VICTIMS);
        }
        let victim = order.pop().unwrap_or("privd");
        let account = accounts.entry(victim).or_default();
        account.rounds += 1;
        let name = format!("round {round} of {rounds}, {victim}, CRASH_SEED={first}");
        cast.mortals.push(Mortal::make(&instance));
        let restless = Restless::start(instance.address(), instance.key(), &cast.sleepers);
        let mut tally = strike(&mut instance, victim, &mut seed, account);
        let (paused, wrong) = restless.stop();
        account.paused += paused;
        tally.wrong.extend(wrong);
        // Each is there, with what it had on its disk and, if it was to be kept, in memory.
        let awake = |sleeper: &mut Sleeper| sleeper.wake_and_check(&instance, round);
        let wrong: Vec<_> = cast.sleepers.iter_mut().flat_map(awake).collect();
        assert!(
            wrong.is_empty(),
            "{name}: {wrong:?}\n{}",
            instance.log_text()
        );
        after(&instance, &name, tally, &mut cast, &start, account);
    }
    settle(&instance, "the last deadlines", || {
        let wrong = on_time(&instance, &mut cast.mortals);
        assert!(wrong.is_empty(), "{wrong:?}\n{}", instance.log_text());
        cast.mortals
            .iter()
            .map(|mortal| mortal.id.clone())
            .collect()
    });
    say(&summary(&accounts, first));

    for id in cast.ids() {
        let gone = instance.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
        assert_eq!(gone.status, 204, "{}", gone.text());
    }
    settle(&instance, "everything is as it was at the start", || {
        Kernel::look(&instance).empty_again(&start)
    });
    instance.stop();
    let left = instance.leftovers();
    assert!(left.is_empty(), "left after the stop: {left:?}");
    say("crash: all rounds passed; nothing was left at the end");
}

/// Kills the victim while clients create and destroy, and brings the server back.
fn strike(instance: &mut Instance, victim: &str, seed: &mut Seed, account: &mut Account) -> Tally {
    let churn = Churn::start(instance.address(), instance.key(), CLIENTS);
    // Long enough for several creates and destroys of each client, so that any moment of either may be hit.
    thread::sleep(Duration::from_millis(20) + seed.pause(Duration::from_millis(60)));
    let begin = Instant::now();
    assert!(kill(instance, victim), "no {victim} runs");
    // Now and then another one dies while the first comes back.
    if seed.below(4) == 0 {
        thread::sleep(seed.pause(Duration::from_millis(50)));
        let second = *seed.shuffled(&VICTIMS).first().unwrap_or(&"privd");
        account.twice += usize::from(kill(instance, second));
    }
    // Some clients meet the server while it is coming back.
    thread::sleep(seed.pause(Duration::from_millis(100)));
    instance.await_http();
    settle(instance, "sandboxes can be made again", || usable(instance));
    account.slowest = account.slowest.max(begin.elapsed());
    churn.stop()
}

/// Kills a daemon, and starts privd again; false when it does not run just now.
fn kill(instance: &mut Instance, victim: &str) -> bool {
    if victim == "privd" {
        instance.kill_privd();
        instance.launch();
        return true;
    }
    let Some(pid) = instance.daemon_pid(victim) else {
        return false;
    };
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    killed.is_ok_and(|status| status.success())
}

/// Everything that has to hold after a crash.
fn after(
    instance: &Instance,
    name: &str,
    tally: Tally,
    cast: &mut Cast,
    start: &Kernel,
    account: &mut Account,
) {
    account.answered += tally.answered;
    account.refused += tally.refused;
    account.broken += tally.broken;
    assert!(tally.wrong.is_empty(), "{name}: {:?}", tally.wrong);
    let ids = cast.ids();
    let (residents, mortals) = (&mut cast.residents, &mut cast.mortals);

    // What was answered holds: made means there, destroyed means gone.
    settle(instance, &format!("{name}: answers hold"), || {
        let listed = listed(instance);
        let mut wrong = Vec::new();
        let lost: Vec<_> = tally
            .kept
            .union(&ids)
            .filter(|id| !listed.contains(*id))
            .collect();
        if !lost.is_empty() {
            wrong.push(format!("made and not listed: {lost:?}"));
        }
        let back: Vec<_> = tally.destroyed.intersection(&listed).collect();
        if !back.is_empty() {
            wrong.push(format!("destroyed and listed: {back:?}"));
        }
        wrong
    });

    // And was told as an event, once.
    let wrong = told(instance, &tally);
    assert!(wrong.is_empty(), "{name}: {wrong:?}");

    // Every resident answers by the same id, with its file and its processes.
    let wrong = thread::scope(|scope| {
        let quarters = residents.chunks_mut(RESIDENTS.div_ceil(4)).map(|some| {
            let look = |resident: &mut Resident| resident.check(instance, PATIENCE);
            scope.spawn(move || some.iter_mut().flat_map(look).collect::<Vec<_>>())
        });
        let quarters: Vec<_> = quarters.collect();
        let found = quarters.into_iter().map(thread::ScopedJoinHandle::join);
        found
            .flat_map(|wrong| wrong.expect("a look does not panic"))
            .collect::<Vec<_>>()
    });
    assert!(
        wrong.is_empty(),
        "{name}: {wrong:?}\n{}",
        instance.log_text()
    );

    // No crash moved a deadline.
    let wrong = on_time(instance, mortals);
    assert!(
        wrong.is_empty(),
        "{name}: {wrong:?}\n{}",
        instance.log_text()
    );

    // Those the clients lost sight of are whole too, or not there: the API can end each.
    let mut others = listed(instance);
    others.retain(|id| !ids.contains(id) && mortals.iter().all(|mortal| mortal.id != *id));
    account.unknown += others
        .iter()
        .filter(|id| !tally.kept.contains(*id) && !tally.doubtful.contains(*id))
        .count();
    for id in &others {
        let gone = instance.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
        assert!(
            [204, 404].contains(&gone.status),
            "{name}: {id}: {} {}",
            gone.status,
            gone.text()
        );
    }

    // And the kernel holds what is listed, nothing less and nothing more.
    settle(
        instance,
        &format!("{name}: the kernel fits the list"),
        || {
            let (kernel, listed) = (Kernel::look(instance), listed(instance));
            let mut wrong = kernel.against(&listed, start);
            let closed = (0..RESIDENTS).filter(|n| Resident::is_closed(*n)).count();
            if kernel.open.len() != listed.len() || kernel.denied.len() != closed {
                let (open, denied) = (&kernel.open, &kernel.denied);
                wrong.push(format!(
                    "no air gap: {open:?}, everything denied: {denied:?}"
                ));
            }
            wrong
        },
    );
}

/// What is wrong with the event log: each create and destroy that was answered is in it once.
fn told(instance: &Instance, tally: &Tally) -> Vec<String> {
    let mut seen: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let all = instance.admin("GET", "/admin/events", &Value::Null).text();
    for line in all.lines() {
        let event: Value = serde_json::from_str(line).expect("an event is JSON");
        let id = event["sandboxId"].as_str().unwrap_or_default().to_owned();
        let (created, killed) = seen.entry(id).or_default();
        *created += usize::from(event["type"] == "sandbox.lifecycle.created");
        *killed += usize::from(event["type"] == "sandbox.lifecycle.killed");
    }
    let kept = tally.kept.iter().map(|id| (id, (1, 0)));
    let destroyed = tally.destroyed.iter().map(|id| (id, (1, 1)));
    kept.chain(destroyed)
        .filter(|(id, wanted)| seen.get(*id) != Some(wanted))
        .map(|(id, wanted)| {
            format!(
                "{id}: created and killed {wanted:?}, told {:?}",
                seen.get(id)
            )
        })
        .collect()
}

impl Mortal {
    fn make(instance: &Instance) -> Self {
        let life = Duration::from_secs(MORTAL);
        let asked = Instant::now();
        let made = instance.create(&json!({ "timeout": MORTAL, "metadata": { "kind": "mortal" } }));
        Self {
            id: made["sandboxID"].as_str().unwrap_or_default().to_owned(),
            due: (asked + life, Instant::now() + life),
        }
    }
}

/// What is wrong with the deadlines of `mortals`; those that were kept leave the list.
fn on_time(instance: &Instance, mortals: &mut Vec<Mortal>) -> Vec<String> {
    let before = Instant::now();
    let listed = listed(instance);
    let after = Instant::now();
    let mut wrong = Vec::new();
    mortals.retain(|mortal| match listed.contains(&mortal.id) {
        true if before > mortal.due.1 + EXACTLY => {
            let late = before - mortal.due.1;
            wrong.push(format!("{} is listed {late:?} after its end", mortal.id));
            true
        }
        false if after < mortal.due.0 => {
            let early = mortal.due.0 - after;
            wrong.push(format!("{} ended {early:?} before its time", mortal.id));
            true
        }
        listed => listed,
    });
    wrong
}

fn summary(accounts: &BTreeMap<&str, Account>, seed: u64) -> String {
    let mut text = format!(
        "crash: {RESIDENTS} sandboxes with background processes lived through every kill -9; {CLIENTS} clients created and\n\
         destroyed others meanwhile, and {SLEEPERS} more were paused and woken all the time. After each round the same ids\n\
         answered, files and processes were there, sandboxes of {MORTAL} s ended by their deadline, and processes,\n\
         mounts, control groups, interfaces and files were those of the sandboxes listed. CRASH_SEED={seed}\n\n\
         {:<12} {:>6} {:>6} {:>10} {:>9} {:>9} {:>11} {:>8} {:>14}\n",
        "killed",
        "rounds",
        "twice*",
        "answered",
        "refused",
        "broken",
        "unanswered+",
        "pauses",
        "back within"
    );
    for (victim, account) in accounts {
        let _ = writeln!(
            text,
            "{victim:<12} {:>6} {:>6} {:>10} {:>9} {:>9} {:>11} {:>8} {:>11.0} ms",
            account.rounds,
            account.twice,
            account.answered,
            account.refused,
            account.broken,
            account.unknown,
            account.paused,
            account.slowest.as_secs_f64() * 1000.0
        );
    }
    text.push_str("* another daemon was killed while this one came back\n");
    text.push_str("+ made, though the connection broke before the client was told: listed, and ended by its id\n");
    text
}

/// To standard error itself, so that a passing run explains itself too.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
