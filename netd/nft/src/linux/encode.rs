//! The model as nfnetlink messages (linux/netfilter/nf_tables.h). Numbers are in network order, register
//! contents as the kernel loads them.

use std::net::Ipv4Addr;

use warder_desired::IfName;
use warder_linux::netlink::{CREATE, Message, REQUEST};

use crate::model::{
    Base, Chain, Element, Hook, Is, Part, Set, SetKind, State, Step, Table, Transaction, Transport,
    Verdict,
};

const NFTABLES: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const DELSET: u16 = 11;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
/// `NFPROTO_INET`.
pub(super) const INET: u8 = 1;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// `NLM_F_APPEND`: a rule at the end.
const AT_END: u16 = 0x800;
/// The register that nearly everything uses, `NFT_REG_1`; what lies 16 and 20 bytes behind its beginning,
/// `NFT_REG32_04` and `NFT_REG32_05`; and `NFT_REG_VERDICT`.
const REG: u32 = 1;
const REG_AT_16: u32 = 12;
const REG_AT_20: u32 = 13;
const REG_VERDICT: u32 = 0;
const IFNAMSIZ: usize = 16;
/// Name, address and MAC, each filled up to four bytes.
const SOURCE_LENGTH: u32 = 28;

/// The transaction as one batch with its begin and end.
pub(super) fn batch(transaction: &Transaction) -> Vec<Message> {
    let mut messages = Vec::with_capacity(transaction.steps.len() + 2);
    messages.push(edge(BATCH_BEGIN));
    let mut sets = 0;
    for step in &transaction.steps {
        if matches!(step, Step::Set(_)) {
            sets += 1;
        }
        messages.push(encode(transaction.table, step, sets));
    }
    messages.push(edge(BATCH_END));
    messages
}

/// `struct nfgenmsg` with the subsystem the batch is for.
fn edge(kind: u16) -> Message {
    Message::new(kind, REQUEST, &[0, 0, 0, 10])
}

fn new(kind: u16, flags: u16) -> Message {
    Message::new(NFTABLES | kind, REQUEST | flags, &[INET, 0, 0, 0])
}

fn encode(table: Table, step: &Step, set_id: u32) -> Message {
    let table = table.to_string();
    match step {
        Step::Table => new(NEWTABLE, CREATE).text(1, &table).be32(2, 0),
        Step::DropTable => new(DELTABLE, 0).text(1, &table),
        Step::Set(set) => new_set(&table, set, set_id),
        Step::Empty(set) => new(DELSETELEM, 0).text(1, &table).text(2, set),
        Step::DropSet(set) => new(DELSET, 0).text(1, &table).text(2, set),
        Step::Chain(chain) => new_chain(&table, chain),
        Step::Flush(chain) => new(DELRULE, 0).text(1, &table).text(2, chain),
        // NFTA_CHAIN_TABLE, _NAME.
        Step::DropChain(chain) => new(DELCHAIN, 0).text(1, &table).text(3, chain),
        // NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS.
        Step::Rule(chain, parts) => new(NEWRULE, CREATE | AT_END)
            .text(1, &table)
            .text(2, chain)
            .nest(4, |m| parts.iter().fold(m, part)),
        Step::Add(set, all) => elements(new(NEWSETELEM, CREATE), &table, set, all, true),
        Step::Remove(set, all) => elements(new(DELSETELEM, 0), &table, set, all, false),
    }
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    let message = new(NEWCHAIN, CREATE).text(1, table).text(3, &chain.name);
    let Some(base) = chain.base else {
        return message;
    };
    let Base {
        nat,
        hook,
        priority,
        policy,
    } = base;
    let hook = match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    // NFTA_CHAIN_HOOK { _HOOKNUM, _PRIORITY }, NFTA_CHAIN_TYPE, NFTA_CHAIN_POLICY.
    message
        .nest(4, |m| m.be32(1, hook).be32(2, priority.cast_unsigned()))
        .text(7, if nat { "nat" } else { "filter" })
        .be32(5, code(policy))
}

/// `NF_DROP`, `NF_ACCEPT`, `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`.
fn code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Jump(_) => (-3_i32).cast_unsigned(),
        Verdict::Goto(_) => (-4_i32).cast_unsigned(),
        Verdict::Return => (-5_i32).cast_unsigned(),
    }
}

fn new_set(table: &str, set: &Set, id: u32) -> Message {
    const INTERVAL: u32 = 0x04;
    const MAP: u32 = 0x08;
    const TIMEOUT: u32 = 0x10;
    const EVAL: u32 = 0x20;
    const VERDICT: u32 = 0xffff_ff00;
    // nft's own numbers for types, so that it lists them well.
    const ADDRESS: u32 = 7;
    const ETHER: u32 = 9;
    const MARK: u32 = 19;
    const IFNAME: u32 = 41;
    const SOURCE: u32 = IFNAME << 12 | ADDRESS << 6 | ETHER;
    let (flags, kind, length) = match set.kind {
        SetKind::Ranges => (INTERVAL, ADDRESS, 4),
        SetKind::Addresses => (0, ADDRESS, 4),
        SetKind::Marks => (0, MARK, 4),
        SetKind::Names => (0, IFNAME, 16),
        SetKind::Sources => (MAP, SOURCE, SOURCE_LENGTH),
        SetKind::Verdicts => (MAP, MARK, 4),
        SetKind::Rates => (TIMEOUT | EVAL, MARK, 4),
    };
    // NFTA_SET_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LEN.
    let message = new(NEWSET, CREATE)
        .text(1, table)
        .text(2, &set.name)
        .be32(3, flags)
        .be32(4, kind)
        .be32(5, length);
    // NFTA_SET_DATA_TYPE, _DATA_LEN; _DESC { NFTA_SET_DESC_SIZE }.
    let message = match set.kind {
        SetKind::Sources => message.be32(6, MARK).be32(7, 4),
        SetKind::Verdicts => message.be32(6, VERDICT),
        SetKind::Rates => message.nest(9, |m| m.be32(1, Part::RATES)),
        _ => message,
    };
    // Notes nft keeps for itself, so that it lists them right: keys, and data, in host order.
    let message = match set.kind {
        SetKind::Ranges | SetKind::Addresses => message,
        SetKind::Sources => message.bytes(13, &[1, 4, 1, 0, 0, 0]),
        _ => message.bytes(13, &[0, 4, 1, 0, 0, 0]),
    };
    // NFTA_SET_ID.
    message.be32(10, id)
}

/// NFTA_SET_ELEM_LIST_TABLE, _SET, _ELEMENTS; with what they map to only if they are new.
fn elements(message: Message, table: &str, set: &str, all: &[Element], new: bool) -> Message {
    let message = message.text(1, table).text(2, set);
    message.nest(3, |m| all.iter().fold(m, |m, one| element(m, one, new)))
}

/// NFTA_LIST_ELEM { NFTA_SET_ELEM_KEY, _DATA, _FLAGS, _EXPR }.
fn element(message: Message, element: &Element, new: bool) -> Message {
    let message = message.nest(1, |m| {
        let m = key(m, &key_of(element));
        if new { rest(m, element) } else { m }
    });
    // The end is the first address outside; a range to the last address of all has none.
    match element {
        Element::Range(range) => match u32::from(range.last).checked_add(1) {
            Some(end) => message.nest(1, |m| key(m, &Ipv4Addr::from(end).octets()).be32(3, 1)),
            None => message,
        },
        _ => message,
    }
}

fn key_of(element: &Element) -> Vec<u8> {
    match element {
        Element::Range(range) => range.first.octets().to_vec(),
        Element::Address(address) => address.octets().to_vec(),
        Element::Mark(mark)
        | Element::OverRate(mark, _)
        | Element::OverPackets(mark, _)
        | Element::OverFlows(mark, _)
        | Element::Jump(mark, _) => mark.to_ne_bytes().to_vec(),
        Element::Name(name) => padded(name).to_vec(),
        Element::Source(port) => {
            // Each part fills whole words.
            let mut bytes = padded(&port.name).to_vec();
            bytes.extend(port.address.octets());
            bytes.extend(port.mac);
            bytes.extend([0; 2]);
            bytes
        }
    }
}

/// What belongs to an element beside its key.
fn rest(m: Message, element: &Element) -> Message {
    // NFTA_EXPR_NAME, NFTA_EXPR_DATA.
    let condition = |m: Message, name, data: &dyn Fn(Message) -> Message| {
        m.nest(7, |m| m.text(1, name).nest(2, data))
    };
    match element {
        // NFTA_LIMIT_TYPE (bytes), _FLAGS (over).
        Element::OverRate(_, bytes) => condition(m, "limit", &|m| {
            limit(m, *bytes, Part::BURST).be32(4, 1).be32(5, 1)
        }),
        Element::OverPackets(_, packets) => condition(m, "limit", &|m| {
            limit(m, u64::from(*packets), *packets).be32(5, 1)
        }),
        // NFTA_CONNLIMIT_COUNT, _FLAGS (over).
        Element::OverFlows(_, flows) => {
            condition(m, "connlimit", &|m| m.be32(1, *flows).be32(2, 1))
        }
        // NFTA_DATA_VALUE.
        Element::Source(port) => m.nest(2, |m| m.bytes(1, &port.mark.to_ne_bytes())),
        // NFTA_DATA_VERDICT { NFTA_VERDICT_CODE, _CHAIN }.
        Element::Jump(_, chain) => m.nest(2, |m| {
            m.nest(2, |m| m.be32(1, code(Verdict::Jump(""))).text(2, chain))
        }),
        Element::Range(_) | Element::Address(_) | Element::Mark(_) | Element::Name(_) => m,
    }
}

fn key(message: Message, bytes: &[u8]) -> Message {
    message.nest(1, |m| m.bytes(1, bytes))
}

fn padded(name: &IfName) -> [u8; IFNAMSIZ] {
    let mut bytes = [0; IFNAMSIZ];
    bytes[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    bytes
}

/// NFTA_LIST_ELEM { NFTA_EXPR_NAME, NFTA_EXPR_DATA }.
fn expr(message: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    message.nest(1, |m| m.text(1, name).nest(2, fill))
}

const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_MARK: u32 = 3;

fn part(m: Message, part: &Part) -> Message {
    const CT_STATE: u32 = 0;
    const CT_DIRECTION: u32 = 1;
    const CT_DST_IP: u32 = 20;
    const ICMP: u8 = 1;
    let set_mark = |m| expr(m, "meta", |m| m.be32(2, META_MARK).be32(3, REG));
    match part {
        Part::Ipv4(is) => compare(meta(m, META_NFPROTO), *is, &[IPV4]),
        Part::Iif(is, name) => compare(meta(m, META_IIFNAME), *is, &padded(name)),
        Part::Oif(is, name) => compare(meta(m, META_OIFNAME), *is, &padded(name)),
        Part::IifIn(set) => lookup(meta(m, META_IIFNAME), Is::Equal, set),
        Part::Source(is, address) => compare(payload(m, 1, 12, 4), *is, &address.octets()),
        Part::DestinationIn(set) => lookup(payload(m, 1, 16, 4), Is::Equal, set),
        Part::FlowDestinationIn(set) => {
            // NFTA_CT_DREG, _KEY, _DIRECTION: the original one.
            let m = expr(m, "ct", |m| {
                m.be32(1, REG).be32(2, CT_DST_IP).bytes(3, &[0])
            });
            lookup(m, Is::Equal, set)
        }
        Part::DestinationNotUnicast => {
            // NFTA_FIB_DREG, _RESULT (address type), _FLAGS (destination address); RTN_UNICAST is 1.
            let m = expr(m, "fib", |m| m.be32(1, REG).be32(2, 3).be32(3, 2));
            compare(m, Is::Not, &1_u32.to_ne_bytes())
        }
        Part::Transport(transport) => protocol(m, number(*transport)),
        Part::Icmp => protocol(m, ICMP),
        Part::SourcePort(transport, port) => {
            let m = payload(protocol(m, number(*transport)), 2, 0, 2);
            compare(m, Is::Equal, &port.to_be_bytes())
        }
        Part::DestinationPort(is, transport, port) => {
            let m = payload(protocol(m, number(*transport)), 2, 2, 2);
            compare(m, *is, &port.to_be_bytes())
        }
        // NFT_CMP_GT.
        Part::Longer(bytes) => compared(payload(m, 1, 2, 2), 4, &bytes.to_be_bytes()),
        Part::TcpNotSyn => flags(m, 2, Is::Equal),
        Part::TcpReset => flags(m, 4, Is::Not),
        Part::State(state) => {
            let bits: u32 = match state {
                State::Invalid => 1,
                State::Known => 2 | 4,
            };
            some_of(ct(m, CT_STATE), Is::Not, bits)
        }
        // IP_CT_DIR_REPLY.
        Part::Reply => compare(ct(m, CT_DIRECTION), Is::Equal, &[1]),
        Part::Mark(is, bits) => some_of(meta(m, META_MARK), *is, *bits),
        Part::MarkIn(is, set) => lookup(sandbox(meta(m, META_MARK)), *is, set),
        Part::FlowMark(is, bits) => some_of(ct(m, CT_MARK), *is, *bits),
        Part::FlowMarkIn(is, set) => lookup(sandbox(ct(m, CT_MARK)), *is, set),
        Part::MarkVerdict(map) => map_to(sandbox(meta(m, META_MARK)), map, REG_VERDICT),
        Part::MarkBySource(map) => {
            // Side by side: 16, 4 and 6 bytes.
            let m = meta(m, META_IIFNAME);
            let m = payload_to(m, REG_AT_16, 1, 12, 4);
            let m = payload_to(m, REG_AT_20, 0, 6, 6);
            set_mark(map_to(m, map, REG))
        }
        Part::MarkByFlow(bits) => {
            let m = bitwise(ct(m, CT_MARK), &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
            set_mark(m)
        }
        // NFTA_IMMEDIATE_DREG, _DATA { NFTA_DATA_VALUE }; NFTA_META_KEY, _SREG.
        Part::SetMark(mark) => set_mark(immediate(m, &mark.to_ne_bytes())),
        Part::AddMark(bits) => {
            let m = bitwise(
                meta(m, META_MARK),
                &(!bits).to_ne_bytes(),
                &bits.to_ne_bytes(),
            );
            set_mark(m)
        }
        Part::MarkFlow(bits) => {
            // NFTA_CT_KEY, _SREG.
            let m = bitwise(meta(m, META_MARK), &bits.to_ne_bytes(), &[0; 4]);
            expr(m, "ct", |m| m.be32(2, CT_MARK).be32(4, REG))
        }
        Part::Seldom(set) => seldom(m, set),
        // NFTA_LOG_GROUP, _PREFIX, _SNAPLEN.
        Part::Log(word) => expr(m, "log", |m| {
            m.bytes(1, &Part::LOG_GROUP.to_be_bytes())
                .text(2, word)
                .be32(3, Part::LOG_BYTES)
        }),
        // NFTA_TPROXY_FAMILY, _REG_PORT.
        Part::Divert(port) => expr(immediate(m, &port.to_be_bytes()), "tproxy", |m| {
            m.be32(1, u32::from(IPV4)).be32(3, REG)
        }),
        Part::Masquerade => expr(m, "masq", |m| m),
        // NFTA_REJECT_TYPE, _ICMP_CODE.
        Part::Reset => expr(m, "reject", |m| m.be32(1, 1).bytes(2, &[0])),
        Part::Prohibited => expr(m, "reject", |m| m.be32(1, 2).bytes(2, &[3])),
        Part::Verdict(verdict) => expr(m, "immediate", |m| {
            m.be32(1, REG_VERDICT).nest(2, |m| {
                m.nest(2, |m| {
                    let m = m.be32(1, code(*verdict));
                    match verdict {
                        Verdict::Goto(chain) | Verdict::Jump(chain) => m.text(2, chain),
                        Verdict::Accept | Verdict::Drop | Verdict::Return => m,
                    }
                })
            })
        }),
    }
}

/// `IPPROTO_TCP`, `IPPROTO_UDP`.
fn number(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

fn protocol(m: Message, number: u8) -> Message {
    compare(meta(m, META_L4PROTO), Is::Equal, &[number])
}

/// TCP, and whether these of its flags are all off.
fn flags(m: Message, bits: u8, is: Is) -> Message {
    let m = payload(protocol(m, number(Transport::Tcp)), 2, 13, 1);
    compare(bitwise(m, &[bits], &[0]), is, &[0])
}

/// NFTA_META_DREG, _KEY.
fn meta(m: Message, key: u32) -> Message {
    expr(m, "meta", |m| m.be32(1, REG).be32(2, key))
}

/// NFTA_CT_DREG, _KEY.
fn ct(m: Message, key: u32) -> Message {
    expr(m, "ct", |m| m.be32(1, REG).be32(2, key))
}

/// Of a mark, the sandbox alone.
fn sandbox(m: Message) -> Message {
    bitwise(m, &Part::SANDBOX.to_ne_bytes(), &[0; 4])
}

/// Whether these bits are all zero, or not.
fn some_of(m: Message, is: Is, bits: u32) -> Message {
    compare(bitwise(m, &bits.to_ne_bytes(), &[0; 4]), is, &[0; 4])
}

/// NFTA_IMMEDIATE_DREG, _DATA { NFTA_DATA_VALUE }.
fn immediate(m: Message, value: &[u8]) -> Message {
    expr(m, "immediate", |m| {
        m.be32(1, REG).nest(2, |m| m.bytes(1, value))
    })
}

/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
fn compare(m: Message, is: Is, value: &[u8]) -> Message {
    let op = match is {
        Is::Equal => 0,
        Is::Not => 1,
    };
    compared(m, op, value)
}

/// NFTA_CMP_SREG, _OP, _DATA.
fn compared(m: Message, op: u32, value: &[u8]) -> Message {
    expr(m, "cmp", |m| {
        m.be32(1, REG).be32(2, op).nest(3, |m| m.bytes(1, value))
    })
}

fn payload(m: Message, base: u32, offset: u32, length: u32) -> Message {
    payload_to(m, REG, base, offset, length)
}

/// NFTA_PAYLOAD_DREG, _BASE (0 link, 1 network, 2 transport), _OFFSET, _LEN.
fn payload_to(m: Message, reg: u32, base: u32, offset: u32, length: u32) -> Message {
    expr(m, "payload", |m| {
        m.be32(1, reg).be32(2, base).be32(3, offset).be32(4, length)
    })
}

/// NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR.
fn bitwise(m: Message, mask: &[u8], xor: &[u8]) -> Message {
    let length = if mask.len() == 1 { 1 } else { 4 };
    expr(m, "bitwise", |m| {
        m.be32(1, REG)
            .be32(2, REG)
            .be32(3, length)
            .nest(4, |m| m.bytes(1, mask))
            .nest(5, |m| m.bytes(1, xor))
    })
}

/// NFTA_LIMIT_RATE, _UNIT (one second), _BURST.
fn limit(m: Message, rate: u64, burst: u32) -> Message {
    m.bytes(1, &rate.to_be_bytes())
        .bytes(2, &1_u64.to_be_bytes())
        .be32(3, burst)
}

/// NFTA_DYNSET_SET_NAME, _OP (update), _SREG_KEY, _TIMEOUT (milliseconds), _EXPR.
fn seldom(m: Message, set: &str) -> Message {
    let kept = u64::from(Part::SELDOM_KEPT) * 1000;
    expr(sandbox(meta(m, META_MARK)), "dynset", |m| {
        m.text(1, set)
            .be32(3, 1)
            .be32(4, REG)
            .bytes(6, &kept.to_be_bytes())
            .nest(7, |m| {
                // NFTA_EXPR_NAME, NFTA_EXPR_DATA.
                m.text(1, "limit")
                    .nest(2, |m| limit(m, u64::from(Part::SELDOM), Part::SELDOM))
            })
    })
}

/// NFTA_LOOKUP_SET, _SREG, _FLAGS (inverted).
fn lookup(m: Message, is: Is, set: &str) -> Message {
    expr(m, "lookup", |m| {
        let m = m.text(1, set).be32(2, REG);
        if is == Is::Not { m.be32(5, 1) } else { m }
    })
}

/// NFTA_LOOKUP_SET, _SREG, _DREG.
fn map_to(m: Message, map: &str, reg: u32) -> Message {
    expr(m, "lookup", |m| m.text(1, map).be32(2, REG).be32(3, reg))
}
