//! What sandboxes and DNS servers send to egressd, and packets as the kernel logs them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warder_egress::fuzz;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 3 {
        0 => fuzz::question(bytes),
        1 => fuzz::answer(bytes),
        _ => fuzz::packets(bytes),
    }
});
