//! What leaves a sandbox on its own network: nothing to the host, nothing to a neighbour.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use warder_harness::Instance;
use warder_privsep::guests::{GUEST, MINUTE, serve};

/// The address of a sandbox in which [`GUEST`] lies.
fn address(instance: &Instance, sandbox: &Value) -> Ipv4Addr {
    let ran = instance.run(sandbox, "user", &format!("{GUEST} address"), MINUTE);
    let address = ran.stdout.trim().parse();
    address.unwrap_or_else(|_| panic!("no address: {ran:?}"))
}

#[test]
fn one_sandbox_sees_nothing_of_another() {
    let instance = Instance::builder().start();
    let (one, two) = (instance.create(&json!({})), instance.create(&json!({})));
    let program = Path::new(env!("CARGO_BIN_EXE_hostile-guest"));
    let mine = format!("mine-{}", std::process::id());
    serve(
        &instance,
        &one,
        program,
        ("0.0.0.0", 8000),
        ("secret", &format!("/tmp/{mine}")),
    );
    instance.plant(&two, program, GUEST);
    let address = address(&instance, &one);
    // It has a file of its own, a process and a server, and sees them itself.
    let count = "ps -axww -o args= | grep -c '[g]uest serve'";
    let find = format!(
        "find / -path /proc -prune -o -path /sys -prune -o -name {mine} -print 2>/dev/null"
    );
    let own = format!("{GUEST} get {address} 8000; {count}; {find}; true");
    let ran = instance.run(&one, "root", &own, MINUTE);
    assert_eq!(ran.stdout, format!("secret\n1\n/tmp/{mine}\n"), "{ran:?}");
    let look = format!("{GUEST} get {address} 8000 2>/dev/null; {count}; {find}; true");
    let ran = instance.run(&two, "root", &look, MINUTE);
    assert_eq!(ran.stdout.trim(), "0", "{ran:?}");
    instance.finish();
}

/// Every IPv4 address of this host, by ip(8) or ifconfig(8): both put it behind the same word.
fn addresses() -> Vec<Ipv4Addr> {
    let listed = Command::new("ip")
        .args(["-4", "-o", "addr", "show"])
        .output();
    let out = listed
        .or_else(|_| Command::new("ifconfig").args(["-a", "inet"]).output())
        .expect("ip or ifconfig runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| pair[0] == "inet")
        .filter_map(|pair| pair[1].split('/').next()?.parse().ok())
        .collect()
}

#[test]
fn the_host_is_out_of_reach_by_any_address() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let program = Path::new(env!("CARGO_BIN_EXE_hostile-guest"));
    instance.plant(&sandbox, program, GUEST);
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a port of this host");
    let udp = UdpSocket::bind("0.0.0.0:0").expect("a port of this host");
    // A name without a file (unix(7)), where the kernel has such.
    let name = format!("warder-test-{}", std::process::id());
    let local = warder_probe::listen_abstract(&name);
    assert_eq!(local.is_err(), instance.jails(), "{local:?}");
    let port = |r: std::io::Result<SocketAddr>| r.expect("bound").port();
    let (tcp_port, udp_port) = (port(tcp.local_addr()), port(udp.local_addr()));
    let own = address(&instance, &sandbox);
    // Its next hop, where it is shown its routes; whichever of the two beside it, where not.
    let shown = instance.run(
        &sandbox,
        "root",
        "ip route show default 2>/dev/null | cut -d' ' -f3",
        MINUTE,
    );
    let hop: Option<Ipv4Addr> = shown.stdout.trim().parse().ok();
    assert!(hop.is_some() || instance.jails(), "no next hop: {shown:?}");
    let [a, b, c, last] = own.octets();
    let beside = [last ^ 1, last.wrapping_add(1), last.wrapping_sub(1)];
    let beside = beside.map(|last| Ipv4Addr::new(a, b, c, last));
    let foreign = hop.unwrap_or(beside[0]);
    let hosts = addresses();
    assert!(!hosts.is_empty());
    let mut targets: BTreeSet<Ipv4Addr> = hosts.iter().copied().collect();
    targets.extend(beside);
    targets.extend([
        own,
        foreign,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
    ]);
    // The ports are served: the host reaches them itself. With jails it has the ends of their pairs as well, over which pf
    // lets nothing come that is not theirs.
    let mut reached = Vec::new();
    for address in hosts {
        let to = SocketAddr::from((address, tcp_port));
        match TcpStream::connect_timeout(&to, Duration::from_secs(5)) {
            Ok(_) => {
                tcp.accept().expect("made above");
                reached.push(address);
            }
            Err(error) => assert!(instance.jails(), "the host reaches itself: {error}"),
        }
    }
    assert!(reached.contains(&Ipv4Addr::LOCALHOST), "{reached:?}");
    tcp.set_nonblocking(true).expect("ours");
    udp.set_nonblocking(true).expect("ours");
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let knock = format!(
        "{GUEST} reach {tcp_port},{gateway} {udp_port} {name} {own} {foreign} {targets}",
        gateway = instance.address().port(),
        targets = targets.join(" "),
    );
    let ran = instance.run(&sandbox, "root", &knock, MINUTE);
    // Linux lets everybody take any source; what is sent in that name must not arrive.
    let expected = if instance.jails() {
        "only its own addresses\nover"
    } else {
        "over"
    };
    assert_eq!(ran.stdout.trim(), expected, "{ran:?}");
    let nothing = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    assert!(tcp.accept().is_err_and(nothing), "somebody connected");
    assert!(
        udp.recv(&mut [0; 8]).is_err_and(nothing),
        "something arrived"
    );
    if let Ok(local) = local {
        local.set_nonblocking(true).expect("ours");
        assert!(local.accept().is_err_and(nothing), "somebody connected");
    }
    instance.finish();
}
