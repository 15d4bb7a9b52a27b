//! What capability mode must refuse is tried: a kernel that only says that it is on is not believed.

use std::fs::File;
use std::io;
use std::os::unix::net::{UnixDatagram, UnixStream};

use super::{failed, raw};
use crate::ConfineError;

/// A path that is opened, connected to and bound. In a root that is empty, where this user may write nothing.
const PATH: &str = "/warder";

/// Whether this process is in capability mode: by cap_getmode(2), and by trying.
pub(super) fn confined() -> Result<(), ConfineError> {
    if !capsicum::get_mode().map_err(failed("cap_getmode"))? {
        return Err(ConfineError::Refused("capability mode is not on"));
    }
    // Where violations trap (PROC_TRAPCAP_CTL of procctl(2), kern.trap_enotcap), these are meant.
    let trap = raw::mind_traps().map_err(failed("sigaction"))?;
    let tried = [
        File::open(PATH).map(drop),
        UnixStream::connect(PATH).map(drop),
        UnixDatagram::bind(PATH).map(drop),
    ];
    raw::restore_traps(&trap).map_err(failed("sigaction"))?;
    if tried.iter().all(refused) {
        Ok(())
    } else {
        Err(ConfineError::Refused("capability mode refuses nothing"))
    }
}

fn refused(tried: &io::Result<()>) -> bool {
    matches!(tried, Err(error) if error.raw_os_error() == Some(libc::ECAPMODE))
}
