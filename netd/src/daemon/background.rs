//! What goes on behind the answers: slots made ahead, flows ended, ports awaited.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use warder_ipc::Channel;
use warder_links::plan::Pair;
use warder_links::{LINGER, Space, port_name};
use warder_wire::start::NetStart;
use warder_wire::{Fault, FaultCode};

use super::{Daemon, Draining, Pending, purged};
use crate::ledger::{Record, SlotRecord};
use crate::log;
use crate::slots::Ready;
use crate::table::Phase;
use crate::worker::{Done, Forbid, Job, MAX_LOOK};

/// Counters set aside with one record.
const COUNTERS: u32 = 1024;
/// Pause after a slot could not be made.
const BACK_OFF: Duration = Duration::from_secs(1);
/// How long after a slot was taken none is made while there are plenty: its cell is in the making, on the same
/// processors.
const LULL: Duration = Duration::from_millis(10);
/// Between looks for ports that are gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a request waits for a slot that is still cooling.
const HOPE: Duration = Duration::from_secs(15);
/// Ends of flows that a worker is sent before it has done others.
const ENDS_OUT: usize = 256;

impl Daemon {
    /// Orders what the pool lacks.
    pub(crate) fn refill(&mut self) {
        let now = Instant::now();
        if self.phase == Phase::Purged || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        if self.lull_until.is_some_and(|until| now < until) && self.pool.has_plenty() {
            return;
        }
        self.lull_until = None;
        loop {
            if self.pool.counter() >= self.counters {
                let upto = self.pool.counter().saturating_add(COUNTERS);
                if let Err(fault) = self.record(&Record::Counters(upto)) {
                    self.cannot_make(&fault);
                    return;
                }
                self.counters = upto;
            }
            let Some((index, counter)) = self.pool.next_to_make() else {
                return;
            };
            let Some(pair) = Pair::new(self.config.block, index) else {
                return;
            };
            let NetStart { first_id, ids, .. } = self.config;
            self.send_maker(&Job::Make {
                index,
                counter,
                pair: (pair.gateway, pair.address),
                ping_groups: (first_id, first_id.saturating_add(ids.saturating_sub(1))),
            });
        }
    }

    /// A slot was taken.
    pub(super) fn lull(&mut self) {
        self.lull_until = Some(Instant::now() + LULL);
    }

    /// What is due by the clock.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        self.watch_tick(now);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look();
        }
        self.egress_tick(now);
        while let Some(seq) = now
            .checked_sub(HOPE)
            .and_then(|then| self.pool.next_overdue(then))
        {
            let fault = Fault::new(FaultCode::Exhausted, "no network slot became free");
            self.answer_privd(seq, Err(fault));
        }
    }

    /// How long the loop may sleep.
    pub(crate) fn wake_in(&self) -> Option<Duration> {
        if self.is_loading() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let hope = self.pool.is_waited_for().then(|| now + LOOK_EVERY);
        let (egress, watch) = (self.egress_deadline(), Some(self.watch.next()));
        let makes = self.retry_at.max(self.lull_until);
        let all = [makes, self.look_at, hope, egress, watch];
        let first = all.into_iter().flatten().min()?;
        Some(first.saturating_duration_since(now))
    }

    /// Asks which ports of released slots are gone.
    fn look(&mut self) {
        self.look_at = None;
        if self.draining.is_empty() {
            return;
        }
        let mut strays = Vec::new();
        for draining in &mut self.draining {
            if !draining.forced && draining.since.elapsed() >= LINGER {
                draining.forced = true;
                strays.push(port_name(self.tag, draining.slot.counter));
            }
        }
        for port in strays {
            if !LINGER.is_zero() {
                log::line(format_args!("{port} lingers and is removed"));
            }
            self.send_maker(&Job::Remove { port });
        }
        let counters = self
            .draining
            .iter()
            .map(|d| d.slot.counter)
            .take(MAX_LOOK)
            .collect();
        self.order(&Job::Look { counters });
    }

    fn gone(&mut self, counters: &[u32]) {
        let (gone, left) = std::mem::take(&mut self.draining)
            .into_iter()
            .partition(|d| counters.contains(&d.slot.counter));
        self.draining = left;
        for Draining { sandbox, slot, .. } in gone {
            self.note(&Record::Released {
                sandbox,
                counter: Some(slot.counter),
            });
            self.pool.cooled(slot.index);
        }
        if !self.draining.is_empty() {
            // Those that were looked at go behind those that were not.
            let looked = self.draining.len().min(MAX_LOOK);
            self.draining.rotate_left(looked);
            self.look_at = Some(Instant::now() + LOOK_EVERY);
        }
    }

    pub(crate) fn send_maker(&mut self, job: &Job) {
        if let Some(kernel) = &mut self.kernel {
            must_send(&mut kernel.maker.channel, job);
        }
    }

    /// Sends the other worker a job.
    pub(super) fn order(&mut self, job: &Job) {
        if let Some(kernel) = &mut self.kernel {
            must_send(&mut kernel.ender.channel, job);
        }
    }

    pub(super) fn end_flows(&mut self, slot: SlotRecord, forbid: Forbid, pending: Pending) {
        let job = self.next_job;
        self.next_job += 1;
        self.jobs.insert(job, pending);
        self.ends.push_back(Job::End { job, slot, forbid });
        self.send_ends();
    }

    fn send_ends(&mut self) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        while self.ends_out < ENDS_OUT {
            let Some(job) = self.ends.pop_front() else {
                return;
            };
            must_send(&mut kernel.ender.channel, &job);
            self.ends_out += 1;
        }
    }

    /// A worker has done a job.
    pub(crate) fn done(&mut self, done: Done, fds: Vec<OwnedFd>) {
        match done {
            Done::Made {
                index,
                counter,
                result,
            } => match (result, Space::received(fds)) {
                (Ok(identity), Some(space)) => {
                    let slot = SlotRecord {
                        index,
                        counter,
                        identity,
                    };
                    self.pool.made(Ready { slot, space });
                    self.serve_waiting();
                }
                (result, _) => {
                    self.pool.not_made(index);
                    let fault = result.err().unwrap_or_else(purged);
                    self.cannot_make(&fault);
                }
            },
            Done::Removed { port, result } => {
                if let Err(fault) = result {
                    log::line(format_args!("stray port {port}: {fault}"));
                }
            }
            Done::Ended { job, result } => {
                self.ends_out -= 1;
                self.ended(job, result);
                self.send_ends();
            }
            Done::Gone { counters } => self.gone(&counters),
            Done::Inspected { result } => self.inspected(result),
            Done::Tapped { seq, slot, result } => self.tapped(seq, slot, result),
        }
    }

    fn cannot_make(&mut self, fault: &Fault) {
        log::line(format_args!("cannot make a slot: {fault}"));
        self.retry_at = Some(Instant::now() + BACK_OFF);
        while let Some((seq, _)) = self.pool.next_waiting() {
            self.answer_privd(seq, Err(fault.clone()));
        }
    }

    fn ended(&mut self, job: u64, result: Result<(), Fault>) {
        match self.jobs.remove(&job) {
            Some(Pending::Change { sandbox, change }) => {
                self.flows_ended(&sandbox, change, result);
            }
            Some(Pending::Release { sandbox, slot }) => {
                if let Err(fault) = result {
                    // Its flows would belong to the next owner of the address. Better one slot less.
                    log::line(format_args!(
                        "slot {} stays out of use: {fault}",
                        slot.index
                    ));
                    return;
                }
                let since = Instant::now();
                self.draining.push(Draining {
                    sandbox,
                    slot,
                    since,
                    forced: false,
                });
                self.look();
            }
            Some(Pending::Mend(round)) => self.mended(round, result),
            None => {}
        }
    }
}

fn must_send(channel: &mut Channel, job: &Job) {
    if let Err(e) = channel.send(job, Vec::new()) {
        // Without its workers netd cannot keep a promise; privd starts a whole one.
        log::line(format_args!("worker: {e}"));
        std::process::exit(1);
    }
}
