//! Questions: read from guests, written for servers (RFC 1035, 4.1; RFC 6891).

use super::name::Name;

/// Types and classes that mean something here.
pub(crate) const A: u16 = 1;
pub(crate) const CNAME: u16 = 5;
pub(crate) const OPT: u16 = 41;
pub(crate) const IN: u16 = 1;

pub(crate) const HEADER: usize = 12;
/// What a server may send over UDP: no datagram of this size is cut into fragments on its way.
pub(crate) const SIZE: u16 = 1232;
/// What may be sent over UDP to whoever does not say (RFC 1035, 2.3.4).
pub(crate) const SMALL: u16 = 512;

/// Bits of the flags.
pub(crate) const RESPONSE: u16 = 0x8000;
pub(crate) const OPCODE: u16 = 0x7800;
pub(crate) const TRUNCATED: u16 = 0x0200;
pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
pub(crate) const CODE: u16 = 0x000f;

/// Response codes.
pub(crate) const NO_ERROR: u16 = 0;
pub(crate) const FORMAT_ERROR: u16 = 1;
pub(crate) const SERVER_FAILURE: u16 = 2;
pub(crate) const NO_SUCH_NAME: u16 = 3;
pub(crate) const NOT_IMPLEMENTED: u16 = 4;

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: u16,
    pub(crate) class: u16,
}

/// A guest's message with one question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) question: Question,
    /// The question as it stands in the message, without compression since nothing is before it.
    pub(crate) raw: Vec<u8>,
    /// What fits into a datagram for the guest, if it speaks EDNS.
    pub(crate) edns: Option<u16>,
}

/// Why a guest's message gets no answer of substance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfit {
    /// It is no question; nothing is said to it, lest two of us talk for ever.
    Silence,
    /// It is answered with this code.
    Code(u16),
}

/// A 16-bit word at `at`.
pub(crate) fn word(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The question at the beginning of a message, and where it ends.
pub(crate) fn question(message: &[u8]) -> Option<(Question, usize)> {
    let (name, at) = Name::read(message, HEADER)?;
    let (kind, class) = (word(message, at)?, word(message, at + 2)?);
    Some((Question { name, kind, class }, at + 4))
}

/// A resource record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) owner: Name,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where its data begin.
    pub(crate) data: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

impl Record {
    pub(crate) fn read(message: &[u8], at: usize) -> Option<Self> {
        let (owner, at) = Name::read(message, at)?;
        let data = at + 10;
        let end = data + usize::from(word(message, at + 8)?);
        message.get(data..end)?;
        Some(Self {
            owner,
            kind: word(message, at)?,
            class: word(message, at + 2)?,
            ttl: u32::from(word(message, at + 4)?) << 16 | u32::from(word(message, at + 6)?),
            data,
            end,
        })
    }
}

impl Asked {
    /// Reads what a guest sent.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(crate) fn read(message: &[u8]) -> Result<Self, Unfit> {
        let header = |at| word(message, at).ok_or(Unfit::Silence);
        let (id, flags) = (header(0)?, header(2)?);
        let counts = [header(4)?, header(6)?, header(8)?, header(10)?];
        if flags & RESPONSE != 0 {
            return Err(Unfit::Silence);
        }
        if flags & OPCODE != 0 {
            return Err(Unfit::Code(NOT_IMPLEMENTED));
        }
        let malformed = Unfit::Code(FORMAT_ERROR);
        // Cookies, padding and the like are within one OPT; a signature may follow it.
        let [1, 0, 0, more @ 0..=2] = counts else {
            return Err(malformed);
        };
        let (question, after) = question(message).ok_or(malformed)?;
        let mut edns = None;
        let mut at = after;
        for _ in 0..more {
            let record = Record::read(message, at).ok_or(malformed)?;
            if record.kind == OPT {
                edns = Some(record.class.clamp(SMALL, SIZE));
            }
            at = record.end;
        }
        Ok(Self {
            id,
            flags,
            question,
            raw: message[HEADER..after].to_vec(),
            edns,
        })
    }
}

/// A question of our own: for recursion, with EDNS and none of its options.
pub(crate) fn write(id: u16, question: &Question) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + question.name.bytes().len() + 4 + 11);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 1] {
        message.extend(word.to_be_bytes());
    }
    message.extend(question.name.bytes());
    message.extend(question.kind.to_be_bytes());
    message.extend(question.class.to_be_bytes());
    // Root, OPT, size, no extended code nor flags, no options.
    message.push(0);
    for word in [OPT, SIZE, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warder_wire::HostName;

    use super::*;

    fn asked(kind: u16) -> Question {
        Question {
            name: Name::from(&HostName::new("www.example.com").expect("a name")),
            kind,
            class: IN,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let message = write(7, &asked(A));
        let read = Asked::read(&message).expect("a question");
        assert_eq!((read.id, &read.question), (7, &asked(A)));
        assert_eq!((read.edns, read.flags), (Some(SIZE), RECURSION_DESIRED));
        assert_eq!(read.raw, message[HEADER..message.len() - 11]);
    }

    #[test]
    fn what_is_not_one_question_is_refused() {
        let good = write(7, &asked(A));
        let with = |at: usize, byte: u8| {
            let mut message = good.clone();
            message[at] = byte;
            Asked::read(&message)
        };
        assert_eq!(with(2, 0x81), Err(Unfit::Silence), "an answer");
        assert_eq!(
            with(2, 0x28),
            Err(Unfit::Code(NOT_IMPLEMENTED)),
            "an update"
        );
        for (at, byte) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 3), (12, 0xc0)] {
            assert_eq!(
                with(at, byte),
                Err(Unfit::Code(FORMAT_ERROR)),
                "{at} {byte}"
            );
        }
        assert_eq!(Asked::read(&good[..11]), Err(Unfit::Silence));
        assert_eq!(Asked::read(&good[..20]), Err(Unfit::Code(FORMAT_ERROR)));
        // The OPT that is announced is not there.
        let cut = &good[..good.len() - 1];
        assert_eq!(Asked::read(cut), Err(Unfit::Code(FORMAT_ERROR)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Asked::read(&message);
        }

        #[test]
        fn no_change_of_a_question_makes_it_panic(at in 0_usize..45, byte in any::<u8>(), cut in 0_usize..60) {
            let mut message = write(7, &asked(A));
            let at = at.min(message.len() - 1);
            message[at] = byte;
            message.truncate(cut.max(1));
            let _ = Asked::read(&message);
        }
    }
}
