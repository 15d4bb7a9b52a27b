//! Whether the host's packet filter still judges what sandboxes send, and what follows when it does not. Pure.
//!
//! Rules hold as long as the kernel asks them. What netd cannot enforce it does not let pass: when a look finds the filter
//! other than it was left, every sandbox's port goes down, which holds without any rule. It comes up again when a look
//! finds the filter whole, every rule was loaded anew since, every flow has ended that may have begun while nothing judged
//! it, and one more look still finds it whole.
//!
//! A look that fails says nothing of the filter: it is asked again, and only [`FAILS`] such looks in a row count as a
//! filter that does not judge.

use std::time::{Duration, Instant};

use warder_wire::{Fault, FaultCode};

/// Between looks.
const EVERY: Duration = Duration::from_secs(1);
/// Between looks at what no cheap look shows.
const CLOSELY: Duration = Duration::from_secs(15);
/// Looks in a row that fail, until nothing is believed any more.
const FAILS: u32 = 3;

/// Whether a look that ends so has seen something. By the code: what is missing on the host is `Unsupported`, what was for
/// a moment and is good again, but for the rules that have to be loaded anew, `Unavailable`. Others could not look.
#[must_use]
pub fn is_evidence(fault: &Fault) -> bool {
    matches!(fault.code, FaultCode::Unsupported | FaultCode::Unavailable)
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// Nothing.
    Nothing,
    /// Take all ports down.
    Shut,
    /// Load all rules anew, end all flows, then say how that went by [`Watch::mended`] with this number.
    Mend(u64),
    /// Take the ports up.
    Open,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Shut,
    Mending(u64),
}

/// What is known of it.
#[derive(Debug)]
pub struct Watch {
    state: State,
    why: Option<Fault>,
    rounds: u64,
    /// Looks in a row that failed, and close ones.
    failed: u32,
    failed_closely: u32,
    look_at: Instant,
    close_at: Instant,
}

impl Watch {
    /// Of a filter that was just found whole, or is not: `why`.
    #[must_use]
    pub fn new(why: Option<Fault>) -> Self {
        let state = match why {
            None => State::Open,
            Some(_) => State::Shut,
        };
        let now = Instant::now();
        Self {
            state,
            why,
            rounds: 0,
            failed: 0,
            failed_closely: 0,
            look_at: now + EVERY,
            close_at: now + CLOSELY,
        }
    }

    /// Why all ports are down, if they are.
    #[must_use]
    pub fn shut(&self) -> Option<&Fault> {
        self.why.as_ref()
    }

    /// Whether the mending of that number is the one that goes on.
    #[must_use]
    pub fn is_mending(&self, round: u64) -> bool {
        self.state == State::Mending(round)
    }

    /// Whether nothing is loaded before all is loaded anew.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Shut
    }

    /// What is being mended cannot be as it should: the next look begins anew.
    pub fn spoiled(&mut self, why: Fault) {
        if let State::Mending(_) = self.state {
            (self.state, self.why) = (State::Shut, Some(why));
        }
    }

    /// Whether a look is due; the next one is later.
    pub fn due(&mut self, now: Instant) -> bool {
        due(&mut self.look_at, now, EVERY)
    }

    /// Whether a closer look is due.
    pub fn due_closely(&mut self, now: Instant) -> bool {
        due(&mut self.close_at, now, CLOSELY)
    }

    /// When the next look is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.look_at.min(self.close_at)
    }

    /// What a look has shown.
    pub fn looked(&mut self, look: Result<(), Fault>) -> Deed {
        let judges = |why: &Fault| why.code == FaultCode::Unavailable;
        match look {
            // Behind what was, all is loaded anew once it judges again.
            Err(why) if self.state != State::Shut || !judges(&why) => {
                if believed(&mut self.failed, &why) {
                    return self.close(why);
                }
                return Deed::Nothing;
            }
            whole => self.why = whole.err().or(self.why.take()),
        }
        self.failed = 0;
        if self.state != State::Shut {
            return Deed::Nothing;
        }
        self.rounds += 1;
        self.state = State::Mending(self.rounds);
        Deed::Mend(self.rounds)
    }

    /// What a closer look has shown, begun a while ago. That it failed proves nothing while the others succeed, unless it
    /// goes on.
    pub fn inspected(&mut self, now: Instant, look: Result<(), Fault>) -> Deed {
        match look {
            Ok(()) => self.failed_closely = 0,
            Err(why) if believed(&mut self.failed_closely, &why) => return self.close(why),
            Err(_) => self.close_at = now + EVERY,
        }
        Deed::Nothing
    }

    /// What was begun was begun with another filter than the one to come.
    fn close(&mut self, why: Fault) -> Deed {
        let open = self.state == State::Open;
        (self.state, self.why) = (State::Shut, Some(why));
        if open { Deed::Shut } else { Deed::Nothing }
    }

    /// How the mending of that number went, and what one more look has shown.
    pub fn mended(&mut self, round: u64, result: Result<(), Fault>) -> Deed {
        match result {
            _ if !self.is_mending(round) => Deed::Nothing,
            Err(why) => self.close(why),
            Ok(()) => {
                (self.state, self.why) = (State::Open, None);
                (self.failed, self.failed_closely) = (0, 0);
                Deed::Open
            }
        }
    }
}

/// Whether it is to be believed that nothing judges, after so many looks that failed.
fn believed(failed: &mut u32, why: &Fault) -> bool {
    *failed = if is_evidence(why) { FAILS } else { *failed + 1 };
    *failed >= FAILS
}

fn due(at: &mut Instant, now: Instant, every: Duration) -> bool {
    let due = *at <= now;
    if due {
        *at = now + every;
    }
    due
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(code: FaultCode) -> Fault {
        Fault::new(code, "as it was found")
    }

    type Look = Result<(), Fault>;

    fn off() -> Look {
        Err(fault(FaultCode::Unsupported))
    }

    fn hooks() -> Look {
        Err(Fault::new(FaultCode::Unsupported, "/etc/pf.conf lacks"))
    }

    fn touched() -> Look {
        Err(fault(FaultCode::Unavailable))
    }

    fn failed() -> Look {
        Err(fault(FaultCode::System))
    }

    #[test]
    fn only_what_was_seen_is_evidence() {
        use FaultCode::{Exhausted, System, TimedOut, Unavailable, Unsupported};
        for (code, seen) in [
            (Unsupported, true),
            (Unavailable, true),
            (TimedOut, false),
            (System, false),
            (Exhausted, false),
        ] {
            assert_eq!(is_evidence(&fault(code)), seen, "{code:?}");
            let deed = Watch::new(None).looked(Err(fault(code)));
            assert_eq!(deed == Deed::Shut, seen, "{code:?}");
        }
    }

    #[test]
    fn what_a_look_shows_decides() {
        use Deed::{Mend, Nothing, Open, Shut};
        let mut watch = Watch::new(None);
        for (look, deed, reason) in [
            (Ok(()), Nothing, Ok(())),
            (off(), Shut, off()),
            // Shut already, for another reason by now.
            (hooks(), Nothing, hooks()),
            (Ok(()), Mend(1), hooks()),
            // Nothing is open while it is mended.
            (Ok(()), Nothing, hooks()),
            (off(), Nothing, off()),
            // What is good again is to be loaded anew, which only mending does.
            (touched(), Mend(2), touched()),
            // Somebody was at it again.
            (touched(), Nothing, touched()),
            (Ok(()), Mend(3), touched()),
        ] {
            assert_eq!(watch.looked(look.clone()), deed, "{look:?}");
            assert_eq!(watch.shut(), reason.as_ref().err(), "{look:?}");
        }
        assert_eq!(watch.mended(2, Ok(())), Nothing, "of before");
        assert!(watch.is_mending(3) && !watch.is_mending(2));
        assert_eq!(watch.mended(3, off()), Nothing, "not whole, or not mended");
        assert_eq!(watch.looked(Ok(())), Mend(4));
        assert_eq!(watch.mended(4, failed()), Nothing, "nobody knows");
        assert_eq!(watch.looked(Ok(())), Mend(5));
        assert_eq!((watch.mended(5, Ok(())), watch.shut()), (Open, None));
        assert_eq!(watch.mended(5, Ok(())), Nothing);
        assert_eq!(watch.looked(touched()), Shut);
    }

    #[test]
    fn a_look_that_fails_proves_nothing_and_three_do() {
        use Deed::{Mend, Nothing, Shut};
        let mut watch = Watch::new(None);
        for (look, deed) in [
            (failed(), Nothing),
            (failed(), Nothing),
            (Ok(()), Nothing),
            (failed(), Nothing),
            (failed(), Nothing),
            (failed(), Shut),
            (failed(), Nothing),
            (Ok(()), Mend(1)),
            (failed(), Nothing),
            (failed(), Nothing),
        ] {
            assert_eq!(watch.looked(look.clone()), deed, "{look:?}");
        }
        assert!(watch.is_mending(1), "it goes on");
        watch.looked(failed());
        assert!(!watch.is_mending(1) && watch.shut().is_some());
        let mut watch = Watch::new(None);
        for (look, deed) in [(failed(), Nothing), (failed(), Nothing), (off(), Shut)] {
            assert_eq!(watch.looked(look), deed);
        }
    }

    #[test]
    fn a_closer_look_that_fails_is_repeated() {
        use Deed::{Nothing, Shut};
        let mut watch = Watch::new(None);
        let now = Instant::now();
        assert_eq!(watch.inspected(now, Ok(())), Nothing);
        assert!(!watch.due_closely(now + EVERY));
        for (look, deed) in [
            (failed(), Nothing),
            (failed(), Nothing),
            (Ok(()), Nothing),
            (failed(), Nothing),
            (failed(), Nothing),
        ] {
            let again = look == failed();
            assert_eq!(watch.inspected(now, look), deed);
            assert_eq!(watch.looked(Ok(())), Nothing);
            assert_eq!(watch.due_closely(now + EVERY), again);
        }
        assert_eq!(watch.inspected(now, failed()), Shut, "it goes on");
        let mut watch = Watch::new(None);
        assert_eq!(watch.inspected(now, off()), Shut);
        assert_eq!(watch.inspected(now, off()), Nothing);
        assert_eq!(watch.inspected(now, Ok(())), Nothing);
        assert!(watch.shut().is_some(), "begun before");
    }

    #[test]
    fn who_starts_without_a_whole_filter_starts_shut() {
        let mut watch = Watch::new(off().err());
        assert!(watch.shut().is_some());
        assert_eq!(watch.looked(off()), Deed::Nothing);
        assert_eq!(watch.looked(Ok(())), Deed::Mend(1));
    }

    #[test]
    fn looks_are_due_by_the_clock() {
        let mut watch = Watch::new(None);
        let then = watch.next();
        assert!(!watch.due(then - Duration::from_millis(1)));
        assert!(watch.due(then) && !watch.due(then));
        assert_eq!(watch.next(), then + EVERY);
        assert!(watch.due_closely(then + CLOSELY));
    }

    /// A host whose administrator does what he likes, and netd's ports, rules and flows on it.
    #[derive(Debug)]
    struct Host {
        /// Whether packets are judged by the rules that are loaded.
        whole: bool,
        /// Whether it was not for a moment since a look that found it whole.
        holed: bool,
        /// Whether the instance's rules are those of the book.
        rules: bool,
        /// Whether there may be flows that nothing judged.
        strays: bool,
        ports_up: bool,
        /// What a look has seen since all rules were loaded anew: as netd's filter keeps it.
        stale: bool,
        /// Rules that are still to be loaded, and for which mending.
        left: Option<(u64, u8)>,
        /// Whether somebody was at those that are loaded.
        flushed: bool,
        /// What the worker has been ordered, one after the other, and how many of the first it has done.
        jobs: Vec<u64>,
        done: usize,
        /// Looks in a row that failed.
        blind: u32,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// `pfctl -d`, or rules without the hooks.
        Break,
        /// `pfctl -F all` and the like.
        Flush,
        /// `pfctl -e`, `pfctl -f /etc/pf.conf`.
        Heal,
        /// The flag says whether it can be looked at.
        Look(bool),
        /// A closer look.
        Inspect(bool),
        /// Some more rules are loaded; the flag says whether that went well.
        Load(bool),
        /// A policy is changed while nothing is open; the flag says whether its rules could be loaded, if that is wanted.
        Change(bool),
        /// The worker ends all flows; it is told to netd later.
        End,
        /// That is told; the flag says whether it could be.
        Told(bool),
    }

    impl Host {
        fn look(&mut self, seen: bool) -> Look {
            if !seen {
                self.blind += 1;
                return failed();
            }
            self.blind = 0;
            if !self.whole {
                return off();
            }
            self.stale |= self.holed || self.flushed;
            self.holed = false;
            if self.stale { touched() } else { Ok(()) }
        }

        fn follow(&mut self, deed: Deed) {
            match deed {
                Deed::Nothing => {}
                Deed::Shut => self.ports_up = false,
                Deed::Mend(round) => {
                    (self.rules, self.stale, self.flushed) = (false, false, false);
                    self.left = Some((round, 2));
                }
                Deed::Open => self.ports_up = true,
            }
        }

        /// What netd does in each turn of its loop.
        fn load(&mut self, watch: &mut Watch, well: bool) {
            let Some((round, left)) = self.left.take() else {
                return;
            };
            if !watch.is_mending(round) {
                return;
            }
            match (well, left) {
                (false, _) => {
                    let deed = watch.mended(round, failed());
                    self.follow(deed);
                }
                (true, 0) => {
                    self.rules = !self.flushed;
                    self.jobs.push(round);
                }
                (true, _) => self.left = Some((round, left - 1)),
            }
        }

        fn change(&mut self, watch: &mut Watch, well: bool) {
            if watch.shut().is_none() {
                return;
            }
            // Of what is loaded already these are not.
            if !well && !watch.is_idle() {
                (self.left, self.rules) = (None, false);
                watch.spoiled(fault(FaultCode::System));
            }
        }

        fn end(&mut self) {
            if self.done < self.jobs.len() {
                self.done += 1;
                self.strays = !(self.whole && self.rules);
            }
        }

        /// What netd does when the first job is done.
        fn told(&mut self, watch: &mut Watch, ended: bool) {
            if self.done == 0 {
                return;
            }
            self.done -= 1;
            let round = self.jobs.remove(0);
            if watch.is_mending(round) {
                let look = if ended { self.look(true) } else { failed() };
                let deed = watch.mended(round, look);
                self.follow(deed);
            }
        }

        fn holds(&self) -> bool {
            self.whole && self.rules && !self.strays
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Break),
            Just(Step::Flush),
            Just(Step::Heal),
            Just(Step::Look(true)),
            Just(Step::Look(true)),
            any::<bool>().prop_map(Step::Look),
            any::<bool>().prop_map(Step::Inspect),
            Just(Step::Load(true)),
            Just(Step::Load(true)),
            any::<bool>().prop_map(Step::Load),
            any::<bool>().prop_map(Step::Change),
            Just(Step::End),
            Just(Step::Told(true)),
            any::<bool>().prop_map(Step::Told),
        ]
    }

    proptest! {
        /// Whatever is done and whenever it is looked at, with several rounds of mending on the way: behind a look no port
        /// is up unless the filter is whole, with the rules of the book, and with no flow that may have begun while it was
        /// not, or the look failed and so did not more than one before.
        #[test]
        fn nothing_is_open_while_it_is_not_whole(steps in proptest::collection::vec(step(), 0..120)) {
            let mut watch = Watch::new(None);
            let mut host = Host {
                whole: true, holed: false, rules: true, strays: false, ports_up: true, stale: false,
                left: None, flushed: false, jobs: Vec::new(), done: 0, blind: 0,
            };
            for step in steps {
                let was_up = host.ports_up;
                match step {
                    Step::Break => (host.whole, host.holed, host.strays) = (false, true, true),
                    Step::Flush => (host.rules, host.flushed, host.strays) = (false, true, true),
                    Step::Heal => host.whole = true,
                    Step::Look(seen) => {
                        let look = host.look(seen);
                        let deed = watch.looked(look);
                        host.follow(deed);
                        let blind = (1..FAILS).contains(&host.blind);
                        prop_assert!(!host.ports_up || blind || host.blind == 0 && host.holds(), "{:?}", host);
                        prop_assert!(!seen || !was_up || host.ports_up || !host.holds(), "for no reason: {:?}", host);
                    }
                    Step::Inspect(seen) => {
                        let look = match (seen, host.whole) {
                            (false, _) => failed(),
                            (true, true) => Ok(()),
                            (true, false) => off(),
                        };
                        let deed = watch.inspected(Instant::now(), look);
                        host.follow(deed);
                        prop_assert!(!seen || !host.ports_up || host.whole, "{:?}", host);
                    }
                    Step::Load(well) => host.load(&mut watch, well),
                    Step::Change(well) => host.change(&mut watch, well),
                    Step::End => host.end(),
                    Step::Told(ended) => {
                        host.told(&mut watch, ended);
                        prop_assert!(was_up || !host.ports_up || host.holds(), "{:?}", host);
                    }
                }
                prop_assert_eq!(host.ports_up, watch.shut().is_none());
            }
            // And it does not stay shut for ever.
            host.whole = true;
            for _ in 0..4 {
                let look = host.look(true);
                let deed = watch.looked(look);
                host.follow(deed);
                while host.left.is_some() {
                    host.load(&mut watch, true);
                }
                while !host.jobs.is_empty() {
                    host.end();
                    host.told(&mut watch, true);
                }
            }
            prop_assert!(host.ports_up && host.holds() && watch.shut().is_none());
        }
    }
}
