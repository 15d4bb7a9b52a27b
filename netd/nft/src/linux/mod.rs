//! The kernel side: transactions to bytes, flows by mark.

mod encode;
mod entry;

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use warder_linux::netlink::{ACK, Message, NetlinkError, Protocol, REQUEST, Socket, attrs_after};

use crate::NftError;
use crate::flow::Flow;
use crate::model::{Part, Table, Transaction};

/// `NFNL_SUBSYS_NFTABLES` << 8 with `NFT_MSG_GETTABLE`, `_GETCHAIN`, `_GETRULE`, and `_GETGEN`.
const LISTED: [u16; 3] = [0x0a01, 0x0a04, 0x0a07];
const GENERATION: u16 = 0x0a10;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and `NFTA_RULE_TABLE` are one number; `NFTA_GEN_ID`.
const NAME: u16 = 1;
const GENERATION_ID: u16 = 1;

/// `NFNL_SUBSYS_CTNETLINK` << 8 with the message number of `enum cntl_msg_types`.
const FLOWS_GET: u16 = 0x0101;
const FLOWS_DELETE: u16 = 0x0102;
const FLOWS_COUNT: u16 = 0x0105;
/// `CTA_STATS_GLOBAL_ENTRIES` of `enum ctattr_stats_global`.
const GLOBAL_ENTRIES: u16 = 1;
/// Deletions before giving up; a packet already past the rules can confirm a flow behind the first.
const ROUNDS: u32 = 8;
/// Deletions in one request; their answers fit the socket's buffer.
const AT_ONCE: usize = 256;

/// A way to the packet filter of one network namespace. It keeps one socket: closing a netfilter socket
/// soon after a deletion waits for the kernel to finish it, milliseconds later.
#[derive(Debug)]
pub struct Session {
    socket: Socket,
}

impl Session {
    /// Of the calling thread's namespace.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn open() -> Result<Self, NftError> {
        let socket = Socket::open(Protocol::Netfilter).map_err(|e| kernel("netlink", e))?;
        Ok(Self { socket })
    }

    /// Of the namespace `ns`.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn open_in(ns: BorrowedFd<'_>) -> Result<Self, NftError> {
        let socket = Socket::open_in(ns, Protocol::Netfilter).map_err(|e| kernel("netlink", e))?;
        Ok(Self { socket })
    }

    /// Puts a transaction in force, all of it or nothing.
    ///
    /// # Errors
    /// [`NftError::Kernel`]; the session should be opened anew then.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), NftError> {
        self.socket
            .batch(encode::batch(transaction))
            .map_err(|e| kernel("nftables", e))
    }

    /// Deletes the flows of the sandbox `mark` that `keep` does not want, as often as it takes until a look at all
    /// flows finds none. The look is a walk over the host's whole flow table, milliseconds on a large host.
    ///
    /// # Errors
    /// [`NftError::Kernel`]; [`NftError::FlowsLeft`].
    pub fn end_flows(&mut self, mark: u32, keep: impl Fn(&Flow) -> bool) -> Result<(), NftError> {
        let mut left = 0;
        for _ in 0..ROUNDS {
            if self.has_none()? {
                return Ok(());
            }
            let unwanted = self.unwanted(mark, &keep)?;
            if unwanted.is_empty() {
                return Ok(());
            }
            left = u32::try_from(unwanted.len()).unwrap_or(u32::MAX);
            for some in unwanted.chunks(AT_ONCE) {
                self.socket
                    .ack_all(some.to_vec(), libc::ENOENT)
                    .map_err(|e| kernel("conntrack", e))?;
            }
        }
        Err(NftError::FlowsLeft(left))
    }

    /// Requests to delete what `keep` does not want, or what cannot be read.
    fn unwanted(
        &mut self,
        mark: u32,
        keep: &impl Fn(&Flow) -> bool,
    ) -> Result<Vec<Message>, NftError> {
        let mut unwanted = Vec::new();
        self.socket
            .dump(&by_mark(FLOWS_GET, REQUEST, mark), |_, payload| {
                if !entry::flow(payload).is_some_and(|flow| keep(&flow)) {
                    unwanted.extend(entry::delete(FLOWS_DELETE, payload));
                }
            })
            .map_err(|e| kernel("conntrack", e))?;
        Ok(unwanted)
    }

    /// Deletes the flows that carry `mark` without a look afterwards: for a sandbox whose rules are gone, so
    /// that nothing passes whatever flows there are. Twice, for what was between rules and table.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn drop_flows(&mut self, mark: u32) -> Result<(), NftError> {
        self.delete(mark)?;
        self.delete(mark)
    }

    fn delete(&mut self, mark: u32) -> Result<(), NftError> {
        let delete = by_mark(FLOWS_DELETE, REQUEST | ACK, mark);
        self.socket.ack(delete).map_err(|e| kernel("conntrack", e))
    }

    /// Whether the namespace has no flow at all, which is known without a walk.
    fn has_none(&mut self) -> Result<bool, NftError> {
        let mut none = false;
        self.socket
            .get(Message::new(FLOWS_COUNT, REQUEST, &[0; 4]), |_, payload| {
                none = attrs_after(payload, 4)
                    .any(|(kind, value)| kind == GLOBAL_ENTRIES && value == [0; 4]);
            })
            .map_err(|e| kernel("conntrack", e))?;
        Ok(none)
    }

    /// Deletes all flows of the namespace.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn drop_all(&mut self) -> Result<(), NftError> {
        let delete = || Message::new(FLOWS_DELETE, REQUEST | ACK, &[0; 4]);
        let twice = self.socket.ack(delete());
        let twice = twice.and_then(|()| self.socket.ack(delete()));
        twice.map_err(|e| kernel("conntrack", e))
    }

    /// What rises with every change of any rule of the namespace.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn generation(&mut self) -> Result<u32, NftError> {
        let mut generation = 0;
        let ask = Message::new(GENERATION, REQUEST, &[0; 4]);
        let asked = self.socket.get(ask, |_, payload| {
            let mut all = attrs_after(payload, 4);
            let id = all.find_map(|(kind, value)| (kind == GENERATION_ID).then_some(value));
            let id = id.and_then(|value| Some(u32::from_be_bytes(*value.first_chunk()?)));
            generation = id.unwrap_or(generation);
        });
        asked.map_err(|e| kernel("nftables", e))?;
        Ok(generation)
    }

    /// A table as the kernel tells it, its chains and rules included and what is in its sets left out. Nothing, if there
    /// is no such table.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn told(&mut self, table: Table) -> Result<BTreeSet<Vec<u8>>, NftError> {
        let mut told = BTreeSet::new();
        let mut name = table.to_string().into_bytes();
        name.push(0);
        for kind in LISTED {
            // Rules are told of this table alone, tables and chains of all of its family (nf_tables_api.c).
            let ask = Message::new(kind, REQUEST, &[encode::INET, 0, 0, 0]);
            let ask = ask.text(NAME, &table.to_string());
            let asked = self.socket.dump(&ask, |kind, payload| {
                let own = |(kind, value): (u16, &[u8])| kind == NAME && value == name;
                // What comes first has the generation in it.
                if let Some(rest) = payload.get(4..)
                    && attrs_after(payload, 4).any(own)
                {
                    told.insert([&kind.to_ne_bytes(), rest].concat());
                }
            });
            asked.map_err(|e| kernel("nftables", e))?;
        }
        Ok(told)
    }

    /// How many flows carry `mark`.
    ///
    /// # Errors
    /// [`NftError::Kernel`].
    pub fn flows(&mut self, mark: u32) -> Result<u32, NftError> {
        let mut count = 0;
        self.socket
            .dump(&by_mark(FLOWS_GET, REQUEST, mark), |_, _| count += 1)
            .map_err(|e| kernel("conntrack", e))?;
        Ok(count)
    }
}

/// `struct nfgenmsg` of any family, and a sandbox to match.
fn by_mark(kind: u16, flags: u16, mark: u32) -> Message {
    Message::new(kind, flags, &[0; 4])
        .be32(entry::MARK, mark & Part::SANDBOX)
        .be32(entry::MARK_MASK, Part::SANDBOX)
}

fn kernel(what: &'static str, error: NetlinkError) -> NftError {
    NftError::Kernel {
        what,
        source: Box::new(error),
    }
}
