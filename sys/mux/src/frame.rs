//! What is said: the frames, and their bytes before they are packed ([`crate::line`]).
//!
//! A frame is one byte of kind, eight bytes with the number of its stream (0: the connection itself), what its kind
//! says, and four bytes of CRC-32 (as in IEEE 802.3) over all that; numbers have their high byte first.

use warder_wire::link::{Refusal, Role};

/// What both ends must speak. Version 1 had no hello; in version 2 each stream had a whole window from its beginning.
pub const VERSION: u16 = 3;
/// Most bytes of a stream in one frame. Short, because whoever types waits for no more than the frames before him.
pub const MOST: usize = 2 * 1024;
/// Most bytes of one stream and direction that the other end has not taken.
pub const WINDOW: usize = 256 * 1024;
/// So many of them each stream may have from its beginning, and never fewer.
pub const FIRST: usize = 16 * 1024;
/// What all streams of a connection together may have beyond those, in each direction.
pub const SHARED: usize = 8 * 1024 * 1024;
/// What a frame costs of the other end's room beside its packed length in bytes: the device between takes every write
/// in pieces of 128 bytes (FreeBSD's virtio console), and begins a new one for each.
pub const PIECE: usize = 128;
/// The least room there is, in bytes.
pub const LEAST_ROOM: u32 = 4 * 1024;
/// The room that an agent has behind a console, in bytes. bhyve(8) keeps 64 pieces for a guest and closes the
/// connection when it has used all of them; some are left for what is not counted.
pub const CONSOLE_ROOM: u32 = 6 * 1024;
/// The room of the gateway, and of an agent behind a socket, in bytes: well below what a socket holds.
pub const SOCKET_ROOM: u32 = 32 * 1024;

/// Bytes before what a kind says.
const HEAD: usize = 1 + 8;
/// Bytes behind it.
const CHECK: usize = 4;
/// Length of the longest frame before it is packed.
pub(crate) const LONGEST: usize = HEAD + MOST + CHECK;

/// Where a stream leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// To the agent's own API.
    Agent(Role),
    /// To a TCP port beside the agent.
    Port(u16),
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// [`VERSION`]. Whoever speaks another one still writes and reads this frame in the same shape.
    pub version: u16,
    /// The gateway's, new for each connection; the agent repeats it.
    pub nonce: [u8; 16],
    /// How much may be sent ahead of what [`Frame::Took`] says was taken, in bytes and [`PIECE`]s.
    pub room: u32,
}

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// The gateway begins: whatever was before is over.
    Hello(Hello),
    /// The agent does too.
    Welcome(Hello),
    /// The agent knows of no connection, or no longer.
    Bye,
    /// So much of the room is free again.
    Took(u32),
    /// Opens a stream; only the gateway does, with numbers that grow by one, from 1.
    Open(Target),
    /// It is open.
    Opened,
    /// It could not be opened.
    Refused(Refusal),
    /// Bytes, [`MOST`] at most and one at least.
    Data(Vec<u8>),
    /// So many more bytes of it may be sent: as many as were taken, more, or fewer.
    Credit(u32),
    /// No bytes will follow in this direction.
    End,
    /// The stream is over in both.
    Reset,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a frame: {0}")]
pub struct NotAFrame(pub(crate) &'static str);

const OPEN: u8 = 1;
const OPENED: u8 = 2;
const REFUSED: u8 = 3;
const DATA: u8 = 4;
const CREDIT: u8 = 5;
const END: u8 = 6;
const RESET: u8 = 7;
const HELLO: u8 = 8;
const WELCOME: u8 = 9;
const BYE: u8 = 10;
const TOOK: u8 = 11;

impl Frame {
    /// Whether it is of the connection and of no stream.
    fn is_of_none(&self) -> bool {
        matches!(
            self,
            Self::Hello(_) | Self::Welcome(_) | Self::Bye | Self::Took(_)
        )
    }

    /// Whether it takes room at the other end.
    pub(crate) fn costs(&self) -> bool {
        !self.is_of_none()
    }

    /// Its bytes, for `stream`.
    #[must_use]
    pub fn encode(&self, stream: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(0);
        out.extend(stream.to_be_bytes());
        out[0] = match self {
            Self::Hello(hello) => {
                hello.encode(&mut out);
                HELLO
            }
            Self::Welcome(hello) => {
                hello.encode(&mut out);
                WELCOME
            }
            Self::Bye => BYE,
            Self::Took(room) => {
                out.extend(room.to_be_bytes());
                TOOK
            }
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
        let check = crc32fast::hash(&out);
        out.extend(check.to_be_bytes());
        out
    }

    /// The stream and the frame that these bytes are.
    ///
    /// # Errors
    /// [`NotAFrame`].
    pub fn decode(bytes: &[u8]) -> Result<(u64, Self), NotAFrame> {
        let (bytes, check) = bytes.split_last_chunk().ok_or(NotAFrame("cut short"))?;
        if crc32fast::hash(bytes) != u32::from_be_bytes(*check) {
            return Err(NotAFrame("not what was sent"));
        }
        let (kind, rest) = bytes.split_first().ok_or(NotAFrame("cut short"))?;
        let (stream, rest) = rest.split_first_chunk().ok_or(NotAFrame("cut short"))?;
        let stream = u64::from_be_bytes(*stream);
        let frame = match (*kind, rest) {
            (HELLO, rest) => Self::Hello(Hello::decode(rest)?),
            (WELCOME, rest) => Self::Welcome(Hello::decode(rest)?),
            (BYE, []) => Self::Bye,
            (TOOK, &[a, b, c, d]) => Self::Took(u32::from_be_bytes([a, b, c, d])),
            (OPEN, [1]) => Self::Open(Target::Agent(Role::Client)),
            (OPEN, [2]) => Self::Open(Target::Agent(Role::Control)),
            (OPEN, &[3, high, low]) => Self::Open(Target::Port(u16::from_be_bytes([high, low]))),
            (OPENED, []) => Self::Opened,
            (REFUSED, [1]) => Self::Refused(Refusal::Closed),
            (REFUSED, [2]) => Self::Refused(Refusal::TimedOut),
            (REFUSED, [3]) => Self::Refused(Refusal::Exhausted),
            (DATA, rest) if (1..=MOST).contains(&rest.len()) => Self::Data(rest.to_vec()),
            (CREDIT, &[a, b, c, d]) => Self::Credit(u32::from_be_bytes([a, b, c, d])),
            (END, []) => Self::End,
            (RESET, []) => Self::Reset,
            _ => return Err(NotAFrame("unknown kind, value or length")),
        };
        if frame.is_of_none() != (stream == 0) {
            return Err(NotAFrame("of a stream or of none, and must not be"));
        }
        Ok((stream, frame))
    }
}

impl Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_be_bytes());
        out.extend(self.nonce);
        out.extend(self.room.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, NotAFrame> {
        let wrong = NotAFrame("a hello of another length");
        let (version, rest) = bytes.split_first_chunk().ok_or(wrong)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(wrong)?;
        let room = u32::from_be_bytes(rest.try_into().map_err(|_| wrong)?);
        if room < LEAST_ROOM {
            return Err(NotAFrame("no room for a frame"));
        }
        Ok(Self {
            version: u16::from_be_bytes(*version),
            nonce: *nonce,
            room,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn frames() -> impl Strategy<Value = (u64, Frame)> {
        let hello = (any::<u16>(), any::<[u8; 16]>(), LEAST_ROOM..);
        let hello = hello.prop_map(|(version, nonce, room)| Hello {
            version,
            nonce,
            room,
        });
        let of_none = prop_oneof![
            hello.clone().prop_map(Frame::Hello),
            hello.prop_map(Frame::Welcome),
            Just(Frame::Bye),
            any::<u32>().prop_map(Frame::Took),
        ];
        let bytes = prop_oneof![any::<u8>(), Just(0)];
        let of_one = prop_oneof![
            Just(Frame::Open(Target::Agent(Role::Client))),
            Just(Frame::Open(Target::Agent(Role::Control))),
            any::<u16>().prop_map(|port| Frame::Open(Target::Port(port))),
            Just(Frame::Opened),
            Just(Frame::Refused(Refusal::Closed)),
            Just(Frame::Refused(Refusal::TimedOut)),
            Just(Frame::Refused(Refusal::Exhausted)),
            prop::collection::vec(bytes, 1..=MOST).prop_map(Frame::Data),
            any::<u32>().prop_map(Frame::Credit),
            Just(Frame::End),
            Just(Frame::Reset),
        ];
        prop_oneof![
            of_none.prop_map(|frame| (0, frame)),
            (1_u64.., of_one).prop_map(|(stream, frame)| (stream, frame)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((stream, frame) in frames()) {
            let bytes = frame.encode(stream);
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert_eq!(Frame::decode(&bytes), Ok((stream, frame)));
        }

        #[test]
        fn a_changed_byte_is_seen((stream, frame) in frames(), at in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
            let mut bytes = frame.encode(stream);
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            prop_assert!(Frame::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_frame_of_the_connection_is_of_no_stream() {
        for frame in [Frame::Bye, Frame::Took(1)] {
            assert!(Frame::decode(&frame.encode(0)).is_ok());
            assert!(Frame::decode(&frame.encode(1)).is_err());
        }
        assert!(Frame::decode(&Frame::End.encode(0)).is_err());
        let mut cramped = Frame::Hello(Hello {
            version: VERSION,
            nonce: [0; 16],
            room: LEAST_ROOM - 1,
        });
        assert!(Frame::decode(&cramped.encode(0)).is_err());
        if let Frame::Hello(hello) = &mut cramped {
            hello.room += 1;
        }
        assert!(Frame::decode(&cramped.encode(0)).is_ok());
    }
}
