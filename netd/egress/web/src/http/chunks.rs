//! The chunked coding (RFC 9112, section 7.1), followed byte by byte without keeping any.

use crate::Odd;

/// Bytes of a chunk's first line at most, its extensions included.
const MAX_LINE: usize = 1024;
/// Bytes of all trailers at most.
const MAX_TRAILERS: usize = 8 * 1024;
/// Fields that say where a message goes or ends, and that a receiver might take from a trailer.
const HEAD_ONLY: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];

/// Where in a chunked body we are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of the line, or of the trailers, so far.
    count: usize,
    /// Size of the chunk, or what is left of it.
    size: u64,
    /// The trailer's name so far, as much as matters.
    name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerBegin,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            at: At::Size,
            count: 0,
            size: 0,
            name: Vec::new(),
        }
    }

    /// How many of these bytes belong to the body, and whether it ends with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Odd> {
        let mut taken = 0;
        while self.at != At::End && taken < bytes.len() {
            if self.at == At::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let now = left.min(bytes.len() - taken);
                taken += now;
                self.size -= now as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.byte(bytes[taken])?;
                taken += 1;
            }
        }
        Ok((taken, self.at == At::End))
    }

    fn byte(&mut self, byte: u8) -> Result<(), Odd> {
        self.count += 1;
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.count <= 15 => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size * 16 + u64::from(digit);
                At::Size
            }
            (At::Size, b';') if self.count > 1 => At::Extension,
            (At::Size, b'\r') if self.count > 1 => At::SizeLf,
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, b'\t' | b' '..=b'~') if self.count < MAX_LINE => At::Extension,
            (At::SizeLf, b'\n') => {
                self.count = 0;
                if self.size == 0 {
                    At::TrailerBegin
                } else {
                    At::Data
                }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.count = 0;
                At::Size
            }
            _ => return self.trailer(byte),
        };
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Odd> {
        if self.count > MAX_TRAILERS {
            return Err(Odd::Http("its trailers are too long"));
        }
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        self.at = match (self.at, byte) {
            (At::TrailerBegin, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => At::End,
            (At::TrailerBegin | At::TrailerName, _) if token => {
                // One more than the longest that matters, so that a longer name is none of those.
                if self.name.len() <= 17 {
                    self.name.push(byte.to_ascii_lowercase());
                }
                At::TrailerName
            }
            (At::TrailerName, b':') => {
                if HEAD_ONLY.contains(&self.name.as_slice()) {
                    return Err(Odd::Http("a trailer belongs into its head"));
                }
                self.name.clear();
                At::TrailerValue
            }
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => At::TrailerValue,
            (At::TrailerLf, b'\n') => At::TrailerBegin,
            _ => return Err(Odd::Http("its chunks are malformed")),
        };
        Ok(())
    }
}
