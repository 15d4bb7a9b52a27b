//! Templates: what sandboxes are cloned from.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use warder_wire::gateway_priv::{Answer, TEMPLATES_A_PAGE, Template};
use warder_wire::{Fault, FaultCode, TemplateName};

use crate::privd::{Privd, host_fault};
use crate::supervise::ReplyTo;

/// Made by privd itself: from the host's programs, and of nothing.
const OWN: [&str; 2] = ["base", "bare"];

impl Privd {
    /// `TemplateList`.
    pub(crate) fn template_list(&mut self, to: &ReplyTo, after: Option<&TemplateName>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let page = self
            .templates
            .range::<TemplateName, _>((from, Unbounded))
            .take(TEMPLATES_A_PAGE);
        let page = page
            .map(|(name, created)| Template {
                name: name.clone(),
                created_unix: *created,
            })
            .collect();
        self.answer_gateway(to, Ok(Answer::Templates(page)), Vec::new());
    }

    /// `TemplateImport`. Answered when the worker has ended.
    ///
    /// # Errors
    /// A violation when what rides along is not the reading end of a pipe.
    pub(crate) fn template_import(
        &mut self,
        to: ReplyTo,
        template: TemplateName,
        fds: Vec<OwnedFd>,
    ) -> Result<(), &'static str> {
        let [tar] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| "wrong number of descriptors")?;
        let pipe = fstat(&tar).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
        let reads =
            fcntl_getfl(&tar).is_ok_and(|flags| !flags.intersects(OFlags::WRONLY | OFlags::RDWR));
        if !pipe || !reads {
            return Err("sent something else than the reading end of a pipe");
        }
        let started = if self.templates.contains_key(&template) || OWN.contains(&template.as_str())
        {
            Err(Fault::new(
                FaultCode::Conflict,
                "a template of that name exists",
            ))
        } else {
            self.check_room()
                .and_then(|()| self.start_import(to, &template, &tar))
        };
        if let Err(fault) = started {
            self.answer_gateway(&to, Err(fault), Vec::new());
        }
        Ok(())
    }

    /// `TemplateRemove`.
    pub(crate) fn template_remove(&mut self, to: &ReplyTo, template: &TemplateName) {
        let result = self.try_remove(template).map(|()| Answer::Done);
        self.answer_gateway(to, result, Vec::new());
    }

    fn try_remove(&mut self, template: &TemplateName) -> Result<(), Fault> {
        if OWN.contains(&template.as_str()) {
            return Err(Fault::new(
                FaultCode::Refused,
                "the template is the instance's own",
            ));
        }
        if self
            .ledger
            .book()
            .values()
            .any(|entry| entry.lease.template == *template)
        {
            return Err(Fault::new(
                FaultCode::Conflict,
                "a sandbox of this template exists",
            ));
        }
        let there = self
            .store
            .discard_template(template)
            .map_err(|e| host_fault(&e))?;
        self.templates.remove(template);
        self.discarded();
        if there {
            Ok(())
        } else {
            Err(Fault::new(FaultCode::NotFound, "no such template"))
        }
    }
}
