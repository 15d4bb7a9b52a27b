//! Slots and rules on a FreeBSD host, by real packets: sandboxes' slots, the host, and an internet in a jail of its own,
//! from which nothing leaves. Needs root, pf enabled with the lines of `warder_pf::ROOT` in its rules, the modules if_epair
//! and pflog (dummynet is tried if it is there), and that there is no default route, or `WARDER_TEST_REPLACE_DEFAULT=1`.

#[cfg(target_os = "freebsd")]
mod guests;
#[cfg(target_os = "freebsd")]
mod harm;
#[cfg(target_os = "freebsd")]
mod taps;
#[cfg(target_os = "freebsd")]
mod trials;
#[cfg(target_os = "freebsd")]
mod world;

#[cfg(not(target_os = "freebsd"))]
fn main() {}

#[cfg(target_os = "freebsd")]
fn main() -> std::process::ExitCode {
    // cargo asks for a list, of which this has none.
    if std::env::args().any(|arg| arg == "--list") {
        return std::process::ExitCode::SUCCESS;
    }
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let failed = trials::run(only.as_deref());
    if failed == 0 {
        return std::process::ExitCode::SUCCESS;
    }
    eprintln!("{failed} failed");
    std::process::ExitCode::FAILURE
}
