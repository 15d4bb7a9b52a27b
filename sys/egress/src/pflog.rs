//! Where things are in what bpf(4) collects from pflog(4), on a system whose words have 64 bits: `struct bpf_hdr`
//! (net/bpf.h), `struct pfloghdr` (net/if_pflog.h).

/// Of an interface of such (net/dlt.h).
pub const DLT_PFLOG: u32 = 117;
/// `BPF_ALIGNMENT`.
pub const WORD: usize = 8;
/// Where the `bpf_hdr` has the length of what was kept of the packet.
pub const KEPT: usize = 16;
/// And its own.
pub const BEFORE: usize = 24;
/// Where the `pfloghdr` has what was done.
pub const ACTION: usize = 2;
/// And why.
pub const REASON: usize = 3;
/// And the rule's own number.
pub const RULE: usize = 64;
/// `PF_DROP` (netpfil/pf/pf.h).
pub const DROP: u8 = 1;
/// `PFRES_MAXSTATES`.
pub const MAX_STATES: u8 = 12;
/// `PFRES_SRCLIMIT`.
pub const SOURCE_LIMIT: u8 = 13;
