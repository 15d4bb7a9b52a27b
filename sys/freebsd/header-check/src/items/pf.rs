//! Of `warder_pf`, of what egressd asks pf(4) and reads from pflog(4), and of what netd hands it for that.

#[cfg(target_os = "freebsd")]
use warder_egress_sys::{natlook, pflog};
#[cfg(target_os = "freebsd")]
use warder_freebsd::net::sockets::{self, Instruction, Program};
#[cfg(target_os = "freebsd")]
use warder_freebsd::net::tables::{self, Tables};
#[cfg(target_os = "freebsd")]
use warder_pf::{filter, pulse, states};

use super::{constant, meant, offset, size};
use crate::program::Item;

/// pf's netlink grew from release to release. Where the kernel knows less it says so, and so do the headers.
const MORE_NETLINK: u32 = 1_500_000;

// netd limits the descriptor to what egressd asks by it.
meant!(sockets::NATLOOK, 0xc04c_4417);
meant!(sockets::GET_BUFFER, 0x4004_4266);
meant!(sockets::GET_KIND, 0x4004_426a);
meant!(sockets::GET_COUNTS, 0x4008_426f);
// The same numbers by other names.
meant!(natlook::INET, 2);
meant!(natlook::OUT, 2);

pub(super) const ITEMS: &[Item] = &[
    constant!("net/pfvar.h", natlook::DIOCNATLOOK = 0xc04c_4417),
    size!("net/pfvar.h", "struct pfioc_natlook", const natlook::LENGTH = 76),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "saddr",
        natlook::SOURCE = 0
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "daddr",
        natlook::DESTINATION = 16
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "rdaddr",
        natlook::REAL_DESTINATION = 48
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "sport",
        natlook::SOURCE_PORT = 64
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "dport",
        natlook::DESTINATION_PORT = 66
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "rdport",
        natlook::REAL_DESTINATION_PORT = 70
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "af",
        natlook::FAMILY = 72
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "proto",
        natlook::PROTOCOL = 73
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_natlook",
        "direction",
        natlook::DIRECTION = 74
    ),
    constant!("net/pfvar.h", "DIOCRGETTSTATS", tables::GET = 0xc450_4440),
    constant!("net/pfvar.h", "MAXPATHLEN", tables::PATH = 1024),
    constant!("net/pfvar.h", "PFR_TFLAG_ACTIVE", tables::ACTIVE = 0x4),
    size!("net/pfvar.h", "struct pfioc_table", Tables = 1104),
    offset!(
        "net/pfvar.h",
        "struct pfioc_table",
        "pfrio_table.pfrt_name",
        Tables.table = 1024
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_table",
        "pfrio_buffer",
        Tables.buffer = 1064
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_table",
        "pfrio_esize",
        Tables.entry = 1072
    ),
    offset!(
        "net/pfvar.h",
        "struct pfioc_table",
        "pfrio_size",
        Tables.size = 1076
    ),
    size!("net/pfvar.h", "struct pfr_table" = 1064),
    size!("net/pfvar.h", "struct pfr_tstats", const tables::ENTRY = 1200),
    offset!(
        "net/pfvar.h",
        "struct pfr_tstats",
        "pfrts_t.pfrt_flags",
        tables::FLAGS = 1056
    ),
    offset!(
        "net/pfvar.h",
        "struct pfr_tstats",
        "pfrts_cnt",
        tables::COUNT = 1184
    ),
    constant!("netpfil/pf/pf.h", "PF_IN", states::IN = 1),
    constant!("netpfil/pf/pf.h", "PF_OUT", states::OUT = 2),
    constant!("netpfil/pf/pf.h", "PF_PASS", pulse::KINDS[0] = 0),
    constant!("netpfil/pf/pf.h", "PF_NAT", pulse::KINDS[1] = 4),
    constant!("netpfil/pf/pf.h", "PF_RDR", pulse::KINDS[2] = 8),
    constant!("netpfil/pf/pf.h", "PF_DROP", pflog::DROP = 1),
    constant!("netpfil/pf/pf.h", "PFRES_MAXSTATES", pflog::MAX_STATES = 12),
    constant!(
        "netpfil/pf/pf.h",
        "PFRES_SRCLIMIT",
        pflog::SOURCE_LIMIT = 13
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PFNL_CMD_GETSTATES",
        filter::GET_STATES = 1
    ),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_ID", states::ID = 1),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_CREATORID", states::CREATOR = 2),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_IFNAME", states::INTERFACE = 3),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_ST_ORIG_IFNAME",
        states::ORIGIN = 4
    ),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_KEY_WIRE", states::WIRE = 5),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_KEY_STACK", states::STACK = 6),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_PROTO", states::PROTOCOL = 21),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_ST_DIRECTION",
        states::DIRECTION = 22
    ),
    constant!("netpfil/pf/pf_nl.h", "PF_ST_DNPIPE", states::PIPE = 34),
    constant!("netpfil/pf/pf_nl.h", "PF_STK_ADDR0", states::ADDRESS[0] = 1),
    constant!("netpfil/pf/pf_nl.h", "PF_STK_ADDR1", states::ADDRESS[1] = 2),
    constant!("netpfil/pf/pf_nl.h", "PF_STK_PORT0", states::PORT[0] = 3),
    constant!("netpfil/pf/pf_nl.h", "PF_STK_PORT1", states::PORT[1] = 4),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PFNL_CMD_GETRULES",
        filter::GET_RULES = 6,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_GR_ANCHOR",
        filter::ANCHOR = 1,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_GR_ACTION",
        filter::ACTION = 2,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PFNL_CMD_KILLSTATES",
        filter::KILL_STATES = 9,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_CS_CMP_ID",
        filter::KILL_ID = 1,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_CS_CMP_CREATORID",
        filter::KILL_CREATOR = 2,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_CS_LABEL",
        filter::KILL_LABEL = 10,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PFNL_CMD_GET_STATUS",
        filter::GET_STATUS = 11,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_GS_RUNNING",
        pulse::RUNNING = 2,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_GS_SINCE",
        pulse::SINCE = 3,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_GR_NR",
        pulse::COUNT = 3,
        MORE_NETLINK
    ),
    constant!(
        "netpfil/pf/pf_nl.h",
        "PF_GR_TICKET",
        pulse::TICKET = 4,
        MORE_NETLINK
    ),
    size!("net/if_pflog.h", "struct pfloghdr" = 72),
    offset!("net/if_pflog.h", "struct pfloghdr", "length" = 0),
    offset!(
        "net/if_pflog.h",
        "struct pfloghdr",
        "action",
        pflog::ACTION = 2
    ),
    offset!(
        "net/if_pflog.h",
        "struct pfloghdr",
        "reason",
        pflog::REASON = 3
    ),
    offset!(
        "net/if_pflog.h",
        "struct pfloghdr",
        "ridentifier",
        pflog::RULE = 64
    ),
    offset!("net/bpf.h", "struct bpf_hdr", "bh_caplen", pflog::KEPT = 16),
    offset!(
        "net/bpf.h",
        "struct bpf_hdr",
        "bh_hdrlen",
        pflog::BEFORE = 24
    ),
    constant!("net/bpf.h", "BPF_ALIGNMENT", pflog::WORD = 8),
    constant!("net/bpf.h", pflog::DLT_PFLOG = 117),
    constant!("net/bpf.h", libc::BIOCGBLEN = 0x4004_4266),
    constant!("net/bpf.h", libc::BIOCGDLT = 0x4004_426a),
    constant!("net/bpf.h", libc::BIOCGSTATS = 0x4008_426f),
    constant!("net/bpf.h", "BIOCSBLEN", sockets::SET_BUFFER = 0xc004_4266),
    constant!("net/bpf.h", "BIOCSETF", sockets::SET_FILTER = 0x8010_4267),
    constant!(
        "net/bpf.h",
        "BIOCSETIF",
        sockets::SET_INTERFACE = 0x8020_426c
    ),
    constant!("net/bpf.h", "BIOCIMMEDIATE", sockets::AT_ONCE = 0x8004_4270),
    constant!("net/bpf.h", "BIOCLOCK", sockets::LOCK = 0x2000_427a),
    offset!("net/bpf.h", "struct bpf_stat", "bs_drop" = 4),
    size!("net/bpf.h", "struct bpf_program", Program = 16),
    offset!(
        "net/bpf.h",
        "struct bpf_program",
        "bf_len",
        Program.length = 0
    ),
    offset!(
        "net/bpf.h",
        "struct bpf_program",
        "bf_insns",
        Program.instructions = 8
    ),
    size!("net/bpf.h", "struct bpf_insn", Instruction = 8),
    offset!("net/bpf.h", "struct bpf_insn", "code", Instruction.code = 0),
    offset!("net/bpf.h", "struct bpf_insn", "jt", Instruction.jump = 2),
    offset!("net/bpf.h", "struct bpf_insn", "k", Instruction.value = 4),
    constant!("net/bpf.h", "BPF_RET | BPF_K" = 6),
];
