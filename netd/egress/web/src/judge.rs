//! What becomes of a connection: the order is that of names allowed, addresses allowed, addresses denied, all else.

use std::net::Ipv4Addr;

use warder_wire::egress_gateway::Why;
use warder_wire::{Cidr, HostName, NamePattern, Policy, ProxyHost, Rule};

use crate::Odd;
use crate::sniff::{Protocol, Seen};

/// What to do with a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Connect to the name, whatever address its client dialled.
    Name(HostName),
    /// Connect to the address that its client dialled.
    Address,
    /// Nothing.
    Refuse(Why),
}

/// Whether what a connection begins with has to be seen before it is judged: to find its name, or to refuse it in its own
/// words.
#[must_use]
pub fn needs_beginning(policy: &Policy, never: &[Cidr], to: Ipv4Addr, port: u16) -> bool {
    let allowed = policy.judge(never, to).0;
    !policy.airgap && Protocol::on(port).is_some() && (!allowed || !policy.names.is_empty())
}

/// Judges a connection to `to`. `seen` is `None` where its beginning tells no name ([`needs_beginning`]).
#[must_use]
pub fn judge(
    policy: &Policy,
    never: &[Cidr],
    to: Ipv4Addr,
    seen: Option<Result<&Seen, Odd>>,
) -> Verdict {
    // A name that may not be the true one decides nothing, but where every name is allowed.
    let any = policy.names.contains(&NamePattern::Any);
    let name = match seen {
        Some(Ok(seen)) if any || !seen.hidden() => seen.name(),
        _ => None,
    };
    if let Some(name) = name
        && policy.allows_name(name).is_some()
    {
        return Verdict::Name(name.clone());
    }
    let (allowed, rule) = policy.judge(never, to);
    if allowed {
        return Verdict::Address;
    }
    Verdict::Refuse(match seen {
        // Without names it is the address alone that decided.
        _ if rule == Rule::AirGap || policy.names.is_empty() => Why::Address(rule),
        Some(Err(_)) => Why::NotUnderstood,
        Some(Ok(seen)) if seen.hidden() => Why::HiddenName,
        Some(Ok(seen)) if seen.name().is_some() => Why::Name,
        Some(Ok(_)) => Why::NoName,
        None => Why::Address(rule),
    })
}

/// What a verdict was made from; enough to tell whether another policy would let it be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Basis {
    /// The name, if that decided.
    pub name: Option<HostName>,
    /// The address that its client dialled.
    pub meant: Ipv4Addr,
    /// The address it is connected to: its own, or the proxy's.
    pub dialled: Ipv4Addr,
    /// The proxy it goes through.
    pub proxy: Option<(ProxyHost, u16)>,
}

impl Basis {
    /// Whether the connection may stay under a policy.
    #[must_use]
    pub fn stands(&self, policy: &Policy, never: &[Cidr]) -> bool {
        let proxy = policy.proxy.as_ref().map(|p| (p.host.clone(), p.port));
        if proxy != self.proxy || !policy.reaches(never, self.dialled) {
            return false;
        }
        match &self.name {
            Some(name) if policy.allows_name(name).is_some() => true,
            // Only the proxy knows which address it is.
            Some(_) if proxy.is_some() => policy.deny.is_empty(),
            Some(_) => policy.judge(never, self.dialled).0,
            None => policy.judge(never, self.meant).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use warder_wire::Proxy;

    use super::*;
    use crate::hello::Hello;

    const MEANT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

    fn name(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    fn names(patterns: &[&str]) -> Policy {
        let pattern = |text: &&str| NamePattern::new(text).expect("a pattern");
        Policy {
            deny: vec![Cidr::ALL],
            names: patterns.iter().map(pattern).collect(),
            ..Policy::OPEN
        }
    }

    fn hello(text: Option<&str>, hidden: bool) -> Seen {
        let name = text.map(name);
        Seen::Tls(Hello { name, hidden })
    }

    #[test]
    fn a_name_decides_whatever_the_address() {
        let policy = names(&["example.com", "*.example.org"]);
        for (text, allowed) in [
            ("example.com", true),
            ("EXAMPLE.COM.", true),
            ("www.example.com", false),
            ("example.org", false),
            ("www.example.org", true),
            ("a.b.example.org", true),
            ("evilexample.org", false),
            ("example.com.evil.example", false),
        ] {
            let seen = hello(Some(text), false);
            // As good as any: what stands in the sandbox's /etc/hosts does not matter.
            for to in [MEANT, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::LOCALHOST] {
                let wanted = match allowed {
                    true => Verdict::Name(name(text)),
                    false => Verdict::Refuse(Why::Name),
                };
                assert_eq!(judge(&policy, &[], to, Some(Ok(&seen))), wanted, "{text}");
            }
        }
        let any = judge(
            &names(&["*"]),
            &[],
            MEANT,
            Some(Ok(&hello(Some("x.y"), false))),
        );
        assert_eq!(any, Verdict::Name(name("x.y")));
    }

    #[test]
    fn without_a_name_only_the_address_counts() {
        let named = names(&["example.com"]);
        let listed = Policy {
            allow: vec![Cidr::new(MEANT, 32).expect("a network")],
            ..named.clone()
        };
        let seen = hello(None, false);
        let on = |policy: &Policy, seen| judge(policy, &[], MEANT, seen);
        assert_eq!(on(&named, Some(Ok(&seen))), Verdict::Refuse(Why::NoName));
        assert_eq!(on(&listed, Some(Ok(&seen))), Verdict::Address);
        let odd = Some(Err(Odd::Http2));
        assert_eq!(on(&named, odd), Verdict::Refuse(Why::NotUnderstood));
        assert_eq!(on(&listed, odd), Verdict::Address);
        assert_eq!(on(&listed, None), Verdict::Address);
        let all = Rule::Deny(Cidr::ALL);
        assert_eq!(on(&named, None), Verdict::Refuse(Why::Address(all)));
    }

    #[test]
    fn a_name_that_may_be_hidden_decides_nothing() {
        let seen = hello(Some("example.com"), true);
        let policy = names(&["example.com"]);
        let found = judge(&policy, &[], MEANT, Some(Ok(&seen)));
        assert_eq!(found, Verdict::Refuse(Why::HiddenName));
        let any = judge(&names(&["*"]), &[], MEANT, Some(Ok(&seen)));
        assert_eq!(any, Verdict::Name(name("example.com")));
        let open = judge(&Policy::OPEN, &[], MEANT, Some(Ok(&seen)));
        assert_eq!(open, Verdict::Address);
    }

    #[test]
    fn without_names_the_refusal_is_the_address_s() {
        let deny = Policy {
            deny: vec![Cidr::ALL],
            ..Policy::OPEN
        };
        let seen = hello(Some("example.com"), false);
        let found = judge(&deny, &[], MEANT, Some(Ok(&seen)));
        assert_eq!(found, Verdict::Refuse(Why::Address(Rule::Deny(Cidr::ALL))));
        let found = judge(&deny, &[], MEANT, Some(Err(Odd::NotTls)));
        assert_eq!(found, Verdict::Refuse(Why::Address(Rule::Deny(Cidr::ALL))));
        let never = [Cidr::new(MEANT, 24).expect("a network")];
        let found = judge(&Policy::OPEN, &never, MEANT, Some(Ok(&seen)));
        assert_eq!(found, Verdict::Refuse(Why::Address(Rule::AlwaysDenied)));
        let found = judge(&Policy::CLOSED, &[], MEANT, Some(Ok(&seen)));
        assert_eq!(found, Verdict::Refuse(Why::Address(Rule::AirGap)));
    }

    #[test]
    fn only_what_is_needed_is_waited_for() {
        let deny = Policy {
            deny: vec![Cidr::ALL],
            ..Policy::OPEN
        };
        let needs = |policy: &Policy, port| needs_beginning(policy, &[], MEANT, port);
        assert!(needs(&deny, 80) && needs(&deny, 443) && !needs(&deny, 22));
        assert!(needs(&names(&["a.b"]), 443) && !needs(&names(&["a.b"]), 8443));
        // Through a proxy: the server may be the first to speak.
        assert!(!needs(&Policy::OPEN, 80) && !needs(&Policy::CLOSED, 80));
    }

    #[test]
    fn a_flow_stands_as_long_as_its_verdict_would_be_the_same() {
        let by_name = Basis {
            name: Some(name("example.com")),
            meant: MEANT,
            dialled: Ipv4Addr::new(203, 0, 113, 77),
            proxy: None,
        };
        let by_address = Basis {
            name: None,
            dialled: MEANT,
            ..by_name.clone()
        };
        let stands = |basis: &Basis, policy: &Policy| basis.stands(policy, &[]);
        assert!(stands(&by_name, &names(&["example.com"])));
        assert!(stands(&by_name, &names(&["*.x.example", "*"])));
        assert!(stands(&by_name, &Policy::OPEN));
        assert!(!stands(&by_name, &names(&["other.example"])));
        assert!(!stands(&by_name, &Policy::CLOSED));
        assert!(stands(&by_address, &Policy::OPEN));
        assert!(!stands(&by_address, &names(&["example.com"])));
        let never = [Cidr::new(MEANT, 24).expect("a network")];
        assert!(!by_name.stands(&names(&["example.com"]), &never));
        assert!(!by_address.stands(&Policy::OPEN, &never));
        let proxied = |port, login: Option<(String, String)>| Policy {
            proxy: Some(Proxy {
                host: ProxyHost::Address(MEANT),
                port,
                login,
            }),
            ..names(&["example.com"])
        };
        assert!(
            !stands(&by_name, &proxied(1080, None)),
            "now through a proxy"
        );
        let through = Basis {
            proxy: Some((ProxyHost::Address(MEANT), 1080)),
            ..by_name
        };
        let login = Some(("a".to_owned(), "b".to_owned()));
        assert!(stands(&through, &proxied(1080, None)));
        assert!(stands(&through, &proxied(1080, login)));
        assert!(!stands(&through, &proxied(1081, None)));
        assert!(
            !stands(&through, &names(&["example.com"])),
            "no proxy any more"
        );
        let open = |deny| Policy {
            names: vec![],
            deny,
            ..proxied(1080, None)
        };
        assert!(stands(&through, &open(vec![])));
        assert!(!stands(&through, &open(vec![Cidr::ALL])));
    }
}
