//! Landlock: the second wall behind the empty root. Best effort over the kernel's ABI levels; the level
//! reached is reported. Binds the calling thread and what it starts later.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::raw;
use crate::{ConfineError, Kind, Profile};

/// Newest level whose rights are all named here.
const LEVEL: ABI = ABI::V6;

/// Applies the profile's rules; `None` where the kernel has no Landlock.
pub(super) fn landlock(profile: &Profile<'_>) -> Result<Option<i32>, ConfineError> {
    let Some(abi) = raw::landlock_abi() else {
        return Ok(None);
    };
    let failed = |error: &dyn std::fmt::Display| ConfineError::Layer {
        step: "landlock",
        text: error.to_string(),
    };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LEVEL))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LEVEL)))
        .and_then(|rules| rules.scope(Scope::from_all(LEVEL)))
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    match (profile.kind, profile.directory) {
        (Kind::Gateway, Some(directory)) => {
            let state = AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::RemoveFile;
            rules = rules
                .add_rule(PathBeneath::new(directory, state))
                .map_err(|error| failed(&error))?;
        }
        (Kind::Gateway, None) | (Kind::Egress, _) => {}
        (Kind::PluginHost, _) => {
            let root = PathFd::new("/").map_err(|error| failed(&error))?;
            rules = rules
                .add_rule(PathBeneath::new(
                    root,
                    AccessFs::ReadFile | AccessFs::ReadDir,
                ))
                .map_err(|error| failed(&error))?;
        }
    }
    let status = rules.restrict_self().map_err(|error| failed(&error))?;
    // The kernel has Landlock, so nothing enforced means that something is wrong, not that it is old.
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(ConfineError::Refused("landlock enforces nothing"));
    }
    Ok(Some(abi))
}
