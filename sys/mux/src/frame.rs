//! What goes over the wire: eight bytes of head (kind, a zero byte, length of the rest, number of the stream; numbers
//! with the high byte first), then the rest.

use warder_wire::link::{Refusal, Role};

/// Most bytes behind a head.
pub const MOST: usize = 16 * 1024;
/// Most bytes of one stream and direction that the other end has not taken.
pub const WINDOW: usize = 256 * 1024;
/// Length of a head.
pub const HEAD: usize = 8;

/// Where a stream leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// To the agent's own API.
    Agent(Role),
    /// To a TCP port beside the agent.
    Port(u16),
}

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// Opens a stream; only the gateway does, with numbers that grow by one.
    Open(Target),
    /// It is open.
    Opened,
    /// It could not be opened.
    Refused(Refusal),
    /// Bytes, [`MOST`] at most and one at least.
    Data(Vec<u8>),
    /// So many bytes were taken, and as many more may be sent.
    Credit(u32),
    /// No bytes will follow in this direction.
    End,
    /// The stream is over in both.
    Reset,
}

/// Bytes that are no frame. The connection must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a frame: {0}")]
pub struct NotAFrame(&'static str);

const OPEN: u8 = 1;
const OPENED: u8 = 2;
const REFUSED: u8 = 3;
const DATA: u8 = 4;
const CREDIT: u8 = 5;
const END: u8 = 6;
const RESET: u8 = 7;

impl Frame {
    /// Writes it for `stream` behind what `out` holds.
    pub fn encode(&self, stream: u32, out: &mut Vec<u8>) {
        let head = out.len();
        out.extend([0; HEAD]);
        let kind = match self {
            Self::Open(target) => {
                match target {
                    Target::Agent(Role::Client) => out.push(1),
                    Target::Agent(Role::Control) => out.push(2),
                    Target::Port(port) => {
                        out.push(3);
                        out.extend(port.to_be_bytes());
                    }
                }
                OPEN
            }
            Self::Opened => OPENED,
            Self::Refused(refusal) => {
                out.push(match refusal {
                    Refusal::Closed => 1,
                    Refusal::TimedOut => 2,
                    Refusal::Exhausted => 3,
                });
                REFUSED
            }
            Self::Data(bytes) => {
                out.extend(bytes);
                DATA
            }
            Self::Credit(bytes) => {
                out.extend(bytes.to_be_bytes());
                CREDIT
            }
            Self::End => END,
            Self::Reset => RESET,
        };
        let length = u16::try_from(out.len() - head - HEAD).unwrap_or(u16::MAX);
        out[head] = kind;
        out[head + 2..head + 4].copy_from_slice(&length.to_be_bytes());
        out[head + 4..head + 8].copy_from_slice(&stream.to_be_bytes());
    }
}

/// A head that was read: what to read next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    kind: u8,
    /// Bytes that follow.
    pub length: usize,
    /// The stream.
    pub stream: u32,
}

impl Head {
    /// Reads one.
    ///
    /// # Errors
    /// [`NotAFrame`].
    pub fn decode(bytes: [u8; HEAD]) -> Result<Self, NotAFrame> {
        let [kind, zero, l1, l0, s3, s2, s1, s0] = bytes;
        let length = usize::from(u16::from_be_bytes([l1, l0]));
        let fits = match kind {
            OPEN => length == 1 || length == 3,
            REFUSED => length == 1,
            DATA => (1..=MOST).contains(&length),
            CREDIT => length == 4,
            OPENED | END | RESET => length == 0,
            _ => return Err(NotAFrame("unknown kind")),
        };
        if zero != 0 || !fits {
            return Err(NotAFrame("wrong length"));
        }
        let stream = u32::from_be_bytes([s3, s2, s1, s0]);
        Ok(Self {
            kind,
            length,
            stream,
        })
    }

    /// The frame, with the bytes that followed.
    ///
    /// # Errors
    /// [`NotAFrame`].
    pub fn complete(self, rest: Vec<u8>) -> Result<Frame, NotAFrame> {
        if rest.len() != self.length {
            return Err(NotAFrame("cut short"));
        }
        Ok(match (self.kind, rest.as_slice()) {
            (OPEN, [1]) => Frame::Open(Target::Agent(Role::Client)),
            (OPEN, [2]) => Frame::Open(Target::Agent(Role::Control)),
            (OPEN, [3, high, low]) => Frame::Open(Target::Port(u16::from_be_bytes([*high, *low]))),
            (OPENED, []) => Frame::Opened,
            (REFUSED, [1]) => Frame::Refused(Refusal::Closed),
            (REFUSED, [2]) => Frame::Refused(Refusal::TimedOut),
            (REFUSED, [3]) => Frame::Refused(Refusal::Exhausted),
            (DATA, _) => Frame::Data(rest),
            (CREDIT, [a, b, c, d]) => Frame::Credit(u32::from_be_bytes([*a, *b, *c, *d])),
            (END, []) => Frame::End,
            (RESET, []) => Frame::Reset,
            _ => return Err(NotAFrame("unknown value")),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        prop_oneof![
            Just(Frame::Open(Target::Agent(Role::Client))),
            Just(Frame::Open(Target::Agent(Role::Control))),
            any::<u16>().prop_map(|port| Frame::Open(Target::Port(port))),
            Just(Frame::Opened),
            Just(Frame::Refused(Refusal::Closed)),
            Just(Frame::Refused(Refusal::TimedOut)),
            Just(Frame::Refused(Refusal::Exhausted)),
            prop::collection::vec(any::<u8>(), 1..=MOST).prop_map(Frame::Data),
            any::<u32>().prop_map(Frame::Credit),
            Just(Frame::End),
            Just(Frame::Reset),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frame in frames(), stream in any::<u32>()) {
            let mut bytes = Vec::new();
            frame.encode(stream, &mut bytes);
            let head = Head::decode(bytes[..HEAD].try_into().expect("a head")).expect("sound");
            prop_assert_eq!(head.stream, stream);
            prop_assert_eq!(head.complete(bytes[HEAD..].to_vec()).expect("sound"), frame);
        }

        #[test]
        fn no_bytes_panic_or_ask_for_more_than_the_most(head in any::<[u8; HEAD]>(), rest in prop::collection::vec(any::<u8>(), 0..32)) {
            if let Ok(head) = Head::decode(head) {
                prop_assert!(head.length <= MOST);
                let _ = head.complete(rest);
            }
        }
    }
}
