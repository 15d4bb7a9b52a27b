//! Slow work, in forked workers that hold only the descriptors of their job: emptying the trash, making
//! template `base`, unpacking templates, copying for snapshots, writing out the disks of paused sandboxes.

use std::os::fd::AsFd;

use warder_host::HostError;
use warder_host::cell::IdRange;
use warder_host::process::{Exit, Process, Signal};
use warder_host::storage::Draft;
use warder_wire::{Fault, FaultCode, OpId, SandboxId, TemplateName, VolumeId, gateway_priv};

use crate::leases::Timer;
use crate::privd::{Privd, fault, host_fault};
use crate::supervise::{ReplyTo, chain};

/// Discarded trees are collected for so long: one worker for many.
const TRASH_DELAY_MS: u64 = 50;
/// Longest time for unpacking a template.
const IMPORT_MS: u64 = 30 * 60 * 1000;
/// Longest time for copying what a sandbox has changed; it stands still for so long.
const COPY_MS: u64 = 5 * 60 * 1000;
/// How nice the workers are that empty the trash and count.
const NICE: i32 = 10;
/// What sandboxes have written is counted this often at most, and for a tenth of the time: guests say how much there
/// is to count.
const MEASURE_MS: u64 = 15_000;

/// A worker.
#[derive(Debug)]
pub(crate) struct Job {
    /// Tells jobs apart.
    pub id: u64,
    /// The worker.
    pub process: Process,
    work: Work,
    until: u64,
    /// What it makes is wanted no more.
    cancelled: bool,
}

/// Who asked for a template.
#[derive(Debug)]
pub(crate) enum Asker {
    /// The gateway, for an import.
    Gateway(ReplyTo),
    /// A plugin host, for a snapshot of this sandbox.
    Plugin(SandboxId, OpId),
}

/// What it does.
#[derive(Debug)]
enum Work {
    Trash,
    Base(Draft),
    /// Writes out all disks.
    Sync,
    /// Pushes a paused sandbox's memory out.
    Reclaim(SandboxId),
    /// Counts what sandboxes have written, since then.
    Measure(u64),
    /// Has it last that a volume was made, or one removed.
    Volume {
        to: ReplyTo,
        made: Option<VolumeId>,
    },
    /// Unpacks a template with the ids of a range that is free again afterwards.
    Import {
        to: ReplyTo,
        draft: Draft,
        range: u32,
    },
    /// Copies what a sandbox has changed.
    Copy {
        sandbox: SandboxId,
        op: OpId,
        draft: Draft,
    },
    /// Puts a template into use.
    Keep {
        asker: Asker,
        draft: Draft,
    },
}

impl Work {
    fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Base(draft)
            | Self::Import { draft, .. }
            | Self::Copy { draft, .. }
            | Self::Keep { draft, .. } => Some(draft),
            Self::Trash
            | Self::Sync
            | Self::Reclaim(_)
            | Self::Measure(_)
            | Self::Volume { .. } => None,
        }
    }
}

impl Privd {
    fn add_job(&mut self, process: Process, work: Work, until: u64) -> u64 {
        self.next_token += 1;
        self.jobs.push(Job {
            id: self.next_token,
            process,
            work,
            until,
            cancelled: false,
        });
        self.next_token
    }

    /// Starts writing out the disks that wait for it: one worker at a time, for all of them.
    pub(crate) fn start_sync(&mut self) {
        let waiting = self.unwritten(None);
        if waiting.is_empty() || self.jobs.iter().any(|job| matches!(job.work, Work::Sync)) {
            return;
        }
        let worker = self.sync_worker();
        for sandbox in waiting {
            match worker {
                Some(worker) => self.written_by(&sandbox, worker),
                None => self.written(&sandbox, false),
            }
        }
    }

    /// A worker that writes out everything, the ledger last.
    pub(crate) fn sync_worker(&mut self) -> Option<u64> {
        let (store, ledger) = (&self.store, self.ledger.file());
        let job = || {
            let done = store.sync().and_then(|()| {
                rustix::fs::fdatasync(ledger).map_err(|errno| HostError::System {
                    call: "sync the ledger",
                    errno: errno.into(),
                })
            });
            finish(done)
        };
        // Without the lock, or the next privd would wait for the disk before it starts.
        match Process::worker(&[store.as_fd(), ledger], job) {
            Ok(process) => Some(self.add_job(process, Work::Sync, u64::MAX)),
            Err(e) => {
                self.log
                    .own(format_args!("cannot write out disks: {}", chain(&e)));
                None
            }
        }
    }

    /// Starts pushing the memory of a frozen sandbox out.
    pub(crate) fn start_reclaim(&mut self, sandbox: &SandboxId) {
        let controllers = &self.controllers;
        let Some(group) = controllers.reclaims() else {
            return;
        };
        let job = || finish(controllers.reclaim(sandbox));
        match Process::worker(&[group, self.lock.as_fd()], job) {
            Ok(process) => {
                self.add_job(process, Work::Reclaim(sandbox.clone()), u64::MAX);
            }
            Err(e) => self
                .log
                .own(format_args!("cannot reclaim memory: {}", chain(&e))),
        }
    }

    /// Ends that, before the sandbox goes on.
    pub(crate) fn end_reclaim(&mut self, of: &SandboxId) {
        self.cancel(|work| matches!(work, Work::Reclaim(sandbox) if sandbox == of));
    }

    /// Starts counting what sandboxes have written, if there are any, and plans the next time.
    pub(crate) fn measure(&mut self) {
        let now = self.now.mono;
        if self.ledger.book().is_empty() || self.stopping() {
            return self.timers.set(now + MEASURE_MS, Timer::Measure);
        }
        let store = &self.store;
        let job = || {
            let _ = rustix::process::nice(NICE);
            finish(store.measure())
        };
        match Process::worker(&[store.as_fd(), self.lock.as_fd()], job) {
            Ok(process) => {
                self.add_job(process, Work::Measure(now), u64::MAX);
            }
            Err(e) => {
                self.log
                    .own(format_args!("cannot count what is used: {}", chain(&e)));
                self.timers.set(now + MEASURE_MS, Timer::Measure);
            }
        }
    }

    /// Something was discarded: has the trash emptied soon.
    pub(crate) fn discarded(&mut self) {
        if !self.trash {
            self.trash = true;
            self.timers
                .set(self.now.mono + TRASH_DELAY_MS, Timer::Trash);
        }
    }

    /// Starts emptying the trash, one worker at a time.
    pub(crate) fn empty_trash(&mut self) {
        if !self.trash || self.jobs.iter().any(|job| matches!(job.work, Work::Trash)) {
            return;
        }
        let store = &self.store;
        let job = || {
            // Niceness is a courtesy; the work is done without it too.
            let _ = rustix::process::nice(NICE);
            finish(store.empty_trash())
        };
        match Process::worker(&[store.as_fd(), self.lock.as_fd()], job) {
            Ok(process) => {
                self.trash = false;
                self.add_job(process, Work::Trash, u64::MAX);
            }
            Err(e) => {
                self.log
                    .own(format_args!("cannot empty the trash: {}", chain(&e)));
                self.timers.set(self.now.mono + 1000, Timer::Trash);
            }
        }
    }

    /// Whether emptying the trash has nothing left to do.
    pub(crate) fn trash_is_empty(&self) -> bool {
        !self.trash && !self.jobs.iter().any(|job| matches!(job.work, Work::Trash))
    }

    /// Starts making template `base` if it is missing or older than the host's programs.
    pub(crate) fn refresh_base(&mut self) {
        match self.store.base_is_fresh() {
            Ok(true) => return,
            Ok(false) => {}
            Err(e) => self.log.own(format_args!("template base: {}", chain(&e))),
        }
        if let Err(e) = self.start_base() {
            self.log
                .own(format_args!("cannot make template base: {}", chain(&e)));
        }
    }

    fn start_base(&mut self) -> warder_host::Result<()> {
        let draft = self.store.draft(&crate::verbs::template::base(), None)?;
        let store = &self.store;
        let keep = [store.as_fd(), self.lock.as_fd()];
        let job = || finish(store.make_base(&draft).and_then(|()| store.keep(&draft)));
        match Process::worker(&keep, job) {
            Ok(process) => {
                self.add_job(process, Work::Base(draft), u64::MAX);
                Ok(())
            }
            Err(e) => self.store.settle(draft, false).and(Err(e)),
        }
    }

    /// Whether it is settled which templates there are.
    pub(crate) fn base_known(&self) -> bool {
        !self
            .jobs
            .iter()
            .any(|job| matches!(job.work, Work::Base(_)))
    }

    /// Starts unpacking a template.
    ///
    /// # Errors
    /// `Exhausted` while another one is being unpacked; what the system layer says.
    pub(crate) fn start_import(
        &mut self,
        to: ReplyTo,
        template: &TemplateName,
        tar: impl AsFd,
    ) -> Result<(), Fault> {
        if self
            .jobs
            .iter()
            .any(|job| matches!(job.work, Work::Import { .. }))
        {
            return fault(FaultCode::Exhausted, "another template is being imported");
        }
        let range = self
            .ranges
            .take()
            .ok_or_else(|| Fault::new(FaultCode::Exhausted, "no id range is free"))?;
        let draft = match self.store.draft(template, None) {
            Ok(draft) => draft,
            Err(e) => {
                self.ranges.put(range);
                return Err(host_fault(&e));
            }
        };
        let started = self
            .ranges
            .namespace(range)
            .and_then(|users| self.store.import_start(&draft, &users, tar.as_fd()));
        match started {
            Ok(process) => {
                let until = self.now.mono + IMPORT_MS;
                self.timers.set(until, Timer::Job);
                self.add_job(process, Work::Import { to, draft, range }, until);
                Ok(())
            }
            Err(e) => {
                self.ranges.put(range);
                self.settle(draft, false);
                Err(host_fault(&e))
            }
        }
    }

    /// Starts to write out that a volume was made, or one removed.
    pub(crate) fn start_volume(&mut self, to: ReplyTo, made: Option<VolumeId>) {
        let store = &self.store;
        let job = || finish(store.sync_volumes(made.as_ref()));
        // Without the lock, or the next privd would wait for the disk before it starts.
        match Process::worker(&[store.as_fd()], job) {
            Ok(process) => {
                self.add_job(process, Work::Volume { to, made }, u64::MAX);
            }
            Err(e) => self.volume_written(&to, made.as_ref(), Err(host_fault(&e))),
        }
    }

    /// Volumes made or removed that are being written out.
    pub(crate) fn volumes_under_way(&self) -> usize {
        let writes = |job: &&Job| matches!(job.work, Work::Volume { .. });
        self.jobs.iter().filter(writes).count()
    }

    /// Starts to copy what a sandbox, which stands still, has changed.
    ///
    /// # Errors
    /// What the system layer says; the draft is discarded then.
    pub(crate) fn start_copy(
        &mut self,
        sandbox: &SandboxId,
        op: OpId,
        draft: Draft,
        ids: IdRange,
    ) -> Result<(), Fault> {
        let (store, reserve) = (
            &self.store,
            u64::from(self.config.storage_reserve_mib) << 20,
        );
        let job = || finish(store.copy_changes(&draft, sandbox, ids, reserve));
        match Process::worker(&[store.as_fd(), self.lock.as_fd()], job) {
            Ok(process) => {
                let until = self.now.mono + COPY_MS;
                self.timers.set(until, Timer::Job);
                let sandbox = sandbox.clone();
                self.add_job(process, Work::Copy { sandbox, op, draft }, until);
                Ok(())
            }
            Err(e) => {
                self.settle(draft, false);
                Err(host_fault(&e))
            }
        }
    }

    /// Snapshots being copied or put into use.
    pub(crate) fn snapshots_under_way(&self) -> usize {
        let takes = |job: &&Job| matches!(job.work, Work::Copy { .. } | Work::Keep { .. });
        self.jobs.iter().filter(takes).count()
    }

    /// Starts to put a template into use.
    pub(crate) fn start_keep(&mut self, asker: Asker, draft: Draft) {
        let store = &self.store;
        // Without the lock, or the next privd would wait for the disk before it starts: killed with this one, it makes no
        // further call, and one under way comes before that one's look or finds nothing to rename.
        match Process::worker(&[store.as_fd()], || finish(store.keep(&draft))) {
            Ok(process) => {
                self.add_job(process, Work::Keep { asker, draft }, u64::MAX);
            }
            Err(e) => self.kept(asker, draft, Err(host_fault(&e))),
        }
    }

    /// A template is in use, or is not.
    pub(crate) fn kept(&mut self, asker: Asker, draft: Draft, result: Result<(), Fault>) {
        match asker {
            Asker::Gateway(to) => {
                self.settle(draft, result.is_ok());
                let result = result.map(|()| gateway_priv::Answer::Done);
                self.answer_gateway(&to, result, Vec::new());
            }
            Asker::Plugin(sandbox, op) => {
                let wanted = self.snapshot_wanted(&sandbox, op);
                self.settle(draft, wanted && result.is_ok());
                self.snapshot_ended(&sandbox, op, result);
            }
        }
    }

    /// Takes note of a template that was kept, or discards it.
    pub(crate) fn settle(&mut self, draft: Draft, kept: bool) {
        self.nothing_ahead_of(&draft.template().clone());
        if let Err(e) = self.store.settle(draft, kept) {
            self.log.own(format_args!("templates: {}", chain(&e)));
        }
        self.discarded();
    }

    /// Ends what takes too long.
    pub(crate) fn job_overdue(&mut self) {
        let now = self.now.mono;
        self.end_jobs(|job| job.until <= now);
    }

    /// Ends the copying of a sandbox.
    pub(crate) fn cancel_copy(&mut self, of: &SandboxId) {
        self.cancel(|work| matches!(work, Work::Copy { sandbox, .. } if sandbox == of));
    }

    /// Ends the making of a template.
    pub(crate) fn cancel_draft(&mut self, template: &TemplateName) {
        self.cancel(|work| work.draft().map(Draft::template) == Some(template));
    }

    fn cancel(&mut self, which: impl Fn(&Work) -> bool) {
        for job in self.jobs.iter_mut().filter(|job| which(&job.work)) {
            job.cancelled = true;
        }
        self.end_jobs(|job| job.cancelled);
    }

    /// Ends the making of templates.
    pub(crate) fn end_templates(&mut self) {
        self.end_jobs(|job| !matches!(job.work, Work::Trash | Work::Sync));
    }

    pub(crate) fn end_jobs(&mut self, which: impl Fn(&Job) -> bool) {
        for job in self.jobs.iter().filter(|job| which(job)) {
            if let Err(e) = job.process.signal(Signal::Kill) {
                self.log
                    .own(format_args!("cannot end a worker: {}", chain(&e)));
            }
        }
    }

    /// A worker has ended.
    pub(crate) fn job_ended(&mut self, id: u64) {
        let Some(at) = self.jobs.iter().position(|job| job.id == id) else {
            return;
        };
        let exit = match self.jobs[at].process.try_wait() {
            Ok(None) => return,
            Ok(Some(exit)) => exit,
            Err(e) => {
                self.log.own(format_args!("a worker: {}", chain(&e)));
                Exit::Unknown
            }
        };
        let job = self.jobs.swap_remove(at);
        let good = exit == Exit::Code(0) && !job.cancelled;
        let made = if good {
            Ok(())
        } else {
            Err(worker_fault(exit))
        };
        match job.work {
            Work::Trash if good => self.empty_trash(),
            Work::Trash => {
                self.log
                    .own(format_args!("the trash could not be emptied: {exit:?}"));
                self.trash = true;
                self.timers.set(self.now.mono + 60_000, Timer::Trash);
            }
            Work::Sync => {
                for sandbox in self.unwritten(Some(id)) {
                    self.written(&sandbox, good);
                }
                self.start_sync();
            }
            Work::Reclaim(_) => {}
            Work::Measure(begun) => {
                let now = self.now.mono;
                let pause = MEASURE_MS.max(now.saturating_sub(begun).saturating_mul(9));
                self.timers.set(now + pause, Timer::Measure);
            }
            Work::Volume { to, made } => {
                let failed =
                    || Fault::new(FaultCode::System, "the volumes could not be written out");
                let result = if good { Ok(()) } else { Err(failed()) };
                self.volume_written(&to, made.as_ref(), result);
            }
            Work::Base(draft) => {
                if !good && !self.stopping() {
                    self.log
                        .own(format_args!("template base could not be made: {exit:?}"));
                }
                self.settle(draft, good);
                self.start_gateway();
            }
            Work::Import { to, draft, range } => {
                self.ranges.put(range);
                let whole = match good {
                    true => self.store.import_end(&draft).map_err(|e| host_fault(&e)),
                    false => Err(import_fault(exit)),
                };
                match whole {
                    Ok(()) => self.start_keep(Asker::Gateway(to), draft),
                    Err(fault) => {
                        self.settle(draft, false);
                        self.answer_gateway(&to, Err(fault), Vec::new());
                    }
                }
            }
            Work::Copy { sandbox, op, draft } => self.copied(sandbox, op, draft, made),
            Work::Keep { asker, draft } => self.kept(asker, draft, made),
        }
        self.stop_step();
    }
}

/// Exit codes of workers.
const FAILED: i32 = 1;
const NO_SPACE: i32 = 2;
const REFUSED: i32 = 3;

/// What a worker says and exits with; its standard error is privd's.
fn finish(result: warder_host::Result<()>) -> i32 {
    let Err(e) = result else { return 0 };
    let line = format!("privd: worker: {}\n", chain(&e));
    // Nothing can be done about a lost line.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    match e {
        HostError::NoSpace { .. } => NO_SPACE,
        HostError::Invalid(_) => REFUSED,
        _ => FAILED,
    }
}

/// What became of a worker that made a template.
fn worker_fault(exit: Exit) -> Fault {
    let (code, detail) = match exit {
        Exit::Code(NO_SPACE) => (FaultCode::NoSpace, "no space left for a template"),
        Exit::Code(REFUSED) => (FaultCode::Refused, "no template can be made of this tree"),
        Exit::Code(0) | Exit::Signal(_) => {
            (FaultCode::TimedOut, "the making of the template was ended")
        }
        Exit::Code(_) | Exit::Unknown => (FaultCode::System, "the template could not be made"),
    };
    Fault::new(code, detail)
}

fn import_fault(exit: Exit) -> Fault {
    match exit {
        Exit::Code(code) => Fault::new(
            FaultCode::Refused,
            format_args!("not a tar stream a template can be made of (code {code})"),
        ),
        Exit::Signal(_) | Exit::Unknown => Fault::new(FaultCode::TimedOut, "unpacking was ended"),
    }
}
