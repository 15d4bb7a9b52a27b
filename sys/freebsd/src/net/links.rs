//! Interfaces that bear a description from the moment they are there (rtnetlink(4)): one whose maker was killed before it had
//! its name and its groups is found by that.

use rustix::io::{Errno, Result};
use warder_netlink::{Message, attrs, attrs_after};

use super::generic::{ACK, DUMP, GenericError, Netlink, REQUEST};
use super::request::text;

/// `NETLINK_ROUTE` (netlink/netlink.h).
pub const ROUTE: u32 = 0;
/// `NL_RTM_NEWLINK` (netlink/route/common.h).
pub const NEW: u16 = 16;
/// `NL_RTM_GETLINK`.
pub const GET: u16 = 18;
/// `NLM_F_CREATE` with `NLM_F_EXCL` (netlink/netlink.h).
pub const CREATE: u16 = 0x600;
/// `IFLA_IFNAME` (netlink/route/interface.h).
pub const NAME: u16 = 3;
/// `IFLA_LINKINFO`.
pub const INFO: u16 = 18;
/// `IFLA_INFO_KIND`, within that.
pub const KIND: u16 = 1;
/// `IFLA_IFALIAS`.
pub const DESCRIPTION: u16 = 20;
/// Length of a `struct ifinfomsg`, all zero here: to be down.
const HEADER: [u8; 16] = [0; 16];
/// Length of a `struct nlmsgerr` (netlink/netlink.h) without the message that it is about.
pub const ACKNOWLEDGED: usize = 20;
/// Behind it: `NLMSGERR_ATTR_COOKIE`.
pub const COOKIE: u16 = 3;

/// The interfaces of the calling process's stack.
#[derive(Debug)]
pub struct Links(Netlink);

impl Links {
    /// Opens a socket for them.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> Result<Self> {
        Netlink::open(ROUTE).map(Self).map_err(errno)
    }

    /// As [`super::Stack::create`], of the name given or of any of a kind, with a description (ifconfig(8), `description`).
    ///
    /// # Errors
    /// As there.
    pub fn create(&mut self, kind: &str, name: &str, description: &str) -> Result<String> {
        let message = Message::new(NEW, REQUEST | ACK | CREATE, &HEADER)
            .text(NAME, name)
            .nest(INFO, |m| m.text(KIND, kind))
            .text(DESCRIPTION, description);
        let said = self.0.talk(message, |_| ()).map_err(errno)?;
        let made = attrs_after(&said, ACKNOWLEDGED).find(|(kind, _)| *kind == COOKIE);
        let made = made.and_then(|(_, inner)| of(attrs(inner), NAME));
        made.ok_or(Errno::PROTO)
    }

    /// The names of those that bear a description.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn described(&mut self, description: &str) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let asked = Message::new(GET, REQUEST | DUMP, &HEADER);
        let listed = self.0.talk(asked, |link| {
            let attr = |kind| of(attrs_after(link, HEADER.len()), kind);
            if attr(DESCRIPTION).as_deref() == Some(description) {
                all.extend(attr(NAME));
            }
        });
        listed.map(|_| all).map_err(errno)
    }
}

/// An attribute that is a text.
fn of<'a>(mut attrs: impl Iterator<Item = (u16, &'a [u8])>, kind: u16) -> Option<String> {
    attrs
        .find(|(is, _)| *is == kind)
        .map(|(_, value)| text(value))
}

fn errno(error: GenericError) -> Errno {
    match error {
        GenericError::System { errno, .. } | GenericError::Refused(errno) => errno,
        GenericError::Answer => Errno::PROTO,
    }
}
