//! Whether the host's packet filter still judges what sandboxes send, and what follows when it does not. Pure.
//!
//! Rules hold as long as the kernel asks them. What netd cannot enforce it does not let pass: when a look finds the filter
//! other than it was left, every sandbox's port goes down, which holds without any rule. It comes up again when a look
//! finds the filter whole, every rule was loaded anew since, every flow has ended that may have begun while nothing judged
//! it, and one more look still finds it whole.

use std::time::{Duration, Instant};

use warder_wire::Fault;

/// Between looks.
const EVERY: Duration = Duration::from_secs(1);
/// Between looks at what no cheap look shows.
const CLOSELY: Duration = Duration::from_secs(15);

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
            look_at: now + EVERY,
            close_at: now + CLOSELY,
        }
    }

    /// Why all ports are down, if they are.
    #[must_use]
    pub fn shut(&self) -> Option<&Fault> {
        self.why.as_ref()
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
        match (self.state, look) {
            (State::Open, Err(why)) => {
                (self.state, self.why) = (State::Shut, Some(why));
                Deed::Shut
            }
            (_, Err(why)) => {
                // What was begun was begun with another filter than the one to come.
                (self.state, self.why) = (State::Shut, Some(why));
                Deed::Nothing
            }
            (State::Shut, Ok(())) => {
                self.rounds += 1;
                self.state = State::Mending(self.rounds);
                Deed::Mend(self.rounds)
            }
            (State::Open | State::Mending(_), Ok(())) => Deed::Nothing,
        }
    }

    /// How the mending of that number went, and what one more look has shown.
    pub fn mended(&mut self, round: u64, result: Result<(), Fault>) -> Deed {
        if self.state != State::Mending(round) {
            return Deed::Nothing;
        }
        match result {
            Ok(()) => {
                (self.state, self.why) = (State::Open, None);
                Deed::Open
            }
            Err(why) => {
                (self.state, self.why) = (State::Shut, Some(why));
                Deed::Nothing
            }
        }
    }
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
    use warder_wire::FaultCode;

    use super::*;

    fn off() -> Result<(), Fault> {
        Err(Fault::new(FaultCode::Unsupported, "pf is not enabled"))
    }

    fn hooks() -> Result<(), Fault> {
        Err(Fault::new(FaultCode::Unsupported, "/etc/pf.conf lacks"))
    }

    #[test]
    fn what_a_look_shows_decides() {
        let mut watch = Watch::new(None);
        assert_eq!(watch.looked(Ok(())), Deed::Nothing);
        assert_eq!(
            (watch.looked(off()), watch.shut()),
            (Deed::Shut, off().as_ref().err())
        );
        assert_eq!(watch.looked(hooks()), Deed::Nothing, "shut already");
        assert_eq!(
            watch.shut(),
            hooks().as_ref().err(),
            "for another reason by now"
        );
        assert_eq!(watch.looked(Ok(())), Deed::Mend(1));
        assert!(watch.shut().is_some(), "nothing is open while it is mended");
        assert_eq!(watch.looked(Ok(())), Deed::Nothing);
        assert_eq!(
            watch.mended(1, off()),
            Deed::Nothing,
            "not whole, or not mended"
        );
        assert_eq!(watch.looked(Ok(())), Deed::Mend(2));
        assert_eq!(watch.mended(1, Ok(())), Deed::Nothing, "of before");
        assert_eq!(watch.looked(off()), Deed::Nothing);
        assert_eq!(
            watch.mended(2, Ok(())),
            Deed::Nothing,
            "mended before it broke again"
        );
        assert_eq!(watch.looked(Ok(())), Deed::Mend(3));
        assert_eq!((watch.mended(3, Ok(())), watch.shut()), (Deed::Open, None));
        assert_eq!(watch.mended(3, Ok(())), Deed::Nothing);
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
        /// Whether it was not for a moment since the last look.
        holed: bool,
        /// Whether the instance's rules are those of the book.
        loaded: bool,
        /// Whether there may be flows that nothing judged.
        strays: bool,
        ports_up: bool,
        mending: Option<u64>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// `pfctl -d`, or rules without the hooks.
        Break,
        /// `pfctl -F all` and the like.
        Flush,
        /// `pfctl -e`, `pfctl -f /etc/pf.conf`.
        Heal,
        Look,
        /// The mending that was ordered is done; the flag says whether it could be.
        Mended(bool),
    }

    impl Host {
        fn look(&mut self) -> Result<(), Fault> {
            let whole = self.whole && self.loaded && !self.holed;
            // What was changed and is good again is told once; rules that are not the book's are loaded in the mending.
            (self.holed, self.loaded) = (false, self.loaded || self.whole);
            if whole { Ok(()) } else { off() }
        }

        fn follow(&mut self, deed: Deed) {
            match deed {
                Deed::Nothing => {}
                Deed::Shut => self.ports_up = false,
                Deed::Mend(round) => self.mending = Some(round),
                Deed::Open => self.ports_up = true,
            }
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Break),
            Just(Step::Flush),
            Just(Step::Heal),
            Just(Step::Look),
            Just(Step::Look),
            any::<bool>().prop_map(Step::Mended),
        ]
    }

    proptest! {
        /// Whatever is done and whenever it is looked at: behind a look no port is up unless the filter is whole, with the
        /// rules of the book, and with no flow that may have begun while it was not.
        #[test]
        fn nothing_is_open_while_it_is_not_whole(steps in proptest::collection::vec(step(), 0..80)) {
            let mut watch = Watch::new(None);
            let mut host = Host {
                whole: true, holed: false, loaded: true, strays: false, ports_up: true, mending: None,
            };
            // Whether the rules were made those of the book since somebody flushed them.
            let mut rules = true;
            for step in steps {
                match step {
                    Step::Break => (host.whole, host.holed, host.strays) = (false, true, true),
                    Step::Flush => (host.loaded, host.strays, rules) = (false, true, false),
                    Step::Heal => host.whole = true,
                    Step::Look => {
                        let look = host.look();
                        let deed = watch.looked(look);
                        host.follow(deed);
                        prop_assert!(!host.ports_up || host.whole && rules && !host.strays, "{:?}", host);
                        prop_assert_eq!(host.ports_up, watch.shut().is_none());
                    }
                    Step::Mended(done) => {
                        let Some(round) = host.mending.take() else { continue };
                        if done {
                            // Loaded, then ended: as netd does.
                            (rules, host.loaded) = (true, true);
                            host.strays = !host.whole;
                        }
                        let look = host.look();
                        let result = if done { look } else { off() };
                        let deed = watch.mended(round, result);
                        host.follow(deed);
                        prop_assert!(!host.ports_up || host.whole && rules && !host.strays, "{:?}", host);
                    }
                }
            }
            // And it does not stay shut for ever.
            host.whole = true;
            for _ in 0..4 {
                let look = host.look();
                let deed = watch.looked(look);
                host.follow(deed);
                if let Some(round) = host.mending.take() {
                    (rules, host.loaded, host.strays) = (true, true, false);
                    let look = host.look();
                    let deed = watch.mended(round, look);
                    host.follow(deed);
                }
            }
            prop_assert!(host.ports_up && rules && watch.shut().is_none());
        }
    }
}
