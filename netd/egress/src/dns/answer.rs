//! Answers: read from servers, written for guests. Nothing of a server's message reaches a guest but what is read here.

use std::net::Ipv4Addr;

use super::name::Name;
use super::question::{
    A, Asked, CNAME, CODE, HEADER, IN, NO_ERROR, NO_SUCH_NAME, OPCODE, OPT, Question,
    RECURSION_AVAILABLE, RECURSION_DESIRED, RESPONSE, Record, SERVER_FAILURE, SIZE, SMALL,
    TRUNCATED, question, word,
};

/// Aliases that are followed.
const ALIASES: usize = 16;
/// Records that are read.
const RECORDS: u16 = 512;
/// Seconds that a guest may keep an answer.
const LONGEST: u32 = 86_400;

/// The name is blocked by a policy of who runs the resolver (RFC 8914, 4.16).
const BLOCKED: u16 = 15;
/// What a person who reads it should know.
const BLOCKED_TEXT: &[u8] = b"not a name that this sandbox's network policy allows";

/// What a server says of the addresses of a name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Answer {
    /// Response code.
    pub(crate) code: u16,
    /// Aliases, from the name that was asked: what each stands for, and for how many seconds.
    pub(crate) aliases: Vec<(Name, u32)>,
    /// Addresses of what the last alias stands for, and for how many seconds.
    pub(crate) addresses: Vec<(Ipv4Addr, u32)>,
}

/// What a server's message is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Read {
    /// The answer.
    Answer(Answer),
    /// The answer, cut: ask again over TCP.
    Cut,
    /// The answer, and it cannot be understood.
    Odd,
    /// Not the answer to this question.
    Other,
}

/// Whether `message` answers the question that was sent as `sent`: number, kind, and the question letter by letter.
pub(crate) fn answers(sent: &[u8], message: &[u8]) -> bool {
    let flags = |m| word(m, 2).unwrap_or_default();
    let Some((_, end)) = question(sent) else {
        return false;
    };
    word(sent, 0) == word(message, 0)
        && flags(message) & RESPONSE != 0
        && flags(message) & OPCODE == flags(sent) & OPCODE
        && word(message, 4) == Some(1)
        && message.get(HEADER..end) == sent.get(HEADER..end)
}

/// Reads the answer to the question for addresses that was sent as `sent`.
pub(crate) fn read(sent: &[u8], message: &[u8]) -> Read {
    if !answers(sent, message) {
        return Read::Other;
    }
    if word(message, 2).is_some_and(|flags| flags & TRUNCATED != 0) {
        return Read::Cut;
    }
    // With the right number and question, what cannot be read is still not believed.
    whole(message).map_or(Read::Odd, Read::Answer)
}

fn whole(message: &[u8]) -> Option<Answer> {
    let (asked, mut at) = question(message)?;
    let mut records = Vec::new();
    for _ in 0..word(message, 6)?.min(RECORDS) {
        let record = Record::read(message, at)?;
        at = record.end;
        if record.class == IN && (record.kind == A || record.kind == CNAME) {
            records.push(record);
        }
    }
    let mut answer = Answer {
        code: word(message, 2)? & CODE,
        ..Answer::default()
    };
    let mut name = asked.name;
    for _ in 0..=ALIASES {
        let of = |kind| {
            let name = &name;
            records
                .iter()
                .filter(move |r| r.kind == kind && r.owner == *name)
        };
        for record in of(A) {
            let bytes: [u8; 4] = message.get(record.data..record.end)?.try_into().ok()?;
            answer.addresses.push((bytes.into(), seconds(record.ttl)));
        }
        let Some(alias) = of(CNAME).next().filter(|_| answer.addresses.is_empty()) else {
            return Some(answer);
        };
        let (target, end) = Name::read(message, alias.data)?;
        if end != alias.end {
            return None;
        }
        answer.aliases.push((target.clone(), seconds(alias.ttl)));
        name = target;
    }
    // Aliases without end have no address.
    None
}

/// Seconds, of which the highest bit says nothing (RFC 2181, 8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX.cast_unsigned() {
        0
    } else {
        ttl.min(LONGEST)
    }
}

/// What a guest is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reply {
    /// An answer.
    Answer(Answer),
    /// The name is there, what was asked of it is not.
    Nothing,
    /// The policy does not allow the name. Said as if there were no such name, since all resolvers take that at once
    /// for the end of it (musl waits on after REFUSED), and without an SOA, so that nobody keeps it.
    Blocked,
    /// No server has answered.
    Failed,
}

/// The message for a guest that asked over UDP.
pub(crate) fn datagram(asked: &Asked, reply: &Reply) -> Vec<u8> {
    let most = usize::from(asked.edns.unwrap_or(SMALL));
    let message = write(asked, reply);
    if message.len() <= most {
        return message;
    }
    let mut cut = write(asked, &Reply::Nothing);
    cut[2] |= TRUNCATED.to_be_bytes()[0];
    cut
}

/// The message for a guest.
pub(crate) fn write(asked: &Asked, reply: &Reply) -> Vec<u8> {
    let nothing = Answer::default();
    let (code, answer) = match reply {
        Reply::Answer(answer) => (
            match answer.code {
                NO_ERROR | NO_SUCH_NAME => answer.code,
                _ => SERVER_FAILURE,
            },
            answer,
        ),
        Reply::Nothing => (NO_ERROR, &nothing),
        Reply::Blocked => (NO_SUCH_NAME, &nothing),
        Reply::Failed => (SERVER_FAILURE, &nothing),
    };
    let flags = RESPONSE | RECURSION_AVAILABLE | (asked.flags & RECURSION_DESIRED) | code;
    let records = answer.aliases.len() + answer.addresses.len();
    let records = u16::try_from(records).unwrap_or(u16::MAX);
    let mut message = Vec::new();
    for word in [asked.id, flags, 1, records, 0, asked.edns.is_some().into()] {
        message.extend(word.to_be_bytes());
    }
    message.extend(&asked.raw);
    // The name that was asked stands behind the header.
    let mut owner: Vec<u8> = vec![0xc0, 12];
    for (target, ttl) in &answer.aliases {
        record(&mut message, &owner, CNAME, *ttl, target.bytes());
        owner = target.bytes().to_vec();
    }
    for (address, ttl) in &answer.addresses {
        record(&mut message, &owner, A, *ttl, &address.octets());
    }
    if asked.edns.is_some() {
        options(&mut message, matches!(reply, Reply::Blocked));
    }
    message
}

fn record(message: &mut Vec<u8>, owner: &[u8], kind: u16, ttl: u32, data: &[u8]) {
    message.extend(owner);
    message.extend(kind.to_be_bytes());
    message.extend(IN.to_be_bytes());
    message.extend(ttl.to_be_bytes());
    message.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
    message.extend(data);
}

/// The OPT record, with the reason why a name is blocked (RFC 8914).
fn options(message: &mut Vec<u8>, blocked: bool) {
    const EXTENDED_ERROR: u16 = 15;
    let mut reason = Vec::new();
    if blocked {
        let length = u16::try_from(BLOCKED_TEXT.len() + 2).unwrap_or_default();
        for word in [EXTENDED_ERROR, length, BLOCKED] {
            reason.extend(word.to_be_bytes());
        }
        reason.extend(BLOCKED_TEXT);
    }
    let length = u16::try_from(reason.len()).unwrap_or_default();
    message.push(0);
    for word in [OPT, SIZE, 0, 0, length] {
        message.extend(word.to_be_bytes());
    }
    message.extend(reason);
}

/// The message for a guest whose own cannot be read: its number, and a code.
pub(crate) fn unfit(message: &[u8], code: u16) -> Vec<u8> {
    let id = word(message, 0).unwrap_or_default();
    let asked = word(message, 2).unwrap_or_default();
    let flags = RESPONSE | (asked & (OPCODE | RECURSION_DESIRED)) | code;
    [id, flags, 0, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect()
}

/// The question for the addresses of `name`.
pub(crate) fn for_addresses(name: Name) -> Question {
    Question {
        name,
        kind: A,
        class: IN,
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
