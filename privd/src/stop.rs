//! Stopping: with the sandboxes, or leaving them to the next privd.

use warder_host::process::Signal;
use warder_wire::gateway_priv::EndReason;
use warder_wire::{SandboxId, priv_net};

use crate::leases::Timer;
use crate::net::Pending;
use crate::privd::Privd;
use crate::supervise::{Post, Role, chain};

/// How long a process may take to go after its channel was closed.
const GO_MS: u64 = 2_000;

/// How far stopping is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The gateway and the plugin hosts are going, sandboxes are being ended.
    Ending,
    /// netd removes what it made.
    Purging,
    /// netd is going, the trash is being emptied.
    Leaving,
    /// Nothing is left to wait for.
    Done,
}

impl Stage {
    /// How long it may take. netd takes its slots down one after the other: a kernel needs up to half a second for each
    /// where it is emulated, some milliseconds elsewhere.
    fn limit_ms(self) -> u64 {
        match self {
            Self::Purging => 60_000,
            Self::Ending | Self::Leaving | Self::Done => 20_000,
        }
    }
}

/// A stop under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    keep: bool,
    stage: Stage,
    /// When all of it began, and this stage.
    begun: u64,
    since: u64,
}

impl Privd {
    /// Whether privd is being stopped.
    pub(crate) fn stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// Begins to stop. Asked again, it changes nothing.
    pub(crate) fn begin_stop(&mut self) {
        if self.stopping() {
            return;
        }
        let keep = self.config.keep_on_stop;
        self.log.own(format_args!(
            "stopping; sandboxes are {}",
            if keep { "kept" } else { "removed" }
        ));
        self.stop = Some(Stop {
            keep,
            stage: Stage::Ending,
            begun: self.now.mono,
            since: self.now.mono,
        });
        self.timers.set(self.now.mono + GO_MS, Timer::Stop);
        self.limit_stage(Stage::Ending);
        self.end_snapshots(None);
        self.drop_all_ahead();
        self.end_templates();
        for role in self.posts.keys().copied().collect::<Vec<_>>() {
            if role != Role::Net || keep {
                self.close_channel(role);
            }
        }
        if !keep {
            let all: Vec<SandboxId> = self.ledger.book().keys().cloned().collect();
            for sandbox in all {
                self.begin_end(&sandbox, EndReason::Removed, None);
            }
        }
        self.stop_step();
    }

    /// Goes on with stopping as far as possible. Called whenever something has ended.
    pub(crate) fn stop_step(&mut self) {
        let Some(stop) = self.stop else { return };
        let overdue = self.now.mono >= stop.since + stop.stage.limit_ms();
        if self.now.mono >= stop.begun + GO_MS {
            self.kill_lingering();
        }
        let gone = |post: &Post| post.running.is_none();
        let net_gone = self.posts.get(&Role::Net).is_none_or(gone);
        let mut posts = self.posts.iter();
        let others_gone = posts.all(|(role, post)| *role == Role::Net || gone(post));
        let empty = self.jobs.is_empty() && self.trash_is_empty();
        let next = match stop.stage {
            Stage::Ending if stop.keep && others_gone && net_gone => Stage::Done,
            Stage::Ending
                if !stop.keep
                    && others_gone
                    && self.ledger.book().is_empty()
                    && self.cleanups.is_empty() =>
            {
                self.ask_net(priv_net::Ask::Purge, Vec::new(), Pending::Purged);
                Stage::Purging
            }
            // Without netd nothing can be purged; the claim stays and the next start cleans up.
            Stage::Purging if net_gone => Stage::Leaving,
            Stage::Leaving if net_gone && empty => Stage::Done,
            Stage::Leaving if net_gone && overdue && !self.config.purge => {
                let end = stop.since + stop.stage.limit_ms() + GO_MS;
                if !self.jobs.is_empty() && self.now.mono < end {
                    self.end_jobs(|_| true);
                    self.timers.set(end, Timer::Stop);
                    return;
                }
                self.log
                    .own("what was removed takes long to go from the disk: the next start goes on");
                Stage::Done
            }
            _ if overdue => {
                let stage = stop.stage;
                self.log
                    .own(format_args!("stopping took too long at stage {stage:?}"));
                self.fatal = Some("the next start removes what is left".to_owned());
                return;
            }
            _ => return,
        };
        self.limit_stage(next);
        if next == Stage::Leaving {
            self.empty_trash();
        }
        self.stop_step();
    }

    /// A stage begins, and with it its time.
    fn limit_stage(&mut self, stage: Stage) {
        let now = self.now.mono;
        if let Some(stop) = &mut self.stop {
            (stop.stage, stop.since) = (stage, now);
            self.timers.set(now + stage.limit_ms(), Timer::Stop);
        }
    }

    /// netd has removed everything.
    pub(crate) fn purged(&mut self) {
        self.limit_stage(Stage::Leaving);
        self.net_purged = true;
        self.close_channel(Role::Net);
        self.empty_trash();
        self.stop_step();
    }

    /// The exit status, once stopped.
    pub(crate) fn stopped(&mut self) -> Option<u8> {
        let stop = self.stop.filter(|stop| stop.stage == Stage::Done)?;
        if stop.keep {
            return Some(0);
        }
        Some(self.leave())
    }

    /// Removes what the instance itself has on the host, and gives its claim back.
    fn leave(&mut self) -> u8 {
        let mut clean = self.net_purged;
        if !clean {
            self.log.own("netd did not remove what it had made");
        }
        match self.controllers.close() {
            Ok(true) => {}
            Ok(false) => clean = false,
            Err(e) => {
                let why = chain(&e);
                self.log
                    .own(format_args!("removing the instance's groups: {why}"));
                clean = false;
            }
        }
        if let Err(e) = self.store.close() {
            let why = chain(&e);
            self.log.own(format_args!("leaving the store: {why}"));
            clean = false;
        }
        if let Err(e) = std::fs::remove_dir_all(&self.run_dir) {
            self.log
                .own(format_args!("removing {}: {e}", self.run_dir.display()));
            clean = false;
        }
        if clean {
            let released = crate::setup::claims(self.tag, &self.state_dir).release();
            if let Err(e) = released {
                self.log.own(chain(&e));
                clean = false;
            }
        }
        u8::from(!clean)
    }

    /// Closes a channel; its process goes by itself.
    fn close_channel(&mut self, role: Role) {
        if let Some(running) = self
            .posts
            .get_mut(&role)
            .and_then(|post| post.running.as_mut())
        {
            running.channel = None;
        }
    }

    /// Ends processes that have no channel and are still there.
    fn kill_lingering(&mut self) {
        for (role, post) in &self.posts {
            if let Some(running) = post
                .running
                .as_ref()
                .filter(|running| running.channel.is_none())
                && let Err(e) = running.process.signal(Signal::Kill)
            {
                let why = chain(&e);
                self.log.own(format_args!("cannot end {role}: {why}"));
            }
        }
    }
}
