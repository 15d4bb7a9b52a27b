//! The frame: four bytes of length (little endian, of what follows), then a postcard body.
//!
//! A frame is accepted whole or not at all, and its body must be used up by the message. Descriptors
//! ride on the first byte. What does not fit goes by a descriptor.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Fault;

/// Version of everything in this crate. Both ends say it first; a difference ends the channel.
pub const VERSION: u32 = 6;
/// Longest frame, with its length, in bytes.
pub const MAX_FRAME: usize = 32 * 1024;
/// Bytes of the length in front.
pub const HEADER: usize = 4;
/// Longest body in bytes.
pub const MAX_BODY: usize = MAX_FRAME - HEADER;
/// Most descriptors with one frame.
pub const MAX_FDS: usize = 16;

/// Why bytes are not a frame or a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`], or its length says so.
    #[error("frame too long")]
    TooLong,
    /// The length in front does not match what came.
    #[error("frame cut or padded")]
    Length,
    /// The body is not the message expected here, or bytes are left over.
    #[error("body is not a known message")]
    Body,
}

/// A request with the number its reply will carry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Request<T> {
    /// Chosen by the asking side, rising by one.
    pub seq: u64,
    /// What is asked.
    pub body: T,
}

/// What the answering side sends: replies in any order, and events nobody asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Message<R, E> {
    /// The answer to request `seq`.
    Reply {
        /// The request's number.
        seq: u64,
        /// What came of it.
        result: Result<R, Fault>,
    },
    /// Something happened.
    Event(E),
}

/// Encodes a message as one whole frame.
///
/// # Errors
/// [`FrameError::TooLong`] when it does not fit [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; HEADER]).map_err(|_| FrameError::Body)?;
    if frame.len() > MAX_FRAME {
        return Err(FrameError::TooLong);
    }
    let length = u32::try_from(frame.len() - HEADER).map_err(|_| FrameError::TooLong)?;
    frame[..HEADER].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Length of the whole frame that begins with `head`, or `None` while the length itself is incomplete.
///
/// # Errors
/// [`FrameError::TooLong`] when it says more than [`MAX_FRAME`].
pub fn frame_len(head: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(bytes) = head.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    match usize::try_from(u32::from_le_bytes(*bytes)) {
        Ok(body) if body <= MAX_BODY => Ok(Some(HEADER + body)),
        _ => Err(FrameError::TooLong),
    }
}

/// Decodes one whole frame.
///
/// # Errors
/// [`FrameError`]; nothing of the message is kept.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    match frame_len(frame)? {
        Some(length) if length == frame.len() => {}
        _ => return Err(FrameError::Length),
    }
    match postcard::take_from_bytes(&frame[HEADER..]) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Body),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{FaultCode, gateway_priv, link, plugin_priv, priv_net};

    #[test]
    fn leftover_bytes_are_refused() {
        let mut frame = encode(&7_u32).expect("fits");
        assert_eq!(decode::<u32>(&frame), Ok(7));
        frame.push(0);
        assert_eq!(decode::<u32>(&frame), Err(FrameError::Length));
        frame[0] += 1;
        assert_eq!(decode::<u32>(&frame), Err(FrameError::Body));
    }

    #[test]
    fn details_stay_printable() {
        let fault = Fault::new(FaultCode::System, "a\nb\u{202e}".repeat(200));
        assert_eq!(fault.detail.len(), Fault::MAX_DETAIL);
        assert!(fault.detail.bytes().all(|b| (0x20..0x7f).contains(&b)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut frame = u32::try_from(bytes.len()).expect("small").to_le_bytes().to_vec();
            frame.extend(&bytes);
            let _ = decode::<Request<gateway_priv::Ask>>(&frame);
            let _ = decode::<Message<gateway_priv::Answer, gateway_priv::Event>>(&frame);
            let _ = decode::<Request<plugin_priv::Ask>>(&frame);
            let _ = decode::<Request<priv_net::Ask>>(&frame);
            let _ = decode::<link::Reply>(&frame);
            let _ = decode::<u32>(&bytes);
        }
    }
}
