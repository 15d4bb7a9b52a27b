//! The model as nfnetlink messages (linux/netfilter/nf_tables.h). Numbers are in network order, register
//! contents as the kernel loads them.

use std::net::Ipv4Addr;

use warder_linux::netlink::{CREATE, Message, REQUEST};

use crate::model::{
    Base, Chain, Element, Flow, Hook, IfName, Is, Part, Set, SetKind, Step, Table, Transaction,
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
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// `NLM_F_APPEND`: a rule at the end.
const AT_END: u16 = 0x800;
/// The one register that is used, `NFT_REG_1`; and `NFT_REG_VERDICT`.
const REG: u32 = 1;
const REG_VERDICT: u32 = 0;
const IFNAMSIZ: usize = 16;

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
        Step::Set(set) => new_set(&table, *set, set_id),
        Step::Chain(chain) => new_chain(&table, chain),
        Step::Flush(chain) => new(DELRULE, 0).text(1, &table).text(2, chain),
        // NFTA_CHAIN_TABLE, _NAME.
        Step::DropChain(chain) => new(DELCHAIN, 0).text(1, &table).text(3, chain),
        // NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS.
        Step::Rule(chain, parts) => new(NEWRULE, CREATE | AT_END)
            .text(1, &table)
            .text(2, chain)
            .nest(4, |m| parts.iter().fold(m, part)),
        Step::Add(set, elements) => elements_of(new(NEWSETELEM, CREATE), &table, set, |m| {
            elements.iter().fold(m, element)
        }),
        Step::Remove(set, name) => elements_of(new(DELSETELEM, 0), &table, set, |m| {
            m.nest(1, |m| key(m, &padded(name)))
        }),
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
        Hook::Postrouting => 4,
    };
    // NFTA_CHAIN_HOOK { _HOOKNUM, _PRIORITY }, NFTA_CHAIN_TYPE, NFTA_CHAIN_POLICY.
    message
        .nest(4, |m| m.be32(1, hook).be32(2, priority.cast_unsigned()))
        .text(7, if nat { "nat" } else { "filter" })
        .be32(5, code(policy))
}

/// `NF_DROP`, `NF_ACCEPT`, `NFT_GOTO`.
fn code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Goto(_) => (-4_i32).cast_unsigned(),
    }
}

fn new_set(table: &str, set: Set, id: u32) -> Message {
    const INTERVAL: u32 = 4;
    const MAP: u32 = 8;
    // nft's own numbers for types, so that it lists them well: ipv4_addr, ifname; NFT_DATA_VERDICT.
    let (flags, kind, length) = match set.kind {
        SetKind::Ranges => (INTERVAL, 7, 4),
        SetKind::Names => (0, 41, 16),
        SetKind::Verdicts => (MAP, 41, 16),
    };
    // NFTA_SET_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _DATA_TYPE, _ID.
    let message = new(NEWSET, CREATE)
        .text(1, table)
        .text(2, set.name)
        .be32(3, flags)
        .be32(4, kind)
        .be32(5, length);
    let message = if set.kind == SetKind::Verdicts {
        message.be32(6, 0xffff_ff00)
    } else {
        message
    };
    // A note nft keeps for itself: keys in host order, so that it lists names as names.
    let message = if set.kind == SetKind::Ranges {
        message
    } else {
        message.bytes(13, &[0, 4, 1, 0, 0, 0])
    };
    message.be32(10, id)
}

/// NFTA_SET_ELEM_LIST_TABLE, _SET, _ELEMENTS.
fn elements_of(
    message: Message,
    table: &str,
    set: &str,
    fill: impl FnOnce(Message) -> Message,
) -> Message {
    message.text(1, table).text(2, set).nest(3, fill)
}

/// NFTA_LIST_ELEM { NFTA_SET_ELEM_KEY, _DATA, _FLAGS }.
fn element(message: Message, element: &Element) -> Message {
    match element {
        Element::Range(first, last) => {
            let message = message.nest(1, |m| key(m, &first.octets()));
            // The end is the first address outside; a range to the last address of all has none.
            match u32::from(*last).checked_add(1) {
                Some(after) => {
                    message.nest(1, |m| key(m, &Ipv4Addr::from(after).octets()).be32(3, 1))
                }
                None => message,
            }
        }
        Element::Name(name) => message.nest(1, |m| key(m, &padded(name))),
        Element::Goto(name, chain) => message.nest(1, |m| {
            key(m, &padded(name)).nest(2, |m| {
                // NFTA_DATA_VERDICT { NFTA_VERDICT_CODE, _CHAIN }.
                m.nest(2, |m| m.be32(1, code(Verdict::Goto(""))).text(2, chain))
            })
        }),
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

fn part(m: Message, part: &Part) -> Message {
    const META_IIFNAME: u32 = 6;
    const META_OIFNAME: u32 = 7;
    const META_NFPROTO: u32 = 15;
    const META_L4PROTO: u32 = 16;
    const CT_STATE: u32 = 0;
    const CT_MARK: u32 = 3;
    match part {
        Part::NotIpv4 => compare(meta(m, META_NFPROTO), Is::Not, &[IPV4]),
        Part::Iif(is, name) => compare(meta(m, META_IIFNAME), *is, &padded(name)),
        Part::Oif(is, name) => compare(meta(m, META_OIFNAME), *is, &padded(name)),
        Part::OifIn(set) => lookup(meta(m, META_OIFNAME), set, false),
        Part::IifVerdict(map) => lookup(meta(m, META_IIFNAME), map, true),
        Part::Source(is, address) => compare(payload(m, 1, 12, 4), *is, &address.octets()),
        Part::DestinationIn(set) => lookup(payload(m, 1, 16, 4), set, false),
        Part::DestinationNotUnicast => {
            // NFTA_FIB_DREG, _RESULT (address type), _FLAGS (destination address); RTN_UNICAST is 1.
            let m = expr(m, "fib", |m| m.be32(1, REG).be32(2, 3).be32(3, 2));
            compare(m, Is::Not, &1_u32.to_ne_bytes())
        }
        Part::Flow(flow) => {
            let bits: u32 = match flow {
                Flow::Invalid => 1,
                Flow::Known => 2 | 4,
            };
            // NFTA_CT_DREG, _KEY.
            let m = expr(m, "ct", |m| m.be32(1, REG).be32(2, CT_STATE));
            compare(mask(m, &bits.to_ne_bytes()), Is::Not, &[0; 4])
        }
        Part::TcpNotSyn => {
            let m = compare(meta(m, META_L4PROTO), Is::Equal, &[6]);
            compare(mask(payload(m, 2, 13, 1), &[2]), Is::Equal, &[0])
        }
        Part::MarkFlow(mark) => {
            // NFTA_IMMEDIATE_DREG, _DATA { NFTA_DATA_VALUE }; NFTA_CT_KEY, _SREG.
            let m = expr(m, "immediate", |m| {
                m.be32(1, REG).nest(2, |m| m.bytes(1, &mark.to_ne_bytes()))
            });
            expr(m, "ct", |m| m.be32(2, CT_MARK).be32(4, REG))
        }
        Part::Masquerade => expr(m, "masq", |m| m),
        // NFTA_REJECT_TYPE, _ICMP_CODE.
        Part::Reset => expr(m, "reject", |m| m.be32(1, 1).bytes(2, &[0])),
        Part::Prohibited => expr(m, "reject", |m| m.be32(1, 2).bytes(2, &[3])),
        Part::Verdict(verdict) => expr(m, "immediate", |m| {
            m.be32(1, REG_VERDICT).nest(2, |m| {
                m.nest(2, |m| {
                    let m = m.be32(1, code(*verdict));
                    match verdict {
                        Verdict::Goto(chain) => m.text(2, chain),
                        Verdict::Accept | Verdict::Drop => m,
                    }
                })
            })
        }),
    }
}

/// NFTA_META_DREG, _KEY.
fn meta(m: Message, key: u32) -> Message {
    expr(m, "meta", |m| m.be32(1, REG).be32(2, key))
}

/// NFTA_CMP_SREG, _OP, _DATA.
fn compare(m: Message, is: Is, value: &[u8]) -> Message {
    let op = match is {
        Is::Equal => 0,
        Is::Not => 1,
    };
    expr(m, "cmp", |m| {
        m.be32(1, REG).be32(2, op).nest(3, |m| m.bytes(1, value))
    })
}

/// NFTA_PAYLOAD_DREG, _BASE (1 network, 2 transport), _OFFSET, _LEN.
fn payload(m: Message, base: u32, offset: u32, length: u32) -> Message {
    expr(m, "payload", |m| {
        m.be32(1, REG).be32(2, base).be32(3, offset).be32(4, length)
    })
}

/// NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR.
fn mask(m: Message, mask: &[u8]) -> Message {
    let length = if mask.len() == 1 { 1 } else { 4 };
    let zero = [0; 4];
    expr(m, "bitwise", |m| {
        m.be32(1, REG)
            .be32(2, REG)
            .be32(3, length)
            .nest(4, |m| m.bytes(1, mask))
            .nest(5, |m| m.bytes(1, &zero[..mask.len()]))
    })
}

/// NFTA_LOOKUP_SET, _SREG, _DREG.
fn lookup(m: Message, set: &str, verdict: bool) -> Message {
    expr(m, "lookup", |m| {
        let m = m.text(1, set).be32(2, REG);
        if verdict { m.be32(3, REG_VERDICT) } else { m }
    })
}
