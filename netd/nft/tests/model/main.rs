//! Transactions against a small model of nftables: single steps lead to the same state as rendering it whole,
//! for any sequence; and the state is what it should be, written out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use warder_nft::model::{IfName, Step, Transaction};
use warder_nft::render::{self, DENIED, Port, Sandbox};
use warder_wire::InstanceTag;

fn tag() -> InstanceTag {
    InstanceTag::of_state_dir(b"a")
}

fn uplink() -> IfName {
    IfName::new("uplink").expect("short")
}

fn sandbox(n: u32, open: bool) -> Sandbox {
    let name = IfName::new(&format!("s{n}")).expect("short");
    let address = Ipv4Addr::from(0x0ac8_0001 + 2 * n);
    Sandbox {
        port: Port {
            name,
            address,
            mark: n + 1,
        },
        open,
    }
}

/// What a kernel would hold, as text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Kernel {
    chains: BTreeMap<String, Vec<String>>,
    sets: BTreeMap<String, BTreeSet<String>>,
    table: bool,
}

impl Kernel {
    /// All or nothing; an error names the step that a kernel would refuse.
    fn apply(&mut self, transaction: &Transaction) -> Result<(), String> {
        let mut next = self.clone();
        for step in &transaction.steps {
            next.step(step).ok_or_else(|| step.to_string())?;
        }
        *self = next;
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Table => self.table = true,
            Step::DropTable => *self = Self::default(),
            _ if !self.table => return None,
            Step::Set(set) => {
                self.sets.entry(set.name.to_owned()).or_default();
            }
            Step::Chain(chain) => {
                let head = if chain.base.is_some() {
                    vec![step.to_string()]
                } else {
                    Vec::new()
                };
                self.chains.entry(chain.name.clone()).or_insert(head);
            }
            Step::Flush(chain) => self.chains.get_mut(chain)?.clear(),
            Step::DropChain(chain) => {
                let goto = format!("goto {chain}");
                let used = |text: &String| text.ends_with(&goto);
                let by_rule = self.chains.values().flatten().any(used);
                let by_element = self.sets.values().flatten().any(used);
                if by_rule || by_element || !self.chains.remove(chain)?.is_empty() {
                    return None;
                }
            }
            Step::Rule(chain, parts) => {
                let text: Vec<String> = parts.iter().map(ToString::to_string).collect();
                for part in &text {
                    let named = part.split_once("goto ").map(|(_, chain)| chain);
                    if named.is_some_and(|chain| !self.chains.contains_key(chain)) {
                        return None;
                    }
                    let set = part.split_once('@').map(|(_, set)| set);
                    if set.is_some_and(|set| !self.sets.contains_key(set)) {
                        return None;
                    }
                }
                self.chains.get_mut(chain)?.push(text.join(" "));
            }
            Step::Add(set, elements) => {
                for element in elements {
                    let text = element.to_string();
                    let named = text.split_once("goto ").map(|(_, chain)| chain.to_owned());
                    if named.is_some_and(|chain| !self.chains.contains_key(&chain)) {
                        return None;
                    }
                    self.sets.get_mut(*set)?.insert(text);
                }
            }
            Step::Remove(set, name) => {
                let set = self.sets.get_mut(*set)?;
                let key = format!("\"{}\"", name.as_str());
                let found = set
                    .iter()
                    .find(|e| **e == key || e.starts_with(&format!("{key} :")))?;
                let found = found.clone();
                set.remove(&found);
            }
        }
        Some(())
    }
}

proptest! {
    #[test]
    fn any_steps_end_where_the_whole_state_does(
        steps in proptest::collection::vec((0_u32..6, 0_u8..3, any::<bool>()), 0..60),
    ) {
        let mut kernel = Kernel::default();
        kernel.apply(&render::router(tag(), &uplink(), &[])).expect("begins");
        let mut wanted: BTreeMap<u32, bool> = BTreeMap::new();
        for (n, what, open) in steps {
            let step = match (what, wanted.get(&n).copied()) {
                (0, None) => {
                    wanted.insert(n, open);
                    render::add(tag(), &sandbox(n, open))
                }
                (1, Some(was)) => {
                    wanted.insert(n, open);
                    render::change(tag(), &sandbox(n, open), was)
                }
                (2, Some(was)) => {
                    wanted.remove(&n);
                    render::remove(tag(), &sandbox(n, was).port, was)
                }
                _ => continue,
            };
            if let Err(refused) = kernel.apply(&step) {
                prop_assert!(false, "refused: {}", refused);
            }
            let boxes: Vec<_> = wanted.iter().map(|(n, open)| sandbox(*n, *open)).collect();
            let mut whole = kernel.clone();
            whole.apply(&render::router(tag(), &uplink(), &boxes)).expect("replaces");
            prop_assert_eq!(&kernel, &whole);
        }
        kernel.apply(&render::gone(tag())).expect("ends");
        prop_assert_eq!(kernel, Kernel::default());
    }

    #[test]
    fn denied_means_in_one_of_the_ranges(address in any::<u32>()) {
        let address = Ipv4Addr::from(address);
        let special = address.is_private() || address.is_loopback() || address.is_link_local()
            || address.is_multicast() || address.is_broadcast() || address.is_unspecified()
            || address.octets()[0] == 0 || address.octets()[0] >= 240
            || (address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64)
            || (address.octets()[0] == 198 && address.octets()[1] & 0xfe == 18)
            || address.octets()[..3] == [192, 0, 0];
        let denied = DENIED.iter().any(|(first, last)| (first..=last).contains(&&address));
        prop_assert_eq!(denied, special);
    }
}

#[test]
fn denied_ranges_rise_and_do_not_touch() {
    for pair in DENIED.windows(2) {
        let [(_, last), (first, _)] = pair else {
            continue;
        };
        assert!(u32::from(*last) + 1 < u32::from(*first), "{last} {first}");
    }
    assert!(DENIED.iter().all(|(first, last)| first <= last));
}

#[test]
fn the_router_table_is_as_written() {
    let boxes = [sandbox(0, true), sandbox(1, false)];
    let text = render::router(tag(), &uplink(), &boxes).to_string();
    assert_eq!(text, include_str!("golden/router.txt"));
}

#[test]
fn the_host_table_is_as_written() {
    let name = IfName::new("wue40c292c").expect("short");
    let text = render::host(tag(), &name, Ipv4Addr::new(198, 19, 0, 3)).to_string();
    assert_eq!(text, include_str!("golden/host.txt"));
}

#[test]
fn single_steps_are_as_written() {
    let steps = [
        render::add(tag(), &sandbox(0, true)),
        render::change(tag(), &sandbox(0, false), true),
        render::change(tag(), &sandbox(0, true), false),
        render::remove(tag(), &sandbox(0, true).port, true),
        render::gone(tag()),
    ];
    let text: String = steps.iter().map(ToString::to_string).collect();
    assert_eq!(text, include_str!("golden/steps.txt"));
}

#[test]
fn names_are_interface_names() {
    for bad in ["", "a b", "a/b", "..", "sixteen-bytes-xx", "a\"b", "s1:0"] {
        assert!(IfName::new(bad).is_none(), "{bad}");
    }
}
