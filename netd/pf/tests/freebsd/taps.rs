//! The slot of a virtual machine: the same rules on a tap(4). This process is the machine: what it writes to the tap's device
//! comes from the guest, and what it reads is what a guest would be sent.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warder_freebsd::net::Stack;
use warder_links::plan::SlotSpec;
use warder_wire::Policy;

use crate::guests::{Ended, inside, tcp};
use crate::world::{SERVER, Slot, World};

/// A port of the internet's that answers each datagram with itself.
const ECHO: u16 = 9000;

struct Machine<'a> {
    tap: File,
    slot: &'a Slot,
}

impl Machine<'_> {
    /// Sends a datagram to the echo port of an address, from whom it likes.
    fn sends(&mut self, mac: [u8; 6], from: Ipv4Addr, to: Ipv4Addr, text: &str) {
        let length = |more: usize| {
            u16::try_from(more + text.len())
                .expect("short")
                .to_be_bytes()
        };
        let mut udp = vec![0x30, 0x39];
        udp.extend(ECHO.to_be_bytes());
        udp.extend(length(8));
        // Without a checksum, as UDP may be.
        udp.extend([0, 0]);
        udp.extend(text.bytes());
        let mut ip = vec![0x45, 0];
        ip.extend(length(28));
        ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
        ip.extend(from.octets());
        ip.extend(to.octets());
        let words = ip
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
        ip[10..12].copy_from_slice(&(!sum).to_be_bytes());
        let frame = [
            &self.slot.pair.gateway_mac()[..],
            &mac[..],
            &[8, 0][..],
            &ip[..],
            &udp[..],
        ];
        self.tap.write_all(&frame.concat()).expect("written");
    }

    fn says(&mut self, to: Ipv4Addr, text: &str) {
        self.sends(self.slot.pair.mac(), self.slot.pair.address, to, text);
    }

    /// The texts that come, up to and with `last`, or until nothing comes.
    fn hears(&mut self, last: &str, patience: Duration) -> Vec<String> {
        let mut heard = Vec::new();
        let patience = Timespec::try_from(patience).expect("fits");
        let mut frame = [0; 2048];
        loop {
            let ready = poll(
                &mut [PollFd::new(&self.tap, PollFlags::IN)],
                Some(&patience),
            );
            if ready.expect("polls") == 0 {
                return heard;
            }
            let length = self.tap.read(&mut frame).expect("reads");
            let [.., 8, 0] = frame[..14] else { continue };
            if length < 42 || frame[23] != 17 {
                continue;
            }
            let text = String::from_utf8_lossy(&frame[42..length]).into_owned();
            let text = text.trim_end_matches('\0').to_owned();
            let over = text == last;
            heard.push(text);
            if over {
                return heard;
            }
        }
    }
}

pub(crate) fn machines_are_held_too(world: &mut World) {
    const LONG: Duration = Duration::from_secs(20);
    let mut slot = world.sandbox(&Policy::OPEN);
    assert_eq!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    let spec = SlotSpec {
        pair: slot.pair,
        counter: slot.counter,
        ping_groups: (0, 0),
    };
    let unit = match world.maker.tap(&spec) {
        Ok(unit) => unit,
        Err(lacks) => {
            assert!(lacks.to_string().contains("vmm_load"), "{lacks}");
            println!("    not here: {lacks}");
            return world.remove(slot);
        }
    };
    assert_eq!(world.maker.tap(&spec).expect("there"), unit, "the same one");
    let flags = crate::world::sh(&format!("ifconfig {}", slot.port.name.as_str()));
    assert!(
        !flags.contains("<UP,"),
        "down until it was looked at: {flags}"
    );
    let (counter, pair) = (slot.counter, slot.pair);
    world.router().begin(counter, &pair).expect("comes up");
    let stack = Stack::of_jail(slot.jid).expect("sockets");
    assert!(stack.mtu("eth0").is_err(), "the jail has no network left");
    let path = format!("/dev/vmnet{unit}");
    let device = || {
        File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("the device")
    };

    let pair = slot.pair;
    let stolen = Ipv4Addr::from(u32::from(pair.address) + 2);
    let mut machine = Machine {
        tap: device(),
        slot: &slot,
    };
    machine.says(SERVER, "first");
    assert_eq!(machine.hears("first", LONG), ["first"]);
    machine.sends(pair.mac(), stolen, SERVER, "another address");
    machine.sends([2, 1, 9, 9, 9, 9], pair.address, SERVER, "another mac");
    machine.says(pair.gateway, "to the host");
    machine.says(SERVER, "second");
    let heard = machine.hears("second", LONG);
    assert_eq!(heard, ["second"], "what is forged or inward gets no answer");
    let Machine { tap, .. } = machine;

    world.put(&mut slot, &Policy::CLOSED, warder_wire::Bounds::DEFAULT);
    let mut machine = Machine { tap, slot: &slot };
    machine.says(SERVER, "closed");
    let heard = machine.hears("closed", Duration::from_secs(2));
    assert!(heard.is_empty(), "{heard:?}");
    drop(machine);
    world.put(&mut slot, &Policy::OPEN, warder_wire::Bounds::DEFAULT);
    let mut machine = Machine {
        tap: device(),
        slot: &slot,
    };
    machine.says(SERVER, "third");
    assert_eq!(machine.hears("third", LONG), ["third"]);
    drop(machine);
    let port = slot.port.name.as_str().to_owned();
    world.remove(slot);
    // Not by its device: a look at that makes another (tap(4), devfs cloning).
    assert!(!world.maker.is_there(&port).expect("a look"), "it is gone");
}
