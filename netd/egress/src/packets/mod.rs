//! Packets that the rules in the kernel have refused, as its log shows them.

use std::sync::Arc;

use warder_egress_sys::{LogFormat, PacketLog};
use warder_wire::Policy;
use warder_wire::egress_gateway::Why;

use crate::egress::Egress;
use packet::{Packet, Word};

pub(crate) mod nflog;
mod packet;
pub(crate) mod pflog;

/// Tells of every packet in the log, until the log ends.
pub(crate) async fn follow(egress: Arc<Egress>, log: PacketLog) {
    let mut buffer = vec![0; log.piece()];
    loop {
        match log.recv(&mut buffer).await {
            Ok(length) => {
                let each = |packet| refused(&egress, &packet);
                match PacketLog::FORMAT {
                    LogFormat::Nflog => nflog::packets(&buffer[..length], each),
                    LogFormat::Pflog => pflog::packets(&buffer[..length], each),
                }
            }
            // The kernel had no room for some: there are more.
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
            {
                egress.events.dropped();
            }
            Err(error) => {
                eprintln!("egressd: refused packets are not told of any more: {error}");
                return;
            }
        }
    }
}

fn refused(egress: &Egress, packet: &Packet) {
    // The log has packets to sandboxes too, of flows that were forbidden meanwhile.
    let Some(sandbox) = egress.sandboxes.at(packet.from) else {
        return;
    };
    let (_, policy) = sandbox.flows.policy();
    if let Some(why) = why(egress, &policy, packet) {
        let to = (packet.to, packet.port);
        egress.events.packet(&sandbox, packet.protocol, to, why);
    }
}

/// By the rules' own word, and by the policy for which of its rules it was; `None` if that allows it by now.
fn why(egress: &Egress, policy: &Policy, packet: &Packet) -> Option<Why> {
    match (packet.word, policy.judge(&egress.never, packet.to)) {
        (Some(Word::Quic), _) => Some(Why::Quic),
        (Some(Word::TooMany), _) => Some(Why::TooMany),
        (_, (false, rule)) => Some(Why::Address(rule)),
        (_, (true, _)) => None,
    }
}
