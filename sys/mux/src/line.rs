//! How frames are told apart on the stream: packed so that they hold no zero byte (COBS: consistent overhead byte
//! stuffing, Cheshire and Baker 1999), with a zero byte before and behind. Whoever begins to read anywhere, or finds
//! rubbish between, has found his way again at the next zero; and no bytes of a stream can look like a frame.

use crate::frame::{Frame, LONGEST, NotAFrame, PIECE};

/// Length of the longest packed frame, without the zeros.
const PACKED: usize = LONGEST + LONGEST / 254 + 1;

/// The frame as it goes over the stream, and what it costs of the other end's room.
pub(crate) fn pack(stream: u64, frame: &Frame) -> (Vec<u8>, usize) {
    let plain = frame.encode(stream);
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 254 + 2);
    // A block is a byte that says how long it is, itself included, and bytes that are none of them zero; a zero
    // follows, which is not written, but for a block of the full length.
    for mut run in plain.split(|byte| *byte == 0) {
        while run.len() >= 254 {
            out.push(255);
            out.extend(&run[..254]);
            run = &run[254..];
        }
        // At most 254.
        out.push(run.len() as u8 + 1);
        out.extend(run);
    }
    out.push(0);
    let cost = cost(out.len() - 1);
    (out, cost)
}

fn cost(packed: usize) -> usize {
    packed + 1 + PIECE
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, NotAFrame> {
    let mut out = Vec::with_capacity(packed.len());
    let mut rest = packed;
    while let Some((length, behind)) = rest.split_first() {
        let length = usize::from(*length);
        let Some((run, behind)) = length
            .checked_sub(1)
            .and_then(|n| behind.split_at_checked(n))
        else {
            return Err(NotAFrame("cut short"));
        };
        out.extend(run);
        if length < 255 && !behind.is_empty() {
            out.push(0);
        }
        rest = behind;
    }
    Ok(out)
}

/// A frame that came: its stream, itself, and what it cost.
pub type Came = (u64, Frame, usize);

/// Finds frames in what comes. It keeps no more than the longest one.
#[derive(Debug, Default)]
pub struct Decoder {
    so_far: Vec<u8>,
    /// What comes is too long to be a frame: nothing until the next zero is one.
    lost: bool,
}

impl Decoder {
    /// Looks at bytes: how many it has used up (all of them, or those up to the end of a frame), and the frame or
    /// what was in the place of one.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Option<Result<Came, NotAFrame>>) {
        let end = bytes.iter().position(|byte| *byte == 0);
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        let used = piece.len() + usize::from(end.is_some());
        if self.lost {
            self.lost = end.is_none();
            return (used, None);
        }
        if self.so_far.len() + piece.len() > PACKED {
            self.so_far.clear();
            self.lost = end.is_none();
            return (used, Some(Err(NotAFrame("too long"))));
        }
        self.so_far.extend_from_slice(piece);
        if end.is_none() || self.so_far.is_empty() {
            return (used, None);
        }
        let cost = cost(self.so_far.len());
        let frame = unpack(&self.so_far).and_then(|plain| Frame::decode(&plain));
        self.so_far.clear();
        (
            used,
            Some(frame.map(|(stream, frame)| (stream, frame, cost))),
        )
    }
}

/// Packs it as it goes over the stream.
#[must_use]
pub fn encode(stream: u64, frame: &Frame) -> Vec<u8> {
    pack(stream, frame).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::tests::frames;

    fn all(decoder: &mut Decoder, mut bytes: &[u8]) -> Vec<Result<(u64, Frame), NotAFrame>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let (used, came) = decoder.take(bytes);
            assert!(used > 0);
            bytes = &bytes[used..];
            found.extend(came.map(|came| came.map(|(stream, frame, _)| (stream, frame))));
            assert!(decoder.so_far.len() <= PACKED);
        }
        found
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(frames in prop::collection::vec(frames(), 1..4), cut in 1..3000_usize) {
            let mut bytes = Vec::new();
            for (stream, frame) in &frames {
                let (packed, cost) = pack(*stream, frame);
                prop_assert_eq!(packed.iter().filter(|byte| **byte == 0).count(), 1);
                prop_assert!(packed.len() <= PACKED + 1);
                prop_assert_eq!(cost, packed.len() + PIECE);
                bytes.extend(packed);
            }
            let mut decoder = Decoder::default();
            let found: Vec<_> = bytes.chunks(cut).flat_map(|piece| all(&mut decoder, piece)).collect();
            prop_assert_eq!(found, frames.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn behind_rubbish_the_next_frame_is_found(mut rubbish in prop::collection::vec(any::<u8>(), 0..5000), (stream, frame) in frames()) {
            let mut decoder = Decoder::default();
            prop_assert!(all(&mut decoder, &rubbish).iter().all(Result::is_err));
            rubbish = vec![0];
            rubbish.extend(encode(stream, &frame));
            prop_assert_eq!(all(&mut decoder, &rubbish).pop(), Some(Ok((stream, frame))));
        }
    }

    #[test]
    fn runs_of_every_length_pass() {
        for length in [0, 1, 253, 254, 255, 507, 508, 509, 1024] {
            for byte in [0, 1, 255] {
                let frame = Frame::Data([vec![7], vec![byte; length], vec![9; 254]].concat());
                let found = all(&mut Decoder::default(), &encode(1, &frame));
                assert_eq!(found, [Ok((1, frame))], "{length} of {byte}");
            }
        }
    }
}
