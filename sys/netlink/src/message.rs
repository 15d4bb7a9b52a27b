//! Netlink messages and attributes as bytes (attributes are padded to four bytes).

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// `NLA_F_NESTED`.
pub const NESTED: u16 = 0x8000;
/// Bits of an attribute's type that are the type.
const TYPE_MASK: u16 = 0x3fff;

/// One message to the kernel. The socket fills in the sequence number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message of type `kind` with the family's fixed header after netlink's own.
    #[must_use]
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut message = Self(bytes);
        message.pad();
        message
    }

    /// An attribute of raw bytes. `value` must be shorter than 64 KiB less four bytes.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, value);
        self
    }

    /// A number in host order.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as nfnetlink has them.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A text with its final zero byte.
    #[must_use]
    pub fn text(mut self, kind: u16, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
        self
    }

    /// A nested attribute that `fill` writes.
    #[must_use]
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut message = fill(self);
        let length = u16::try_from(message.0.len() - start)
            .expect("callers split lists before they reach 64 KiB");
        message.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    /// Bytes inside a nested attribute that are no attribute (a fixed header, as in a veth's peer).
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Bytes so far, netlink's header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("callers hold values far below 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// The finished bytes with sequence number and flags set.
    #[must_use]
    pub fn finish(mut self, seq: u32, add_flags: u16) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("messages stay far below 4 GiB");
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | add_flags;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&seq.to_ne_bytes());
        self.0
    }
}

/// Walks the attributes in `bytes`; stops at the first that is cut.
#[must_use]
pub fn attrs(bytes: &[u8]) -> Attrs<'_> {
    Attrs(bytes)
}

/// Walks the attributes that follow a fixed header of `fixed` bytes.
#[must_use]
pub fn attrs_after(bytes: &[u8], fixed: usize) -> Attrs<'_> {
    Attrs(bytes.get(fixed.next_multiple_of(4)..).unwrap_or_default())
}

/// Iterator over (type, value).
#[derive(Clone, Debug)]
pub struct Attrs<'a>(&'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Splits what one `recv` gave into (type, flags, seq, payload).
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).ok()?;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let flags = u16::from_ne_bytes([head[6], head[7]]);
        let seq = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, seq, payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_can_be_taken_apart() {
        let built = Message::new(16, 1, &[9; 4])
            .u32(1, 7)
            .text(2, "ab")
            .nest(3, |m| m.be32(4, 1).bytes(5, &[1, 2, 3, 4, 5]))
            .bytes(6, &[]);
        let bytes = built.finish(42, 4);
        let (kind, flags, seq, payload) = messages(&bytes).next().expect("whole");
        assert_eq!((kind, flags, seq), (16, 5, 42));
        let all: Vec<_> = attrs_after(payload, 4).collect();
        assert_eq!(all[0], (1, &7_u32.to_ne_bytes()[..]));
        assert_eq!(all[1], (2, &b"ab\0"[..]));
        let inner: Vec<_> = attrs(all[2].1).collect();
        assert_eq!((all[2].0, inner[0]), (3, (4, &[0, 0, 0, 1][..])));
        assert_eq!(inner[1], (5, &[1, 2, 3, 4, 5][..]));
        assert_eq!(all[3], (6, &[][..]));
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn cut_bytes_end_the_walk() {
        let bytes = Message::new(16, 1, &[]).text(2, "abcdef").finish(1, 0);
        for cut in 0..bytes.len() {
            assert_eq!(messages(&bytes[..cut]).count(), 0);
        }
        assert_eq!(
            attrs(&[3, 0, 1, 0]).count(),
            0,
            "shorter than its own header"
        );
    }
}
