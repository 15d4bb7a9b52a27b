//! Volumes: what outlives sandboxes.

use warder_wire::gateway_priv::{Answer, MOST_VOLUMES, VOLUMES_A_PAGE, VolumeMount};
use warder_wire::{Fault, FaultCode, VolumeId};

use crate::privd::{Privd, host_fault};
use crate::supervise::ReplyTo;

impl Privd {
    /// `VolumeCreate`.
    pub(crate) fn volume_create(&mut self, to: &ReplyTo, volume: &VolumeId) {
        let made = self.check_room().and_then(|()| {
            let made = self.store.create_volume(volume);
            made.map_err(|e| host_fault(&e))
        });
        let result = made.and_then(|made| match made {
            true => Ok(Answer::Done),
            false => Err(Fault::new(
                FaultCode::Conflict,
                "a volume of that name exists",
            )),
        });
        self.answer_gateway(to, result, Vec::new());
    }

    /// `VolumeRemove`.
    pub(crate) fn volume_remove(&mut self, to: &ReplyTo, volume: &VolumeId) {
        let result = self.try_remove_volume(volume);
        self.answer_gateway(to, result, Vec::new());
    }

    fn try_remove_volume(&mut self, volume: &VolumeId) -> Result<Answer, Fault> {
        let mut leases = self.ledger.book().values();
        if leases.any(|entry| entry.lease.volumes.iter().any(|m| m.volume == *volume)) {
            return Err(Fault::new(
                FaultCode::Conflict,
                "a sandbox mounts the volume",
            ));
        }
        let there = self
            .store
            .discard_volume(volume)
            .map_err(|e| host_fault(&e))?;
        self.discarded();
        match there {
            true => Ok(Answer::Done),
            false => Err(Fault::new(FaultCode::NotFound, "no such volume")),
        }
    }

    /// `VolumeList`.
    pub(crate) fn volume_list(&mut self, to: &ReplyTo, after: Option<&VolumeId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let volumes = self.store.volumes().range::<VolumeId, _>((from, Unbounded));
        let page = volumes.take(VOLUMES_A_PAGE).cloned().collect();
        self.answer_gateway(to, Ok(Answer::Volumes(page)), Vec::new());
    }

    /// Whether a lease may have these volumes.
    ///
    /// # Errors
    /// `NotFound` for one that is not there, `Refused` for too many or two at or below one place.
    pub(crate) fn check_volumes(&self, volumes: &[VolumeMount]) -> Result<(), Fault> {
        if volumes.len() > MOST_VOLUMES {
            return Err(Fault::new(FaultCode::Refused, "too many volumes"));
        }
        for (n, mount) in volumes.iter().enumerate() {
            if !self.store.volumes().contains(&mount.volume) {
                return Err(Fault::new(FaultCode::NotFound, "no such volume"));
            }
            let within = |inner: &str, outer: &str| {
                let rest = inner.strip_prefix(outer);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let clash = |other: &VolumeMount| {
                let (one, two) = (mount.at.as_str(), other.at.as_str());
                within(one, two) || within(two, one)
            };
            if volumes[..n].iter().any(clash) {
                return Err(Fault::new(
                    FaultCode::Refused,
                    "two volumes at one place, or one below the other",
                ));
            }
        }
        Ok(())
    }
}
