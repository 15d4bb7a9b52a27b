//! How far each end may send ahead of what the other one has taken: of a stream its window, of all streams of a
//! connection what their windows may have together.
//!
//! Each stream has its first bytes for itself, so one whose neighbours have used up everything else goes on, slower. What
//! it may have beyond them is a part of what is free: the more is used, the less each gets, and whoever takes what comes
//! gives back what it has too much of. So there is always something left for the next.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::{FIRST, SHARED, WINDOW};

/// A stream may have so much of what is free.
const PART: usize = 8;

/// What the windows of a connection have beyond their first bytes.
#[derive(Debug)]
pub(crate) struct Budget(AtomicUsize);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicUsize::new(SHARED))
    }
}

impl Budget {
    fn free(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// As much of it as there is.
    fn take(&self, most: usize) -> usize {
        let less = |free: usize| Some(free.saturating_sub(most));
        let before = self.0.fetch_update(Relaxed, Relaxed, less);
        before.map_or(0, |before| before.min(most))
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }
}

/// What may come of one stream. It is in use until its last holder drops it: whatever came is gone then too.
#[derive(Debug)]
pub(crate) struct Window {
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Most bytes that came and that the other end was not told are taken.
    size: usize,
    /// How many there are.
    owed: usize,
    /// Of those, the ones that were taken.
    taken: usize,
}

impl Window {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        let state = State {
            size: FIRST,
            owed: 0,
            taken: 0,
        };
        Self {
            budget: Arc::clone(budget),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes came. False: more than may.
    pub(crate) fn came(&self, bytes: usize) -> bool {
        let mut state = self.state();
        state.owed += bytes;
        state.owed <= state.size
    }

    /// So many of them were taken. How many more may be sent, when that is worth a word: small reads do not cost a frame
    /// each.
    pub(crate) fn took(&self, bytes: usize) -> Option<u32> {
        let mut state = self.state();
        state.taken += bytes;
        if state.taken < state.size / 4 {
            return None;
        }
        let taken = std::mem::take(&mut state.taken);
        state.owed -= taken;
        let fair = FIRST + (self.budget.free() / PART).min(WINDOW - FIRST);
        let more = if fair >= state.size {
            let grown = self.budget.take(fair - state.size);
            state.size += grown;
            taken + grown
        } else {
            // Half of what was taken may be sent again in any case: nobody waits for a word that does not come.
            let shrunk = (state.size - fair).min(taken / 2);
            state.size -= shrunk;
            self.budget.give(shrunk);
            taken - shrunk
        };
        // At most two windows, which fit.
        Some(more as u32)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let size = self.state().size;
        self.budget.give(size - FIRST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream, and what its sender has not used of what it was told.
    struct Flow {
        window: Window,
        may: usize,
        unread: usize,
    }

    impl Flow {
        fn new(budget: &Arc<Budget>) -> Self {
            Self {
                window: Window::new(budget),
                may: FIRST,
                unread: 0,
            }
        }

        fn send(&mut self, bytes: usize) {
            let bytes = bytes.min(self.may);
            assert!(self.window.came(bytes));
            self.may -= bytes;
            self.unread += bytes;
        }

        fn read(&mut self, bytes: usize) {
            let bytes = bytes.min(self.unread);
            self.unread -= bytes;
            if let Some(more) = self.window.took(bytes) {
                assert!(more > 0);
                self.may += more as usize;
            }
        }

        fn size(&self) -> usize {
            let state = self.window.state();
            assert_eq!(state.size, self.may + state.owed);
            assert_eq!(state.owed, self.unread + state.taken);
            state.size
        }
    }

    fn beyond_first(flows: &[Flow]) -> usize {
        let sizes = flows.iter().map(Flow::size);
        let sizes = sizes.inspect(|size| assert!((FIRST..=WINDOW).contains(size)));
        sizes.map(|size| size - FIRST).sum()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open,
        Send(prop::sample::Index, usize),
        Read(prop::sample::Index, usize),
        End(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (which, bytes) = (any::<prop::sample::Index>, 0..2 * WINDOW);
        let step = prop_oneof![
            2 => Just(Step::Open),
            4 => (which(), bytes.clone()).prop_map(|(n, bytes)| Step::Send(n, bytes)),
            4 => (which(), bytes).prop_map(|(n, bytes)| Step::Read(n, bytes)),
            1 => which().prop_map(Step::End),
        ];
        prop::collection::vec(step, 0..600)
    }

    proptest! {
        /// Whatever happens, no more can come than there is room for, and what was lent comes back.
        #[test]
        fn the_budget_is_kept(steps in steps()) {
            let budget = Arc::new(Budget::default());
            let mut flows = Vec::new();
            for step in steps {
                match step {
                    Step::Open => flows.push(Flow::new(&budget)),
                    _ if flows.is_empty() => {}
                    Step::Send(n, bytes) => n.get_mut(&mut flows).send(bytes),
                    Step::Read(n, bytes) => n.get_mut(&mut flows).read(bytes),
                    Step::End(n) => {
                        flows.swap_remove(n.index(flows.len()));
                    }
                }
                prop_assert_eq!(beyond_first(&flows) + budget.free(), SHARED);
            }
            // None waits for ever: whose bytes are read may send.
            for flow in &mut flows {
                flow.send(usize::MAX);
                flow.read(usize::MAX);
                prop_assert!(flow.may > 0);
            }
            drop(flows);
            prop_assert_eq!(budget.free(), SHARED);
        }
    }

    #[test]
    fn more_than_the_window_is_seen() {
        let window = Window::new(&Arc::default());
        assert!(window.came(FIRST));
        assert!(!window.came(1));
    }

    /// Streams that grew and are read no more keep what they have; the next ones get less, and each gets something.
    #[test]
    fn who_hoards_leaves_something_to_the_next() {
        let budget = Arc::new(Budget::default());
        let mut flows: Vec<Flow> = Vec::new();
        for _ in 0..1024 {
            let mut flow = Flow::new(&budget);
            for _ in 0..8 {
                flow.send(usize::MAX);
                flow.read(usize::MAX);
            }
            flow.send(usize::MAX);
            flows.push(flow);
        }
        assert_eq!(flows[0].size(), WINDOW);
        assert!(flows[100].size() > FIRST);
        assert!(beyond_first(&flows) <= SHARED);
        // When the first ones are gone, the last get more.
        flows.drain(..1000);
        for _ in 0..8 {
            flows[0].read(usize::MAX);
            flows[0].send(usize::MAX);
        }
        assert_eq!(flows[0].size(), WINDOW);
    }

    /// Those that are busy come to have about the same, whoever was first.
    #[test]
    fn who_is_busy_gives_back_what_is_more_than_his_part() {
        let budget = Arc::new(Budget::default());
        let mut flows: Vec<Flow> = (0..200).map(|_| Flow::new(&budget)).collect();
        for busy in [1, 200] {
            for _ in 0..100 {
                for flow in &mut flows[..busy] {
                    flow.send(usize::MAX);
                    flow.read(usize::MAX);
                }
            }
            let sizes = || flows[..busy].iter().map(Flow::size);
            let (least, most) = (sizes().min(), sizes().max());
            let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
            assert!(most <= 2 * least, "{busy}: {least} to {most}");
            assert!(busy > 1 || least == WINDOW);
        }
    }
}
