//! Connect's envelope: one flag byte, four bytes of length (big endian), a message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::error::{Code, ConnectError, EndStream};

/// The message is compressed. Nobody here offers compression, so it is an error.
pub const COMPRESSED: u8 = 1;
/// The message is the [`EndStream`].
pub const END_STREAM: u8 = 2;
/// Bytes in front of a message.
pub const HEADER: usize = 5;

/// Why bytes are not an envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    /// The length says more than the reader takes.
    #[error("message of {0} bytes is larger than the allowed {1}")]
    TooLong(usize, usize),
    /// A flag nobody asked for.
    #[error("compressed messages are not supported")]
    Compressed,
    /// The stream ended inside an envelope.
    #[error("the stream ended inside a message")]
    Cut,
}

impl From<EnvelopeError> for ConnectError {
    fn from(error: EnvelopeError) -> Self {
        let code = match error {
            EnvelopeError::TooLong(..) => Code::ResourceExhausted,
            EnvelopeError::Compressed => Code::Unimplemented,
            EnvelopeError::Cut => Code::InvalidArgument,
        };
        Self::new(code, error)
    }
}

/// Wraps an encoded message.
///
/// # Panics
/// When `message` is longer than 4 GiB, which no caller can build.
#[must_use]
pub fn wrap(flags: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + message.len());
    out.put_u8(flags);
    out.put_u32(u32::try_from(message.len()).expect("messages are far below 4 GiB"));
    out.put_slice(message);
    out.freeze()
}

/// Encodes and wraps one message of a stream.
#[must_use]
pub fn message<T: Serialize>(message: &T) -> Bytes {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&[0; HEADER]);
    if serde_json::to_writer(&mut out, message).is_err() {
        // Maps with string keys and plain structs only: serde_json cannot refuse them.
        return wrap(0, b"{}");
    }
    let length = u32::try_from(out.len() - HEADER).unwrap_or(u32::MAX);
    out[1..HEADER].copy_from_slice(&length.to_be_bytes());
    out.into()
}

/// The envelope that ends a stream, well or with `error`.
#[must_use]
pub fn end(error: Option<ConnectError>) -> Bytes {
    let json = serde_json::to_vec(&EndStream { error }).unwrap_or_else(|_| b"{}".to_vec());
    wrap(END_STREAM, &json)
}

/// Cuts a byte stream into envelopes, whatever the chunks it comes in.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

impl Decoder {
    /// A decoder that takes messages up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Takes more bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole message with its flags, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`EnvelopeError`]; the stream is unusable after one.
    pub fn next_message(&mut self) -> Result<Option<(u8, Bytes)>, EnvelopeError> {
        let Some(&[flags, a, b, c, d]) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if flags & COMPRESSED != 0 {
            return Err(EnvelopeError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(EnvelopeError::TooLong(length, self.limit));
        }
        if self.buffer.len() - HEADER < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some((flags, self.buffer.split_to(length).freeze())))
    }

    /// Says that the stream ended.
    ///
    /// # Errors
    /// [`EnvelopeError::Cut`] when bytes are left over.
    pub fn finish(&self) -> Result<(), EnvelopeError> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(EnvelopeError::Cut)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_long_and_compressed_are_refused_before_the_body_comes() {
        let mut decoder = Decoder::new(10);
        decoder.push(&[0, 0, 0, 0, 11]);
        assert_eq!(decoder.next_message(), Err(EnvelopeError::TooLong(11, 10)));
        let mut decoder = Decoder::new(10);
        decoder.push(&[1, 0, 0, 0, 1]);
        assert_eq!(decoder.next_message(), Err(EnvelopeError::Compressed));
    }

    #[test]
    fn the_end_carries_the_error() {
        let bytes = end(Some(ConnectError::invalid("no")));
        assert_eq!(bytes[0], END_STREAM);
        assert_eq!(
            &bytes[HEADER..],
            br#"{"error":{"code":"invalid_argument","message":"no"}}"#
        );
        assert_eq!(&end(None)[..], [2, 0, 0, 0, 2, b'{', b'}']);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_messages(
            messages in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
            step in 1_usize..17,
        ) {
            let mut stream = Vec::new();
            for (end, body) in &messages {
                stream.extend(wrap(if *end { END_STREAM } else { 0 }, body));
            }
            let mut decoder = Decoder::new(64);
            let mut got = Vec::new();
            for chunk in stream.chunks(step) {
                decoder.push(chunk);
                while let Some((flags, body)) = decoder.next_message().expect("well formed") {
                    got.push((flags == END_STREAM, body.to_vec()));
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(decoder.finish().is_ok());
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..8)) {
            let mut decoder = Decoder::new(100);
            for chunk in chunks {
                decoder.push(&chunk);
                for _ in 0..10 {
                    if !matches!(decoder.next_message(), Ok(Some(_))) { break; }
                }
            }
        }
    }
}
