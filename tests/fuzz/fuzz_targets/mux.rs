//! What a virtual machine says on its link: frames out of bytes, however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warder_mux::frame::{Frame, MOST};
use warder_mux::line::{Came, Decoder, encode};

fn all(bytes: &[u8], cut: usize) -> Vec<Result<Came, ()>> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for mut piece in bytes.chunks(cut) {
        while !piece.is_empty() {
            let (used, came) = decoder.take(piece);
            assert!(0 < used && used <= piece.len());
            piece = &piece[used..];
            found.extend(came.map(|came| came.map_err(|_| ())));
        }
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    // What is found does not depend on how it came.
    let found = all(bytes, usize::from(*cut) + 1);
    assert_eq!(found, all(bytes, usize::MAX));
    for (stream, frame, cost) in found.into_iter().flatten() {
        if let Frame::Data(bytes) = &frame {
            assert!((1..=MOST).contains(&bytes.len()));
        }
        let packed = encode(stream, &frame);
        assert_eq!(all(&packed, 1), [Ok((stream, frame, cost))]);
    }
    // Hardly any bytes have the right check: the same ones with theirs.
    let checked = [bytes, &crc32fast::hash(bytes).to_be_bytes()].concat();
    if let Ok((stream, frame)) = Frame::decode(&checked) {
        assert_eq!(frame.encode(stream), checked);
    }
});
