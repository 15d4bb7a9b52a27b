//! Slots of virtual machines: not on this system.

use super::Maker;
use crate::LinksError;
use crate::plan::SlotSpec;

impl Maker {
    /// Puts a tap in the place of a slot's pair.
    ///
    /// # Errors
    /// [`LinksError::Missing`].
    pub fn tap(&mut self, _spec: &SlotSpec) -> Result<u32, LinksError> {
        Err(LinksError::Missing {
            what: "tap(4)",
            remedy: "virtual machines take FreeBSD and bhyve(8)",
        })
    }
}
