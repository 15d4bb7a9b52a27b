//! E2B's tables of what is accepted and what is not, and ours for what they leave out.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use serde_json::{Value, json};
use warder_wire::Policy;
use warder_wire::policy::{Cidr, HostName, ProxyHost};

use super::body::{Options, Update};
use super::{Network, Shown, Standing, egress_event, of_create, of_update};
use crate::error::ApiError;

const NO_DENY_ALL: &str = "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to \
                           block all other traffic.";

/// The body of an update, and the same as `network` of a create.
fn both(body: &Value) -> [Result<Network, ApiError>; 2] {
    let options: Options = serde_json::from_value(body.clone()).expect("options");
    let update: Update = serde_json::from_value(body.clone()).expect("an update");
    [of_create(None, Some(options)), of_update(update, || Ok(()))]
}

fn refused(body: &Value) -> String {
    let [create, update] = both(body).map(|read| read.expect_err("refused"));
    assert_eq!(
        (create.status.as_u16(), update.status.as_u16()),
        (400, 400),
        "{body}"
    );
    assert_eq!(create.message, update.message, "{body}");
    update.message
}

fn accepted(body: &Value) -> Policy {
    let [create, update] = both(body).map(|read| read.unwrap_or_else(|e| panic!("{body}: {e}")));
    assert_eq!(create, update, "{body}");
    update.policy(false)
}

fn lists(allow: &[&str], deny: &[&str]) -> Value {
    json!({ "allowOut": allow, "denyOut": deny })
}

#[test]
fn what_e2b_refuses() {
    let port = |which: &str, entry: &str| {
        format!(
            "invalid {which} entry \"{entry}\": port-specific rules are not supported for egress"
        )
    };
    let none: &[&str] = &[];
    for (allow, deny, wanted) in [
        (
            none,
            &["example.com"][..],
            "invalid denied CIDR example.com".to_owned(),
        ),
        (
            none,
            &["not-a-cidr"],
            "invalid denied CIDR not-a-cidr".to_owned(),
        ),
        (
            none,
            &["0.0.0.0/0", "example.com"],
            "invalid denied CIDR example.com".to_owned(),
        ),
        (&["google.com"], none, NO_DENY_ALL.to_owned()),
        (&["google.com"], &["10.0.0.0/8"], NO_DENY_ALL.to_owned()),
        (&["*.example.com"], none, NO_DENY_ALL.to_owned()),
        (&["*.example.com"], &["10.0.0.0/8"], NO_DENY_ALL.to_owned()),
        (
            &["example.com", "8.8.8.8"],
            &["10.0.0.0/8"],
            NO_DENY_ALL.to_owned(),
        ),
        (none, &["10.0.0.0/8:22"], port("deny out", "10.0.0.0/8:22")),
        (&["8.8.8.8:80"], none, port("allow out", "8.8.8.8:80")),
        (
            &["8.8.8.8:80-443"],
            none,
            port("allow out", "8.8.8.8:80-443"),
        ),
    ] {
        assert_eq!(refused(&lists(allow, deny)), wanted, "{allow:?} {deny:?}");
    }
}

#[test]
fn what_e2b_accepts() {
    let none: &[&str] = &[];
    for (allow, deny) in [
        (none, none),
        (&["8.8.8.8"][..], none),
        (&["8.8.8.8"], &["10.0.0.0/8"][..]),
        (&["8.8.0.0/16"], none),
        (none, &["0.0.0.0/0"]),
        (&["8.8.8.8"], &["0.0.0.0/0"]),
        (&["google.com"], &["0.0.0.0/0"]),
        (&["*.example.com"], &["0.0.0.0/0"]),
        (&["example.com", "8.8.8.8"], &["0.0.0.0/0"]),
        (none, &["10.0.0.0/8", "192.168.0.0/16"]),
    ] {
        let policy = accepted(&lists(allow, deny));
        let entries = policy.allow.len() + policy.names.len();
        assert_eq!((entries, policy.deny.len()), (allow.len(), deny.len()));
    }
    assert!(accepted(&json!({})).is_open());
    assert!(accepted(&json!({"allowOut": null, "denyOut": null, "egressProxy": null})).is_open());
}

#[test]
fn what_is_unspecified_is_refused_but_for_all_traffic() {
    for entry in [
        "0.0.0.0",
        "::",
        "0.0.0.0/24",
        "0.0.0.0/32",
        "::/128",
        "::/0",
    ] {
        let (allow, deny) = (
            refused(&lists(&[entry], &[])),
            refused(&lists(&[], &[entry])),
        );
        assert_eq!(allow, format!("invalid allowed address {entry}"));
        assert_eq!(deny, format!("invalid denied CIDR {entry}"));
    }
    let policy = accepted(&lists(&["0.0.0.0/0"], &["0.0.0.0/0"]));
    assert_eq!(
        (policy.allow, policy.deny),
        (vec![Cidr::ALL], vec![Cidr::ALL])
    );
}

#[test]
fn the_order_of_the_checks() {
    // Each has every later mistake too.
    let all = json!({
        "allowOut": ["0.0.0.0", "a.example:1", "no name"], "denyOut": ["x", "10.0.0.0/8"],
        "dnsServers": ["x"], "egressProxy": {}, "rules": {"a": 1},
    });
    let mut body = all.clone();
    assert!(refused(&body).starts_with("invalid allow out entry"));
    body["allowOut"] = json!(["0.0.0.0", "no name"]);
    assert_eq!(refused(&body), "invalid denied CIDR x");
    body["denyOut"] = json!(["10.0.0.0/8"]);
    assert_eq!(refused(&body), "invalid allowed address 0.0.0.0");
    body["allowOut"] = json!(["no name"]);
    assert_eq!(refused(&body), NO_DENY_ALL);
    body["denyOut"] = json!(["0.0.0.0/0"]);
    assert!(refused(&body).starts_with("invalid allowed domain no name"));
    body["allowOut"] = json!(["a.example"]);
    assert!(refused(&body).starts_with("invalid DNS server x"));
    body["dnsServers"] = json!([]);
    assert_eq!(
        refused(&body),
        "Invalid egress proxy config: address is empty"
    );
    body["egressProxy"] = Value::Null;
    let [create, update] = both(&body).map(|read| read.expect_err("rules").message);
    assert!(create.starts_with("network.rules is not supported"));
    assert!(update.starts_with("rules is not supported"));
    // Rules are the only mistake that a sandbox nobody knows comes before.
    let unknown = |body: &Value| {
        let update: Update = serde_json::from_value(body.clone()).expect("an update");
        of_update(update, || Err(ApiError::no_sandbox("i1"))).expect_err("refused")
    };
    assert_eq!(unknown(&body).status.as_u16(), 404);
    assert_eq!(unknown(&all).status.as_u16(), 400);
}

#[test]
fn lists_are_bounded() {
    let addresses = |n: u32| (1..=n).map(|n| Ipv4Addr::from(n << 8 | 1 << 27).to_string());
    let addresses = |n| json!(addresses(n).collect::<Vec<_>>());
    let names =
        |n: u32, label: &str| json!((0..n).map(|n| format!("{label}{n}.a")).collect::<Vec<_>>());
    let all = json!(["0.0.0.0/0"]);
    for (body, list, count, most) in [
        (
            json!({"allowOut": addresses(10_000)}),
            "allowOut",
            10_000,
            1000,
        ),
        (json!({"allowOut": addresses(1001)}), "allowOut", 1001, 1000),
        (json!({"denyOut": addresses(1001)}), "denyOut", 1001, 1000),
        (
            json!({"allowOut": names(501, "n"), "denyOut": all}),
            "allowOut",
            501,
            500,
        ),
        (
            json!({"allowOut": names(10_000, "n"), "denyOut": all}),
            "allowOut",
            10_000,
            500,
        ),
        (
            json!({"allowOut": names(500, &"n".repeat(40)), "denyOut": all}),
            "allowOut",
            22_390,
            16_000,
        ),
        (json!({"dnsServers": addresses(11)}), "dnsServers", 11, 10),
    ] {
        let message = refused(&body);
        let has = |what: &str| message.split([' ', ';']).any(|word| word == what);
        let wanted = has(list) && has(&count.to_string()) && has(&most.to_string());
        assert!(wanted, "{message}");
    }
    let policy = accepted(
        &json!({"allowOut": addresses(1000), "denyOut": addresses(1000), "dnsServers": addresses(10)}),
    );
    assert_eq!((policy.allow.len(), policy.deny.len()), (1000, 1000));
    accepted(&json!({"allowOut": names(500, "n"), "denyOut": all}));
}

#[test]
fn names_are_checked_strictly() {
    let long = format!("{}.example", "a".repeat(246));
    assert_eq!(long.len(), 254);
    for name in [
        "",
        " ",
        ".",
        "*.",
        "**.a",
        "a.*.b",
        "*a.b",
        "a..b",
        "a.b..",
        ".a.b",
        "-a.b",
        "a-.b",
        "a b.c",
        "exämple.com",
        "ex\u{200b}ample.com",
        "ｅxample.com",
        "a\0.b",
        "a.b\n",
        "a.b/c",
        "8.8.8",
        "1.2.3.4.5",
        "0x7f.1",
        "a.1",
        &"a".repeat(64),
        &long,
    ] {
        let message = refused(&lists(&[name], &["0.0.0.0/0"]));
        assert!(
            message.starts_with("invalid allowed domain"),
            "{name}: {message}"
        );
        assert!(message.len() < 600);
    }
    let of = |name: &str| accepted(&lists(&[name], &["0.0.0.0/0"])).names[0].to_string();
    // The dot at the end only says that the name is whole.
    assert_eq!(of("Example.COM."), "example.com");
    assert_eq!(of("*.Example.com"), "*.example.com");
    assert_eq!(of("xn--exmple-cua.com"), "xn--exmple-cua.com");
    assert_eq!(of("*"), "*");
}

#[test]
fn lists_may_overlap_and_repeat() {
    let policy = accepted(&lists(
        &[
            "8.8.8.8",
            "8.8.8.8/32",
            "8.8.8.0/24",
            "A.example",
            "a.example.",
            "8.8.8.8",
        ],
        &["0.0.0.0/0", "8.8.8.8", "0.0.0.0/0"],
    ));
    assert_eq!(
        (policy.allow.len(), policy.deny.len(), policy.names.len()),
        (2, 2, 1)
    );
    let judge = |to: [u8; 4]| policy.judge(&[], to.into()).0;
    assert!(judge([8, 8, 8, 8]) && judge([8, 8, 8, 9]) && !judge([8, 8, 9, 9]));
}

#[test]
fn without_internet_access_only_what_is_allowed_is_left() {
    let of = |internet, body: Value| {
        let options: Options = serde_json::from_value(body).expect("options");
        of_create(internet, Some(options)).map(|network| network.policy(false))
    };
    let policy = of(Some(false), lists(&["8.8.8.8"], &["1.2.3.4", "5.6.7.8"])).expect("fine");
    assert_eq!(policy.deny, [Cidr::ALL]);
    let judge = |to: [u8; 4]| policy.judge(&[], to.into()).0;
    assert!(judge([8, 8, 8, 8]) && !judge([1, 1, 1, 1]));
    assert!(of(Some(true), json!({})).expect("fine").is_open());
    // Names want the deny list to say it, as E2B has it.
    let error = of(Some(false), lists(&["a.example"], &[])).expect_err("not said");
    assert_eq!(error.message, NO_DENY_ALL);
    of(Some(false), lists(&["a.example"], &["0.0.0.0/0"])).expect("said");
}

#[test]
fn an_update_clears_what_it_leaves_out_and_keeps_what_holds_for_life() {
    let read = |body: Value| {
        let update: Update = serde_json::from_value(body).expect("an update");
        of_update(update, || Ok(())).expect("fine")
    };
    let options = json!({"allowPublicTraffic": false, "allowOut": ["8.8.8.8"], "dnsServers": []});
    let options: Options = serde_json::from_value(options).expect("options");
    let before = of_create(Some(false), Some(options)).expect("fine");
    let after = before.updated(read(json!({"denyOut": ["1.2.3.4"]})));
    assert_eq!(after.fixed.public_traffic, Some(false));
    assert_eq!(
        (after.internet, &after.egress.allow, &after.egress.dns),
        (None, &None, &None)
    );
    assert!(before.updated(read(json!({}))).policy(false).is_open());
    assert_eq!(
        read(json!({"allow_internet_access": false}))
            .policy(false)
            .deny,
        [Cidr::ALL]
    );
    let lasting: Update =
        serde_json::from_value(json!({"allowPublicTraffic": true})).expect("an update");
    assert_eq!(
        of_update(lasting, || Ok(()))
            .expect_err("for life")
            .status
            .as_u16(),
        400
    );
}

#[test]
fn proxies() {
    let of = |proxy: Value| json!({ "egressProxy": proxy });
    let internal = |host: &str, to: &str| {
        format!(
            "egress proxy endpoint resolves to an internal / denied IP range: {host} resolves to {to}"
        )
    };
    let long = "x".repeat(256);
    for (proxy, wanted) in [
        (json!({}), "address is empty".to_owned()),
        (json!({"address": " "}), "address is empty".to_owned()),
        (
            json!({"address": "a.example"}),
            "address a.example is not host:port".to_owned(),
        ),
        (
            json!({"address": "2001:db8::1:1080"}),
            "address 2001:db8::1:1080 is not host:port".to_owned(),
        ),
        (
            json!({"address": "[::1:1080"}),
            "address [::1:1080 is not host:port".to_owned(),
        ),
        (json!({"address": ":1080"}), "host is empty".to_owned()),
        (
            json!({"address": "a.example:"}),
            "port must be between 1 and 65535".to_owned(),
        ),
        (
            json!({"address": "a.example:0"}),
            "port must be between 1 and 65535".to_owned(),
        ),
        (
            json!({"address": "a.example:+80"}),
            "port must be between 1 and 65535".to_owned(),
        ),
        (
            json!({"address": "a.example:65536"}),
            "port must be between 1 and 65535".to_owned(),
        ),
        (
            json!({"address": "a b:1"}),
            "host a b is not a host name".to_owned(),
        ),
        (
            json!({"address": "a\0.example:1"}),
            "host a\0.example is not a host name".to_owned(),
        ),
        (
            json!({"address": "socks5://a.example:1"}),
            "address socks5://a.example:1 is not host:port".to_owned(),
        ),
        (
            json!({"address": "10.1.2.3:1080"}),
            internal("10.1.2.3", "10.1.2.3"),
        ),
        (
            json!({"address": "0.0.0.0:1080"}),
            internal("0.0.0.0", "0.0.0.0"),
        ),
        (
            json!({"address": "169.254.169.254:80"}),
            internal("169.254.169.254", "169.254.169.254"),
        ),
        (
            json!({"address": "[::ffff:127.0.0.1]:1080"}),
            internal("127.0.0.1", "127.0.0.1"),
        ),
        (
            json!({"address": "LocalHost:1080"}),
            internal("localhost", "127.0.0.1"),
        ),
        (
            json!({"address": "[2001:db8::1]:1080"}),
            "host 2001:db8::1 is of IPv6, which sandboxes do not have".to_owned(),
        ),
        (
            json!({"address": "a.example:1", "password": "p"}),
            "password without username".to_owned(),
        ),
        (
            json!({"address": "a.example:1", "username": long}),
            "username has 256 bytes; the limit is 255".to_owned(),
        ),
        (
            json!({"address": "a.example:1", "username": "u", "password": long}),
            "password has 256 bytes; the limit is 255".to_owned(),
        ),
        (
            json!({"address": "a.example:1", "tls": {"enabled": true}}),
            "tls is not supported by this server".to_owned(),
        ),
        (
            json!({"address": "a.example:1", "tls": {"serverName": "x"}}),
            "tls is not supported by this server".to_owned(),
        ),
    ] {
        assert_eq!(
            refused(&of(proxy)),
            format!("Invalid egress proxy config: {wanted}")
        );
    }
    let proxy = |body: Value| accepted(&of(body)).proxy.expect("a proxy");
    let plain = proxy(json!({"address": " Proxy.Example:1080 ", "tls": {"enabled": false}}));
    let name = HostName::new("proxy.example").expect("a name");
    assert_eq!(
        (plain.host, plain.port, plain.login),
        (ProxyHost::Name(name), 1080, None)
    );
    let login = proxy(json!({"address": "8.8.8.8:1", "username": "u", "password": ""}));
    assert_eq!(login.host, ProxyHost::Address([8, 8, 8, 8].into()));
    assert_eq!(login.login, Some(("u".to_owned(), String::new())));
}

#[test]
fn what_is_shown_is_what_was_said_but_for_the_password() {
    let body = json!({
        "allowOut": ["8.8.8.8", "2001:db8::/32", "A.Example", "10.0.0.0/8", "10.0.0.0/7", "::ffff:192.168.1.1"],
        "denyOut": ["0.0.0.0/0"], "dnsServers": ["1.1.1.1", "10.0.0.1"],
        "egressProxy": {"address": "P.example:1", "username": "u", "password": "secret"},
    });
    let options: Options = serde_json::from_value(body).expect("options");
    let network = of_create(Some(false), Some(options)).expect("fine");
    let shown = serde_json::to_value(Shown::new(&network, &Standing::NEW)).expect("json");
    assert_eq!(
        shown,
        json!({
            "allowInternetAccess": false,
            "network": {
                "allowOut": ["8.8.8.8", "2001:db8::/32", "A.Example", "10.0.0.0/8", "10.0.0.0/7", "::ffff:192.168.1.1"],
                "denyOut": ["0.0.0.0/0"], "dnsServers": ["1.1.1.1", "10.0.0.1"],
                "egressProxy": {"address": "p.example:1", "username": "u"},
            },
            "networkState": {
                "generation": 1, "inForce": 0, "airGap": false, "airGapByOperator": false, "closed": false,
                "notEffective": ["2001:db8::/32", "10.0.0.0/8", "::ffff:192.168.1.1", "10.0.0.1"],
            },
        })
    );
    assert!(!format!("{network:?}").contains("secret"));
    let empty =
        serde_json::to_value(Shown::new(&Network::default(), &Standing::NEW)).expect("json");
    assert_eq!(
        (&empty["allowInternetAccess"], empty.get("network")),
        (&Value::Null, None)
    );
    let event = egress_event(&network);
    assert_eq!(event["denied_cidrs"], json!(["0.0.0.0/0"]));
    assert_eq!(event["allowed_domains"], json!(["A.Example"]));
}

#[test]
fn long_lists_are_cut_short_in_events_and_said_to_be() {
    let all: Vec<String> = (0..1000)
        .map(|n| format!("8.8.{}.{}", n / 250, n % 250))
        .collect();
    let options: Options = serde_json::from_value(json!({ "allowOut": all })).expect("options");
    let event = egress_event(&of_create(None, Some(options)).expect("fine"));
    let shown = event["allowed_cidrs"].as_array().expect("a list").len() as u64;
    assert_eq!(
        shown + event["allowed_cidrs_omitted"].as_u64().expect("a number"),
        1000
    );
    assert!(event.to_string().len() < 1000);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (field, value) in [
        ("egressOff", json!(true)),
        (
            "rules",
            json!({"a.b": [{"transform": {"headers": {"a": "b"}}}]}),
        ),
        ("bandwidth", json!(5)),
    ] {
        assert!(refused_by_name(field, &json!({ field: value })), "{field}");
        accepted(&json!({ field: null }));
        accepted(&json!({ field: [] }));
    }
    let odd = json!({"egressProxy": {"address": "a.example:1", "chain": ["b"]}});
    assert!(refused_by_name("egressProxy.chain", &odd));
    for wrong in [
        json!({"allowOut": "8.8.8.8"}),
        json!({"denyOut": [1]}),
        json!({"egressProxy": "a:1"}),
    ] {
        assert!(serde_json::from_value::<Update>(wrong).is_err());
    }
}

fn refused_by_name(field: &str, body: &Value) -> bool {
    both(body).into_iter().all(|read| {
        let error = read.expect_err(field);
        error.status.as_u16() == 400 && error.message.contains(field)
    })
}

#[test]
fn words_that_are_no_longer_understood_close_the_sandbox() {
    let mut network = Network::default();
    network.egress.deny = Some(vec!["what".to_owned()]);
    assert_eq!(network.policy(false), Policy::CLOSED);
    assert!(Network::default().policy(true).airgap);
}

/// Entries as people and machines get them nearly right.
fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|a| Ipv4Addr::from(a).to_string()),
        (any::<[u8; 4]>(), 0..40_u8).prop_map(|(a, bits)| format!("{}/{bits}", Ipv4Addr::from(a))),
        (any::<u128>(), 0..140_u8)
            .prop_map(|(a, bits)| format!("{}/{bits}", std::net::Ipv6Addr::from(a))),
        "[*a-z0-9.:_-]{0,12}",
        "(\\*\\.)?[a-zA-Z0-9-]{1,8}\\.[a-z]{1,4}\\.?",
        any::<String>(),
        Just("0.0.0.0/0".to_owned()),
    ]
}

proptest! {
    /// What is checked once is never found wrong later, whatever it is, and crosses to netd whole.
    #[test]
    fn what_is_accepted_is_a_policy(
        allow in proptest::collection::vec(entry(), 0..5),
        deny in proptest::collection::vec(entry(), 0..5),
        dns in proptest::option::of(proptest::collection::vec(entry(), 0..3)),
        address in proptest::option::of("[a-z0-9.:\\[\\]]{0,20}"),
        internet: Option<bool>,
    ) {
        let proxy = address.map(|address| json!({ "address": address, "username": "u" }));
        let body = json!({"allowOut": allow, "denyOut": deny, "dnsServers": dns, "egressProxy": proxy});
        let options: Options = serde_json::from_value(body).expect("options");
        match of_create(internet, Some(options)) {
            Err(error) => prop_assert_eq!(error.status.as_u16(), 400),
            Ok(network) => {
                let policy = network.policy(false);
                prop_assert!(!policy.airgap && policy.in_bounds());
                let bytes = postcard::to_stdvec(&policy).expect("encodes");
                prop_assert_eq!(postcard::from_bytes::<Policy>(&bytes).expect("decodes"), policy.clone());
                let stored = postcard::to_stdvec(&network).expect("encodes");
                let again: Network = postcard::from_bytes(&stored).expect("decodes");
                prop_assert_eq!(again.policy(false), policy);
                prop_assert!(network.policy(true).airgap);
            }
        }
    }
}
