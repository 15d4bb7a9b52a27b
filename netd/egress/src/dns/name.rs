//! Domain names as they stand in messages (RFC 1035, 3.1 and 4.1.4).

use warder_wire::HostName;

/// Bytes of a name at most, with the lengths of its labels and the root's.
const LONGEST: usize = 255;

/// Pointers of a name at most: as many as it can have labels. Each could lead to the next, through the whole of a
/// message, for every name in it.
const POINTERS: usize = 127;

/// A whole name in wire form: labels, each behind its length, and the root's zero.
#[derive(Clone, Debug)]
pub(crate) struct Name(Vec<u8>);

/// Letters count without regard to case. Lengths of labels are below all letters, so bytes can be compared.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Name {
    /// Reads the name at `at`; it, and where what follows begins. A pointer leads only to what lies before the
    /// labels it ends, so every chain of them has an end. `None` for anything that is no name.
    pub(crate) fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut name = Vec::new();
        let (mut at, mut run) = (at, at);
        let mut after = None;
        let mut pointers = 0;
        loop {
            let length = usize::from(*message.get(at)?);
            match length {
                0 => {
                    name.push(0);
                    return Some((Self(name), after.unwrap_or(at + 1)));
                }
                1..=63 => {
                    let label = message.get(at..=at + length)?;
                    if name.len() + label.len() >= LONGEST {
                        return None;
                    }
                    name.extend_from_slice(label);
                    at += 1 + length;
                }
                0xc0..=0xff => {
                    let to = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                    after = after.or(Some(at + 2));
                    pointers += 1;
                    if to >= run || pointers > POINTERS {
                        return None;
                    }
                    (at, run) = (to, to);
                }
                _ => return None,
            }
        }
    }

    /// The name as it is judged; `None` for what is no host name.
    pub(crate) fn host(&self) -> Option<HostName> {
        let mut text = String::new();
        let mut rest = self.0.as_slice();
        while let Some((&length, labels)) = rest.split_first() {
            if length == 0 {
                break;
            }
            let (label, further) = labels.split_at_checked(usize::from(length))?;
            // A dot within a label would look like two labels.
            if !label.is_ascii() || label.contains(&b'.') {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|&b| char::from(b)));
            rest = further;
        }
        HostName::new(&text).ok()
    }

    /// In wire form.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same name with each letter in upper or lower case as `bits` say, which whoever forges an answer has to
    /// guess too.
    pub(crate) fn shuffled(&self, bits: &[u8]) -> Self {
        let mut shuffled = self.0.clone();
        for (n, byte) in shuffled.iter_mut().enumerate() {
            let bit = bits.get(n / 8).is_some_and(|b| b >> (n % 8) & 1 == 1);
            if bit && byte.is_ascii_alphabetic() {
                *byte ^= 0x20;
            }
        }
        Self(shuffled)
    }
}

impl From<&HostName> for Name {
    fn from(host: &HostName) -> Self {
        let mut name = Vec::with_capacity(host.as_str().len() + 2);
        for label in host.as_str().split('.') {
            // A host name's labels have 1 to 63 bytes.
            name.push(u8::try_from(label.len()).unwrap_or(0));
            name.extend_from_slice(label.as_bytes());
        }
        name.push(0);
        Self(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    #[test]
    fn a_host_name_goes_there_and_back() {
        let longest = format!("{}{}", "a".repeat(61), ".a".repeat(96));
        assert_eq!(longest.len(), 253);
        for text in ["example.com", "a", "_x.y-z.example", &longest] {
            let name = Name::from(&host(text));
            let (read, after) = Name::read(name.bytes(), 0).expect("a name");
            assert_eq!((&read, after), (&name, name.bytes().len()), "{text}");
            assert_eq!(read.host(), Some(host(text)));
        }
    }

    #[test]
    fn pointers_lead_backwards_only() {
        let message = b"\x03com\0\x01a\xc0\x00\xc0\x09\xc0\x05";
        let (name, after) = Name::read(message, 5).expect("a name");
        assert_eq!((name.host(), after), (Some(host("a.com")), 9));
        assert!(Name::read(message, 9).is_none(), "to itself");
        let (name, after) = Name::read(message, 11).expect("a name");
        assert_eq!((name.host(), after), (Some(host("a.com")), 13));
        // Two that lead to each other, and one into the labels it ends.
        assert!(Name::read(b"\xc0\x02\xc0\x00", 0).is_none());
        assert!(Name::read(b"\xc0\x02\xc0\x00", 2).is_none());
        assert!(Name::read(b"\x01a\xc0\x00", 0).is_none());
    }

    #[test]
    fn pointers_to_pointers_are_followed_so_far() {
        let mut message = b"\x01a\0".to_vec();
        let mut to = 0_u16;
        for count in 1..=2 * POINTERS {
            let at = message.len();
            message.extend((0xc000 | to).to_be_bytes());
            to = u16::try_from(at).expect("short");
            assert_eq!(Name::read(&message, at).is_some(), count <= POINTERS);
        }
    }

    #[test]
    fn what_is_no_name_is_not_read() {
        let long = [[1, b'a'].repeat(127), vec![0]].concat();
        assert_eq!(long.len(), 255);
        assert!(Name::read(&long, 0).is_some());
        let longer = [[1, b'a'].repeat(126), vec![2, b'a', b'a', 0]].concat();
        assert!(Name::read(&longer, 0).is_none());
        for bad in [
            &b""[..],
            b"\x03co",
            b"\x40a\0",
            b"\x80a\0",
            b"\xc0",
            b"\x01a",
        ] {
            assert!(Name::read(bad, 0).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn labels_that_hide_something_are_no_host() {
        for bad in [
            &b"\x03a.b\0"[..],
            b"\x01\xe9\0",
            b"\x02a\0\0",
            b"\0",
            b"\x01 \0",
            b"\x01*\x01a\0",
        ] {
            let (name, _) = Name::read(bad, 0).expect("a name");
            assert_eq!(name.host(), None, "{bad:?}");
        }
    }

    #[test]
    fn case_is_shuffled_and_does_not_count() {
        let name = Name::from(&host("www.example.com"));
        let shuffled = name.shuffled(&[0xff; 3]);
        assert_eq!(shuffled.bytes(), b"\x03WWW\x07EXAMPLE\x03COM\0");
        assert_eq!(shuffled, name);
        assert_eq!(name.shuffled(&[]).bytes(), name.bytes());
    }

    proptest! {
        #[test]
        fn reading_ends_and_stays_within_bounds(
            message in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..4, Just(0xc0)], 0..300),
            at in 0_usize..300,
        ) {
            if let Some((name, after)) = Name::read(&message, at) {
                prop_assert!(name.bytes().len() <= LONGEST);
                prop_assert!(after <= message.len() && after > at);
                prop_assert_eq!(Name::read(name.bytes(), 0).map(|(again, _)| again), Some(name.clone()));
                if let Some(host) = name.host() {
                    prop_assert_eq!(Name::from(&host), name);
                }
            }
        }
    }
}
