//! Slow work, in forked workers that hold only the descriptors of their job: emptying the trash, making
//! template `base`, unpacking templates.

use std::os::fd::AsFd;

use warder_host::process::{Exit, Process, Signal};
use warder_wire::{Fault, FaultCode, TemplateName, gateway_priv};

use crate::leases::Timer;
use crate::privd::Privd;
use crate::supervise::{ReplyTo, chain};

/// Discarded trees are collected for so long: one worker for many.
const TRASH_DELAY_MS: u64 = 50;
/// Longest time for unpacking a template.
const IMPORT_MS: u64 = 30 * 60 * 1000;
/// How nice the worker is that empties the trash.
const NICE: i32 = 10;

/// A worker.
#[derive(Debug)]
pub(crate) struct Job {
    /// Tells jobs apart.
    pub id: u64,
    /// The worker.
    pub process: Process,
    work: Work,
    until: u64,
}

/// What it does.
#[derive(Debug)]
enum Work {
    Trash,
    Base,
    /// Unpacks a template with the ids of a range that is free again afterwards.
    Import {
        to: ReplyTo,
        template: TemplateName,
        range: u32,
    },
}

impl Privd {
    fn add_job(&mut self, process: Process, work: Work, until: u64) {
        self.next_token += 1;
        self.jobs.push(Job {
            id: self.next_token,
            process,
            work,
            until,
        });
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
        let store = &self.store;
        let keep = [store.as_fd(), self.lock.as_fd()];
        match Process::worker(&keep, || finish(store.make_base())) {
            Ok(process) => self.add_job(process, Work::Base, u64::MAX),
            Err(e) => self
                .log
                .own(format_args!("cannot make template base: {}", chain(&e))),
        }
    }

    /// Whether it is settled which templates there are.
    pub(crate) fn base_known(&self) -> bool {
        !self.jobs.iter().any(|job| matches!(job.work, Work::Base))
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
            return Err(Fault::new(
                FaultCode::Exhausted,
                "another template is being imported",
            ));
        }
        let range = self
            .ranges
            .take()
            .ok_or_else(|| Fault::new(FaultCode::Exhausted, "no id range is free"))?;
        let started = self
            .ranges
            .namespace(range)
            .and_then(|users| self.store.import_start(template, &users, tar.as_fd()));
        match started {
            Ok(process) => {
                let until = self.now.mono + IMPORT_MS;
                self.timers.set(until, Timer::Import);
                self.add_job(
                    process,
                    Work::Import {
                        to,
                        template: template.clone(),
                        range,
                    },
                    until,
                );
                Ok(())
            }
            Err(e) => {
                self.ranges.put(range);
                Err(crate::privd::host_fault(&e))
            }
        }
    }

    /// Ends an import that takes too long.
    pub(crate) fn import_overdue(&mut self) {
        let now = self.now.mono;
        self.end_jobs(|job| job.until <= now);
    }

    /// Ends the making of templates.
    pub(crate) fn end_templates(&mut self) {
        self.end_jobs(|job| !matches!(job.work, Work::Trash));
    }

    fn end_jobs(&mut self, which: impl Fn(&Job) -> bool) {
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
        let good = exit == Exit::Code(0);
        match job.work {
            Work::Trash if good => self.empty_trash(),
            Work::Trash => {
                self.log
                    .own(format_args!("the trash could not be emptied: {exit:?}"));
                self.trash = true;
                self.timers.set(self.now.mono + 60_000, Timer::Trash);
            }
            Work::Base => {
                if !good && !self.stopping() {
                    self.log
                        .own(format_args!("template base could not be made: {exit:?}"));
                }
                self.load_templates();
                self.start_gateway();
            }
            Work::Import {
                to,
                template,
                range,
            } => {
                self.ranges.put(range);
                let result = match self.store.import_end(&template, good) {
                    Ok(()) if good => Ok(gateway_priv::Answer::Done),
                    Ok(()) => Err(import_fault(exit)),
                    Err(e) => Err(crate::privd::host_fault(&e)),
                };
                self.load_templates();
                self.discarded();
                self.answer_gateway(&to, result, Vec::new());
            }
        }
        self.stop_step();
    }

    /// Reads anew which templates there are.
    pub(crate) fn load_templates(&mut self) {
        match self.store.templates() {
            Ok(list) => {
                self.templates = list.into_iter().map(|t| (t.name, t.created_unix)).collect();
            }
            Err(e) => self
                .log
                .own(format_args!("cannot list templates: {}", chain(&e))),
        }
    }
}

/// What a worker says and exits with; its standard error is privd's.
fn finish(result: warder_host::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(e) => {
            let line = format!("privd: worker: {}\n", chain(&e));
            // Nothing can be done about a lost line.
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            1
        }
    }
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
