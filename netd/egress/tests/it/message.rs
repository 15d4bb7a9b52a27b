//! DNS messages, written and read by hand so that nothing here is egressd's own (RFC 1035, 4).

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const HTTPS: u16 = 65;

/// Name (empty: root), type, data.
pub type Record = (String, u16, Vec<u8>);

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A question as stub resolvers send it.
pub fn ask(id: u16, text: &str, kind: u16, edns: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, edns.into()] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(name(text));
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    if edns {
        bytes.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

/// The answer to `question` with these records, each for a minute.
pub fn answer(question: &[u8], flags: u16, records: &[Record]) -> Vec<u8> {
    let mut bytes = question[..end_of_question(question)].to_vec();
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    let count = u16::try_from(records.len()).expect("few");
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    bytes[8..12].fill(0);
    for (owner, kind, data) in records {
        bytes.extend(name(owner));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

fn end_of_question(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

/// A message, read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub id: u16,
    pub flags: u16,
    /// As it is written.
    pub name: String,
    pub kind: u16,
    pub answers: Vec<Record>,
    pub more: Vec<Record>,
    pub bytes: Vec<u8>,
}

impl Read {
    pub fn code(&self) -> u16 {
        self.flags & 0xf
    }

    pub fn addresses(&self) -> Vec<[u8; 4]> {
        let of = |(_, kind, data): &Record| (*kind == A).then(|| data.clone().try_into().ok())?;
        self.answers.iter().filter_map(of).collect()
    }
}

pub fn read(bytes: &[u8]) -> Read {
    let (text, mut at) = read_name(bytes, 12);
    let kind = word(bytes, at);
    at += 4;
    let mut records = |count: u16| {
        let mut list = Vec::new();
        for _ in 0..count {
            let (owner, after) = read_name(bytes, at);
            let length = usize::from(word(bytes, after + 8));
            let data = bytes[after + 10..after + 10 + length].to_vec();
            list.push((owner, word(bytes, after), data));
            at = after + 10 + length;
        }
        list
    };
    let answers = records(word(bytes, 6));
    let more = records(word(bytes, 8) + word(bytes, 10));
    Read {
        id: word(bytes, 0),
        flags: word(bytes, 2),
        name: text,
        kind,
        answers,
        more,
        bytes: bytes.to_vec(),
    }
}

fn read_name(bytes: &[u8], mut at: usize) -> (String, usize) {
    let (mut text, mut after) = (String::new(), None);
    loop {
        let length = usize::from(bytes[at]);
        if length >= 0xc0 {
            after = after.or(Some(at + 2));
            at = usize::from(word(bytes, at) & 0x3fff);
        } else if length == 0 {
            return (text, after.unwrap_or(at + 1));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text += &String::from_utf8_lossy(&bytes[at + 1..=at + length]);
            at += 1 + length;
        }
    }
}
