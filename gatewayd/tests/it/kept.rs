//! Network policies that are asked for while the host's packet filter does not hold.

use std::thread;

use serde_json::json;
use warder_wire::{Fault, FaultCode, Message, Policy, Request, gateway_net};

use super::fake::Fake;
use super::http::{Answer as Reply, SOON};
use super::network::{deny_all, detail, generations, id, put, until};

/// A change that netd keeps, as the host's packet filter does not hold: closed until then, and shown so.
#[test]
fn what_netd_keeps_is_in_force_once_it_opens() {
    use gateway_net::{Answer, Ask, Event};
    type Ours = Message<Answer, Event>;
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    let mut netd = fake.net_by_hand();
    let (mut held, mut open) = ((1, Policy::OPEN), false);
    thread::scope(|scope| {
        let mut begun = false;
        let mut change: Option<thread::ScopedJoinHandle<'_, Reply>> = None;
        until("it is in force", || {
            if change
                .as_ref()
                .is_some_and(thread::ScopedJoinHandle::is_finished)
                && let Some(change) = change.take()
            {
                let answer = change.join().expect("an answer");
                assert!(answer.is_error(503).text().contains("pf is not enabled"));
                let state = detail(&fake, &id)["networkState"].clone();
                let said = (&state["generation"], &state["inForce"], &state["closed"]);
                assert_eq!(said, (&json!(2), &json!(0), &json!(true)));
                open = true;
                let event = Ours::Event(Event::Opened);
                netd.send_timeout(&event, Vec::new(), SOON).expect("room");
            }
            let soon = std::time::Duration::from_millis(20);
            if let Ok((ask, _)) = netd.recv_timeout::<Request<Ask>>(soon) {
                let result = Ok(match ask.body {
                    Ask::PolicyGet { .. } => Answer::Policy {
                        generation: held.0,
                        policy: held.1.clone(),
                        airgap: !open,
                        sealed: !open,
                    },
                    Ask::PolicySet {
                        generation, policy, ..
                    } => {
                        held = (generation, policy);
                        let fault = Fault::new(FaultCode::Unsupported, "pf is not enabled");
                        match open {
                            true => Answer::InForce {
                                generation,
                                airgap: false,
                            },
                            false => Answer::Kept { generation, fault },
                        }
                    }
                });
                let reply = Ours::Reply {
                    seq: ask.seq,
                    result,
                };
                netd.send_timeout(&reply, Vec::new(), SOON).expect("room");
                // It is asked as every new one is, and is the one that is asked from then on.
                if !begun {
                    change = Some(scope.spawn(|| put(&fake, &id, deny_all())));
                    begun = true;
                }
            }
            open && generations(&fake, &id) == (2, 2)
        });
    });
    let state = &detail(&fake, &id)["networkState"];
    assert_eq!(state["closed"], json!(false));
    assert_eq!(
        held.0, 2,
        "what was asked for holds, and nothing else was set"
    );
}
