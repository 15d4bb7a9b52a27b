//! Every message of every border, from any bytes. What decodes must encode to a frame that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use warder_wire::{
    Message, Request, decode, egress_gateway, encode, gateway_net, gateway_plugin, gateway_priv, link, net_egress,
    plugin_priv, priv_net, start,
};

fn round<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(frame: &[u8]) {
    if let Ok(message) = decode::<T>(frame) {
        let again = encode(&message).expect("what came in a frame fits one");
        assert_eq!(decode::<T>(&again).as_ref(), Ok(&message));
    }
}

fuzz_target!(|body: &[u8]| {
    let mut frame = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    frame.extend_from_slice(body);
    round::<Request<gateway_priv::Ask>>(&frame);
    round::<Message<gateway_priv::Answer, gateway_priv::Event>>(&frame);
    round::<Request<gateway_net::Ask>>(&frame);
    round::<Message<gateway_net::Answer, gateway_net::Event>>(&frame);
    round::<Request<gateway_plugin::Ask>>(&frame);
    round::<Message<gateway_plugin::Answer, gateway_plugin::Event>>(&frame);
    round::<Request<plugin_priv::Ask>>(&frame);
    round::<Message<plugin_priv::Answer, plugin_priv::Event>>(&frame);
    round::<Request<priv_net::Ask>>(&frame);
    round::<Message<priv_net::Answer, priv_net::Event>>(&frame);
    round::<Request<net_egress::Ask>>(&frame);
    round::<Message<net_egress::Answer, net_egress::Event>>(&frame);
    round::<egress_gateway::Event>(&frame);
    round::<link::Ask>(&frame);
    round::<link::Reply>(&frame);
    round::<start::Start>(&frame);
    round::<start::Ready>(&frame);
    let _ = decode::<link::Reply>(body);
});
