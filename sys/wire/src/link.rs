//! Between the gateway (zone 1) and `envd` in a sandbox (zone 0): how a stream is asked for.
//!
//! The guest is hostile: whatever it sends is checked, including the kind of every descriptor. Where no descriptor can
//! be passed, in a virtual machine, the link is one stream of bytes, on which `warder-mux` is spoken instead.

use serde::{Deserialize, Serialize};

/// What the gateway asks of the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Serve HTTP/1.1 on the stream socket that rides along. Not answered; the agent just begins.
    Serve {
        /// What may be asked on it.
        role: Role,
    },
    /// Connect to a TCP port inside the sandbox and send the connected socket back.
    /// Answer: [`Reply::Connected`] or [`Reply::Refused`] with the same ticket.
    Connect {
        /// Chosen by the gateway.
        ticket: u64,
        /// 1 to 65535, except the agent's own.
        port: u16,
    },
}

/// What may be asked on a stream.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Role {
    /// E2B's public agent API, on behalf of a client.
    Client,
    /// The same and `/init`, for the gateway itself.
    Control,
}

/// What the agent answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Reply {
    /// The connected socket rides along.
    Connected {
        /// Of the request.
        ticket: u64,
    },
    /// No connection.
    Refused {
        /// Of the request.
        ticket: u64,
        /// Why.
        reason: Refusal,
    },
}

/// Why a port could not be reached.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Refusal {
    /// Nothing listens there.
    Closed,
    /// It did not answer in time.
    TimedOut,
    /// The agent has no descriptor or memory left.
    Exhausted,
}
