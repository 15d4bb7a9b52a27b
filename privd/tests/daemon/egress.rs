//! egressd between netd and the gateway: who has which end, and who dies with whom.

use std::time::Duration;

use warder_ipc::Channel;
use warder_wire::gateway_priv::Event;
use warder_wire::start::Role;
use warder_wire::{Cidr, Request, priv_egress};

use crate::stage::{Instance, PATIENCE, Part};

/// Whether what is sent on one end comes out of the other.
fn joined(one: &mut Channel, other: &mut Channel, word: u32) {
    one.send(&word, Vec::new()).expect("sends");
    let (got, _) = other.recv_timeout::<u32>(PATIENCE).expect("comes");
    assert_eq!(got, word);
}

fn own_ends(stage: &mut Instance) -> (Channel, Channel) {
    let mut fds = std::mem::take(&mut stage.player(Part::Egress).fds).into_iter();
    let mut next = || Channel::from_fd(fds.next().expect("two")).expect("a channel");
    (next(), next())
}

fn at_gateway(stage: &mut Instance, count: usize) -> Channel {
    stage.until("the gateway has its end", |stage| {
        stage.egress_ends.len() == count
    });
    let end = stage.egress_ends[count - 1].try_clone().expect("room");
    Channel::from_fd(end).expect("a channel")
}

fn at_net(stage: &mut Instance) -> Channel {
    let mut end = None;
    stage.until("netd has its end", |stage| {
        end = end.take().or_else(|| stage.egress_at_net(1));
        end.is_some()
    });
    end.expect("there")
}

pub(crate) fn egressd_is_joined_to_netd_and_the_gateway() {
    let mut stage =
        Instance::start("on_stop remove\ndns_servers 10.1.2.3\nnetwork_never 203.0.113.0/24");
    let Some(Role::Egress {
        never, resolvers, ..
    }) = stage.egress_start.clone()
    else {
        panic!("another role");
    };
    let ranges: Vec<String> = never.iter().map(Cidr::to_string).collect();
    assert_eq!(ranges, ["203.0.113.0/24"]);
    assert_eq!(resolvers, [std::net::Ipv4Addr::new(10, 1, 2, 3)]);
    let (mut to_net, mut to_gateway) = own_ends(&mut stage);
    let mut net = at_net(&mut stage);
    joined(&mut to_net, &mut net, 1);
    joined(&mut net, &mut to_net, 2);
    let mut gateway = at_gateway(&mut stage, 1);
    joined(&mut to_gateway, &mut gateway, 3);

    // A new gateway: egressd lives on, with a new channel to it and the old one to netd.
    let pid = stage.player(Part::Egress).pid;
    stage.kill(Part::Gateway);
    stage.take(Part::Gateway);
    let (_, mut fds) = stage
        .player(Part::Egress)
        .channel
        .recv_timeout::<priv_egress::Event>(PATIENCE)
        .expect("it is told");
    let mut to_gateway = Channel::from_fd(fds.pop().expect("one")).expect("a channel");
    let mut gateway = at_gateway(&mut stage, 2);
    joined(&mut to_gateway, &mut gateway, 4);
    joined(&mut to_net, &mut net, 5);
    assert_eq!(stage.player(Part::Egress).pid, pid);

    // A new egressd: both are told; sandboxes do not notice.
    let a = crate::id(1);
    stage.create(&a);
    stage.kill(Part::Egress);
    stage.take(Part::Egress);
    let (mut to_net, mut to_gateway) = own_ends(&mut stage);
    let mut net = at_net(&mut stage);
    joined(&mut to_net, &mut net, 6);
    let mut gateway = at_gateway(&mut stage, 3);
    joined(&mut to_gateway, &mut gateway, 7);
    stage.greet(&a);

    // One that netd has no use for is replaced.
    stage.refuse_egress();
    stage.kill(Part::Egress);
    stage.take(Part::Egress);
    let useless = stage.player(Part::Egress).pid;
    stage.take(Part::Egress);
    assert_ne!(stage.player(Part::Egress).pid, useless);
    let (mut to_net, mut to_gateway) = own_ends(&mut stage);
    let mut net = None;
    stage.until("netd has both ends", |stage| {
        net = net.take().or_else(|| stage.egress_at_net(2));
        net.is_some()
    });
    drop(at_net(&mut stage));
    joined(&mut to_net, &mut net.expect("there"), 10);
    let mut gateway = at_gateway(&mut stage, 5);
    joined(&mut to_gateway, &mut gateway, 11);
    assert!(
        stage
            .log()
            .contains("audit: egressd did not do as netd told it")
    );

    // A new netd brings a new egressd.
    let pid = stage.player(Part::Egress).pid;
    stage.kill(Part::Net);
    stage.take_net();
    assert_ne!(stage.player(Part::Egress).pid, pid);
    let (mut to_net, mut to_gateway) = own_ends(&mut stage);
    let mut net = at_net(&mut stage);
    joined(&mut to_net, &mut net, 8);
    let mut gateway = at_gateway(&mut stage, 6);
    joined(&mut to_gateway, &mut gateway, 9);
    stage.greet(&a);
    let joins = stage.count(|event| matches!(event, Event::EgressChannel));
    assert_eq!(joins, 5, "since this gateway came");
    stage.stop_clean();
}

pub(crate) fn egressd_asks_nothing_of_privd() {
    let mut stage = Instance::start("on_stop remove");
    for attack in 0..2 {
        let player = stage.player(Part::Egress);
        match attack {
            0 => player
                .channel
                .send(&Request { seq: 1, body: 0_u8 }, Vec::new()),
            _ => player.channel.send(&vec![0xff_u8; 1000], Vec::new()),
        }
        .expect("sends");
        let ended = player.channel.recv_timeout::<u8>(Duration::from_secs(20));
        assert!(matches!(ended, Err(warder_ipc::IpcError::Closed)));
        stage.take(Part::Egress);
    }
    assert!(stage.log().contains("audit: egressd"));
    stage.stop_clean();
}
