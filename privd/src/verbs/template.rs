//! Templates: what sandboxes are cloned from.

use std::os::fd::{AsFd as _, OwnedFd};

use warder_wire::gateway_priv::{Answer, TEMPLATES_A_PAGE, Template};
use warder_wire::{Fault, FaultCode, Limits, TemplateName};

use crate::privd::{Privd, fault, host_fault};
use crate::supervise::ReplyTo;

/// Made by privd itself: from the host's programs, and of nothing.
const OWN: [&str; 2] = ["base", "bare"];

/// The name of template `base`.
pub(crate) fn base() -> TemplateName {
    TemplateName::new(OWN[0]).expect("a name")
}

impl Privd {
    /// `TemplateList`.
    pub(crate) fn template_list(&mut self, to: &ReplyTo, after: Option<&TemplateName>) {
        let page = self.store.templates(after).take(TEMPLATES_A_PAGE);
        let page = page.map(|(name, created_unix)| Template {
            limits: self.size(&name),
            name,
            created_unix,
        });
        let page = Answer::Templates(page.collect());
        self.answer_gateway(to, Ok(page), Vec::new());
    }

    /// What sandboxes made of a template get.
    pub(crate) fn size(&self, template: &TemplateName) -> Limits {
        let limits = &self.config.template_limits;
        if limits.is_empty() {
            return Limits::DEFAULT;
        }
        limits.of(&self.store.lineage(None, template))
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
        let reader = warder_ipc::check::pipe_reader(tar.as_fd());
        reader.map_err(|_| "sent something else than the reading end of a pipe")?;
        let started = self
            .check_new(&template)
            .and_then(|()| self.start_import(to, &template, &tar));
        if let Err(fault) = started {
            self.answer_gateway(&to, Err(fault), Vec::new());
        }
        Ok(())
    }

    /// Whether a template of this name can be made.
    ///
    /// # Errors
    /// `Conflict`, `NoSpace`.
    pub(crate) fn check_new(&self, template: &TemplateName) -> Result<(), Fault> {
        let taken = self.store.has_template(template) || self.store.is_drafted(template);
        if taken || OWN.contains(&template.as_str()) {
            return fault(FaultCode::Conflict, "a template of that name exists");
        }
        self.check_room()
    }

    /// `TemplateRemove`.
    pub(crate) fn template_remove(&mut self, to: &ReplyTo, template: &TemplateName) {
        let result = self.try_remove(template).map(|()| Answer::Done);
        self.answer_gateway(to, result, Vec::new());
    }

    fn try_remove(&mut self, template: &TemplateName) -> Result<(), Fault> {
        if OWN.contains(&template.as_str()) {
            return fault(FaultCode::Refused, "the template is the instance's own");
        }
        // Nor is it to come later.
        for live in self.live.values_mut() {
            live.allowed.take_if(|(one, _)| one == template);
        }
        // Being made, or just made and not reported yet.
        if self.store.is_drafted(template) {
            self.end_snapshots(Some(template));
            self.cancel_draft(template);
            return Ok(());
        }
        self.nothing_ahead_of(template);
        let there = self
            .store
            .discard_template(template)
            .map_err(|e| host_fault(&e))?;
        self.discarded();
        if there {
            Ok(())
        } else {
            Err(Fault::new(FaultCode::NotFound, "no such template"))
        }
    }
}
