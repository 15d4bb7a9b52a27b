//! Any records on a channel: it gives whole messages or ends, and never hangs or panics.
#![no_main]

use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use rustix::net::{SendFlags, send};
use warder_ipc::Channel;
use warder_wire::link::Reply;

fuzz_target!(|records: Vec<Vec<u8>>| {
    let (hostile, mut ours) = Channel::pair().expect("a pair");
    for record in records.iter().filter(|r| !r.is_empty()).take(8) {
        if send(hostile.as_fd(), record, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
            break;
        }
    }
    drop(hostile);
    while let Ok(Some(_)) = ours.recv::<Reply>() {}
});
