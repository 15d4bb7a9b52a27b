//! What netd gives up before it listens.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::LinksError;

/// Keeps `CAP_NET_ADMIN` (links, routes, rules, their sysctls) and `CAP_SYS_ADMIN` (setns, unshare, mount of the
/// router's pin) and nothing else, for good. Returns the words for the log.
///
/// # Errors
/// [`LinksError::System`]; the process must not go on.
pub fn confine() -> Result<String, LinksError> {
    let keep = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    for capability in CapabilitySet::all().difference(keep).iter() {
        // An error means that this kernel has no such capability.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)
                .map_err(|e| LinksError::io("drop from the bounding set", e))?;
        }
    }
    clear_ambient_capability_set().map_err(|e| LinksError::io("clear ambient capabilities", e))?;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(|e| LinksError::io("drop capabilities", e))?;
    set_no_new_privs(true).map_err(|e| LinksError::io("set no_new_privs", e))?;
    Ok("uid 0, capabilities net_admin and sys_admin, no_new_privs".to_owned())
}

/// Raises the soft limit of descriptors to the hard one: netd holds one for each slot.
///
/// # Errors
/// [`LinksError::System`].
pub fn raise_descriptor_limit() -> Result<(), LinksError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|e| LinksError::io("raise RLIMIT_NOFILE", e))
}
