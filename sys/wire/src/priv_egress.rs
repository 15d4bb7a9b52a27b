//! Between privd (zone 3) and egressd (zone 1), one way after the first frames: egressd asks nothing of privd.

use serde::{Deserialize, Serialize};

/// What egressd may ask of privd: nothing. A frame ends it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {}

/// What privd tells egressd unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// The gateway was restarted: the new channel to it rides along, the old one is dead. Flows are not touched.
    GatewayChannel,
}
