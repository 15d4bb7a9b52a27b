//! Limits of a cell as rules of rctl(8), and what its racct says that it uses.

use std::collections::BTreeSet;

use warder_wire::gateway_priv::Usage;
use warder_wire::{InstanceTag, LimitState, Limits, LimitsInForce, SandboxId};

use crate::jail;

/// System V objects, terminals and open files that one cell may have: the kernel has few for the whole host
/// (sysctl kern.ipc, kern.maxfiles), and no limit of a user keeps cells apart, whose users have the same numbers.
const SHARES: [(&str, u64); 5] = [
    ("openfiles", 65_536),
    ("pseudoterminals", 256),
    ("nshm", 32),
    ("nsem", 32),
    ("nmsgq", 8),
];

/// How much of a cell's memory its `/tmp` may take, in bytes; its processes have the rest. racct does not count what
/// lies in a tmpfs, so that what either may have at most has to be settled before.
#[must_use]
pub(crate) fn for_files(limits: &Limits) -> u64 {
    (u64::from(limits.memory_mib) << 20) / 4
}

/// The rules of a cell. They are bound to its jail's name, so they can be made before the jail is.
#[must_use]
pub fn rules(jail: &str, limits: &Limits) -> Vec<String> {
    let memory = (u64::from(limits.memory_mib) << 20) - for_files(limits);
    let most = [
        // Anonymous memory is denied at once when it is asked for; what is resident beyond the limit, of files
        // too, is paged out.
        ("swapuse", memory),
        ("memoryuse", memory),
        ("shmsize", memory),
        ("maxproc", u64::from(limits.pids)),
        ("nthr", u64::from(limits.pids)),
        ("pcpu", u64::from(limits.cpu_percent)),
    ];
    let rule = |(resource, amount): &(&str, u64)| format!("jail:{jail}:{resource}:deny={amount}");
    most.iter().chain(&SHARES).map(rule).collect()
}

/// What rctl_remove_rule(2) and rctl_get_racct(2) call a cell.
#[must_use]
pub fn subject(jail: &str) -> String {
    format!("jail:{jail}")
}

/// Jails of this instance's cells that rules are there for, in what rctl_get_rules(2) answers.
#[must_use]
pub fn jails_with_rules(tag: InstanceTag, rules: &str) -> BTreeSet<(u32, SandboxId)> {
    let jail = |rule: &str| jail::parse(tag, rule.trim().strip_prefix("jail:")?.split(':').next()?);
    rules.split(',').filter_map(jail).collect()
}

/// Which limits a new cell gets.
#[must_use]
pub fn in_force(racct: bool, quota: bool) -> LimitsInForce {
    let state = |there| match there {
        true => LimitState::Enforced,
        false => LimitState::Absent,
    };
    LimitsInForce {
        memory: state(racct),
        // Without racct a cell is kept on as many processors as its limit is worth (cpuset(2)).
        cpu: match racct {
            true => LimitState::Enforced,
            false => LimitState::StandIn,
        },
        pids: state(racct),
        disk: state(quota),
    }
}

/// Which limits a new machine gets. It has no more memory and no larger disk than its limits; its processes are its own
/// kernel's.
#[must_use]
pub fn of_machine(racct: bool) -> LimitsInForce {
    LimitsInForce {
        memory: LimitState::Enforced,
        cpu: in_force(racct, true).cpu,
        pids: LimitState::Absent,
        disk: LimitState::Enforced,
    }
}

/// The processors of a cell on a host without racct: as many as its limit is worth, rounded up, and other ones
/// for each slot. `None`: all of the host's.
#[must_use]
pub fn processors(cpu_percent: u32, slot: u32, there: u32) -> Option<Vec<u32>> {
    let wanted = cpu_percent.div_ceil(100).max(1);
    let first = (u64::from(slot) * u64::from(wanted)) % u64::from(there.max(1));
    (wanted < there).then(|| {
        (0..wanted)
            .map(|n| {
                let number = (first + u64::from(n)) % u64::from(there);
                u32::try_from(number).unwrap_or(0)
            })
            .collect()
    })
}

/// What the processes of a cell add up to, for what racct does not say or says in coarse units.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Processor time of those that live, in microseconds.
    pub cpu_us: u64,
    /// Resident memory in bytes; pages that they share are counted more than once.
    pub memory: u64,
    /// How many they are, threads of theirs included.
    pub threads: u64,
}

/// What a cell uses, from what rctl_get_racct(2) answered, if it did, and from its processes.
#[must_use]
pub fn usage(racct: Option<&str>, counted: Counted) -> Usage {
    let of = |name: &str| -> Option<u64> {
        let pairs = racct?.split(',');
        let value = pairs.filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = value.into_iter().find(|(n, _)| *n == name)?;
        value.parse().ok()
    };
    // racct counts whole seconds, but those of processes that have ended too.
    let seconds = of("cputime").unwrap_or(0).saturating_mul(1_000_000);
    Usage {
        cpu_us: Some(seconds.max(counted.cpu_us)),
        memory: Some(of("memoryuse").unwrap_or(counted.memory)),
        memory_cache: None,
        // Known to the store.
        disk: None,
        pids: Some(of("nthr").unwrap_or(counted.threads)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_mib: 512,
        cpu_percent: 150,
        pids: 256,
        disk_mib: 1024,
    };

    #[test]
    fn every_limit_is_a_rule_of_the_jail() {
        let rules = rules("w01234567-3.iabcdefghij0123456789", &LIMITS);
        for wanted in [
            "jail:w01234567-3.iabcdefghij0123456789:swapuse:deny=402653184",
            "jail:w01234567-3.iabcdefghij0123456789:memoryuse:deny=402653184",
            "jail:w01234567-3.iabcdefghij0123456789:maxproc:deny=256",
            "jail:w01234567-3.iabcdefghij0123456789:nthr:deny=256",
            "jail:w01234567-3.iabcdefghij0123456789:pcpu:deny=150",
            "jail:w01234567-3.iabcdefghij0123456789:openfiles:deny=65536",
        ] {
            assert!(rules.iter().any(|rule| rule == wanted), "{wanted}");
        }
        assert!(rules.iter().all(|rule| rule.matches(':').count() == 3));
    }

    #[test]
    fn rules_of_others_are_left_alone() {
        let tag = InstanceTag::of_state_dir(b"/a");
        let sandbox = SandboxId::new("iabcdefghij0123456789").expect("an id");
        let own = jail::name(tag, 5, &sandbox);
        let text = format!(
            "user:1001:maxproc:deny=100,jail:www:memoryuse:deny=1073741824,jail:{own}:swapuse:deny=1,\
             jail:{own}:nthr:deny=16,loginclass:daemon:vmemoryuse:log=5"
        );
        let found = jails_with_rules(tag, &text);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(5, sandbox)]);
        assert!(jails_with_rules(InstanceTag::of_state_dir(b"/b"), &text).is_empty());
        assert!(jails_with_rules(tag, "").is_empty());
    }

    #[test]
    fn what_freebsd_answers_is_read() {
        // rctl(8) of FreeBSD 15.1 prints the rules of two cells so, a line for what rctl_get_rules(2) puts a comma behind.
        let rules = "jail:we40c292c-3.iw7imegnaxe39z7bbftjc:nthr:deny=1024
jail:we40c292c-3.iw7imegnaxe39z7bbftjc:maxproc:deny=1024
jail:we40c292c-3.iw7imegnaxe39z7bbftjc:swapuse:deny=805306368
jail:we40c292c-2.i8jo0vwo8o5dxqg8vixha:nmsgq:deny=8
";
        let rules = rules.trim_end().replace('\n', ",");
        let found = jails_with_rules(InstanceTag::of_state_dir(b"a"), &rules);
        let id = |text| SandboxId::new(text).expect("an id");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [
                (2, id("i8jo0vwo8o5dxqg8vixha")),
                (3, id("iw7imegnaxe39z7bbftjc"))
            ]
        );
        // And what one of them uses, asked with `-u jail:NAME`:
        let used = "cputime=0
datasize=8192
stacksize=0
coredumpsize=0
memoryuse=5906432
memorylocked=0
maxproc=1
openfiles=40
vmemoryuse=48001024
pseudoterminals=0
swapuse=67899392
nthr=8
wallclock=2
pcpu=0
writeiops=0
";
        let counted = Counted {
            cpu_us: 310_000,
            memory: 1,
            threads: 1,
        };
        let used = usage(Some(&used.trim_end().replace('\n', ",")), counted);
        assert_eq!(used.cpu_us, Some(310_000));
        assert_eq!((used.memory, used.pids), (Some(5_906_432), Some(8)));
    }

    #[test]
    fn a_host_without_racct_says_so() {
        let without = in_force(false, true);
        assert_eq!(without.memory, LimitState::Absent);
        assert_eq!(without.pids, LimitState::Absent);
        assert_eq!(without.cpu, LimitState::StandIn);
        assert_eq!(in_force(true, false).disk, LimitState::Absent);
        assert_eq!(in_force(true, true).memory, LimitState::Enforced);
    }

    #[test]
    fn processors_go_round() {
        assert_eq!(processors(100, 0, 4), Some(vec![0]));
        assert_eq!(processors(150, 1, 4), Some(vec![2, 3]));
        assert_eq!(processors(250, 1, 4), Some(vec![3, 0, 1]));
        assert_eq!(processors(10, u32::MAX, 2), Some(vec![1]));
        assert_eq!(processors(400, 0, 4), None);
        assert_eq!(processors(100, 0, 1), None);
        assert_eq!(processors(100, 0, 0), None);
    }

    #[test]
    fn usage_is_what_is_known() {
        let counted = Counted {
            cpu_us: 1_500_000,
            memory: 10,
            threads: 2,
        };
        let racct = "cputime=1,datasize=40960,memoryuse=4096,maxproc=2,nthr=3,wallclock=10,pcpu=0,swapuse=8192";
        let now = usage(Some(racct), counted);
        assert_eq!(now.cpu_us, Some(1_500_000));
        assert_eq!((now.memory, now.pids), (Some(4096), Some(3)));
        let later = usage(Some("cputime=9,memoryuse=x"), counted);
        assert_eq!((later.cpu_us, later.memory), (Some(9_000_000), Some(10)));
        let without = usage(None, counted);
        assert_eq!((without.memory, without.pids), (Some(10), Some(2)));
    }
}
