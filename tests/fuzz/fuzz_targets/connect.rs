//! E2B's agent messages: envelopes cut anywhere, and any JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warder_connect::envelope::Decoder;
use warder_connect::{filesystem, process};

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut decoder = Decoder::new(64 * 1024);
    let mut whole = 0;
    for chunk in bytes.chunks(usize::from(*cut).max(1)) {
        decoder.push(chunk);
        while let Ok(Some((_, message))) = decoder.next_message() {
            whole += message.len();
            assert!(whole <= bytes.len(), "more came out than went in");
            let _ = warder_connect::json::parse::<process::StreamInputRequest>(&message);
        }
    }
    let _ = decoder.finish();
    let _ = warder_connect::json::parse::<process::StartRequest>(bytes);
    let _ = warder_connect::json::parse::<process::StreamInputRequest>(bytes);
    let _ = warder_connect::json::parse::<filesystem::WatchDirRequest>(bytes);
    let _ = warder_connect::json::parse::<filesystem::FilesystemEvent>(bytes);
});
