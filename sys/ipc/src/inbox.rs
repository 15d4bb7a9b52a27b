//! Puts received bytes together to whole frames, pure.
//!
//! Linux keeps the boundaries of `SOCK_SEQPACKET`; FreeBSD 15 may join and split records. With
//! boundaries a record that is not exactly one frame is a violation; without them frames are cut from the
//! stream. Descriptors belong to the frame whose first byte they came with.

use warder_wire::frame::{self, MAX_FDS, MAX_FRAME};

use crate::IpcError;
use crate::fds::Fds;

/// A whole frame with its descriptors.
pub(crate) type Whole = (Vec<u8>, Fds);

/// Received bytes and descriptors that are not a whole frame yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    fds: Fds,
}

impl Inbox {
    /// Takes in what one receive call returned.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        fds: Fds,
        keeps_boundaries: bool,
    ) -> Result<(), IpcError> {
        if keeps_boundaries && frame::frame_len(bytes)? != Some(bytes.len()) {
            return Err(IpcError::Violation("a record that is not one frame"));
        }
        if fds.len() > 0 {
            if !self.bytes.is_empty() {
                return Err(IpcError::Violation("descriptors inside a frame"));
            }
            // FreeBSD 15 queues them alone when there is room for no byte more, and then tells a sender that does not
            // wait to send all of it again (uipc_sosend_stream_or_seqpacket, uipc_usrreq.c).
            self.fds = fds;
        }
        self.bytes.extend_from_slice(bytes);
        if self.fds.len() > MAX_FDS || self.bytes.len() > 2 * MAX_FRAME {
            return Err(IpcError::Violation("too much at once"));
        }
        Ok(())
    }

    /// Cuts off the first whole frame with its descriptors.
    pub(crate) fn pop(&mut self) -> Result<Option<Whole>, IpcError> {
        match frame::frame_len(&self.bytes)? {
            Some(length) if length <= self.bytes.len() => {
                let rest = self.bytes.split_off(length);
                let whole = std::mem::replace(&mut self.bytes, rest);
                Ok(Some((whole, std::mem::take(&mut self.fds))))
            }
            _ => Ok(None),
        }
    }

    /// Whether a frame has begun and not ended; the end of the channel now is a violation.
    pub(crate) fn is_partial(&self) -> bool {
        !self.bytes.is_empty() || self.fds.len() > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warder_wire::frame::encode;

    use super::*;

    proptest! {
        #[test]
        fn any_cutting_of_a_stream_gives_the_same_frames(values in proptest::collection::vec(any::<u64>(), 1..20), cut in 1_usize..9) {
            let stream: Vec<u8> = values.iter().flat_map(|v| encode(v).expect("fits")).collect();
            let mut inbox = Inbox::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                inbox.push(piece, Fds::default(), false).expect("within bounds");
                while let Some((frame, _)) = inbox.pop().expect("frames are whole") {
                    got.push(warder_wire::decode::<u64>(&frame).expect("encoded above"));
                }
            }
            prop_assert_eq!(got, values);
            prop_assert!(!inbox.is_partial());
        }

        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16), keeps in any::<bool>()) {
            let mut inbox = Inbox::default();
            for piece in pieces {
                if inbox.push(&piece, Fds::default(), keeps).is_err() || inbox.pop().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn descriptors_sent_again_count_once() {
        let frame = encode(&7_u64).expect("fits");
        let null = || std::fs::File::open("/dev/null").expect("null").into();
        let mut inbox = Inbox::default();
        inbox
            .push(&[], Fds::from(vec![null(), null()]), false)
            .expect("none of its bytes");
        inbox
            .push(&frame, Fds::from(vec![null(), null()]), false)
            .expect("all of it");
        let (_, fds) = inbox.pop().expect("whole").expect("whole");
        assert_eq!(fds.len(), 2);
    }

    #[test]
    fn a_cut_record_is_a_violation_where_boundaries_hold() {
        let frame = encode(&7_u64).expect("fits");
        let mut inbox = Inbox::default();
        assert!(
            inbox
                .push(&frame[..frame.len() - 1], Fds::default(), true)
                .is_err()
        );
        let mut inbox = Inbox::default();
        inbox.push(&frame, Fds::default(), true).expect("whole");
        assert!(inbox.pop().expect("whole").is_some());
    }
}
