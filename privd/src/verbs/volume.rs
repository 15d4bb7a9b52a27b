//! Volumes: what outlives sandboxes.

use warder_wire::gateway_priv::{Answer, MOST_VOLUMES, VOLUMES_A_PAGE, VolumeMount};
use warder_wire::{Fault, FaultCode, VolumeId};

use crate::privd::{Privd, fault, host_fault};
use crate::supervise::ReplyTo;

/// Most being made or removed at one time.
const MOST: usize = 64;

impl Privd {
    /// `VolumeCreate`. Answered when the volume would survive a loss of power.
    pub(crate) fn volume_create(&mut self, to: ReplyTo, volume: &VolumeId) {
        let made = self.check_room().and_then(|()| self.turn()).and_then(|()| {
            let made = self.store.create_volume(volume);
            made.map_err(|e| host_fault(&e))
        });
        let fault = match made {
            Ok(true) => return self.start_volume(to, Some(volume.clone())),
            Ok(false) => Fault::new(FaultCode::Conflict, "a volume of that name exists"),
            Err(fault) => fault,
        };
        self.answer_gateway(&to, Err(fault), Vec::new());
    }

    /// `VolumeRemove`. Answered as `VolumeCreate`.
    pub(crate) fn volume_remove(&mut self, to: ReplyTo, volume: &VolumeId) {
        match self.turn().and_then(|()| self.try_remove_volume(volume)) {
            Ok(()) => self.start_volume(to, None),
            Err(fault) => self.answer_gateway(&to, Err(fault), Vec::new()),
        }
    }

    /// Each has a worker of its own.
    fn turn(&self) -> Result<(), Fault> {
        if self.volumes_under_way() >= MOST {
            let detail = "too many volumes are being made or removed";
            return Err(Fault::new(FaultCode::Exhausted, detail));
        }
        Ok(())
    }

    fn try_remove_volume(&mut self, volume: &VolumeId) -> Result<(), Fault> {
        let mut leases = self.ledger.book().values();
        if leases.any(|entry| entry.lease.volumes.iter().any(|m| m.volume == *volume)) {
            return fault(FaultCode::Conflict, "a sandbox mounts the volume");
        }
        let there = self
            .store
            .discard_volume(volume)
            .map_err(|e| host_fault(&e))?;
        self.discarded();
        match there {
            true => Ok(()),
            false => Err(Fault::new(FaultCode::NotFound, "no such volume")),
        }
    }

    /// That a volume was made, or one removed, is written out, or cannot be: what might not last is not kept.
    pub(crate) fn volume_written(
        &mut self,
        to: &ReplyTo,
        made: Option<&VolumeId>,
        result: Result<(), Fault>,
    ) {
        if let (Err(_), Some(volume)) = (&result, made)
            && let Err(fault) = self.try_remove_volume(volume)
        {
            self.log.own(format_args!("{volume} stays: {fault}"));
        }
        self.answer_gateway(to, result.map(|()| Answer::Done), Vec::new());
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
                return fault(
                    FaultCode::Refused,
                    "two volumes at one place, or one below the other",
                );
            }
        }
        Ok(())
    }
}
