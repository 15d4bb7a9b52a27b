//! Every thing a confined process must not do, tried by a process of its own, and what it still must do.
//!
//! No test harness: a process is confined while it has one thread, so each probe is this program again,
//! with the probe's name as its argument. It ends with the probe's errno, or 200 if the call went through.

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
mod asynchronous;
#[cfg(target_os = "freebsd")]
mod freebsd;

#[cfg(target_os = "linux")]
mod attempts;
#[cfg(target_os = "linux")]
mod cases;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod outside;

#[cfg(target_os = "freebsd")]
use freebsd::{run, run_all};
#[cfg(target_os = "linux")]
use {child::run, outside::run_all};

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // nextest asks for the list of tests, and for the ignored ones apart.
        Some("--list") if arguments.iter().any(|a| a == "--ignored") => {}
        Some("--list") => println!("probes: test"),
        Some("probe") => run(&arguments[1], &arguments[2], &arguments[3]),
        _ => run_all(),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn main() {
    let ids = (1, 1);
    let profile = warder_confine::Profile::gateway();
    assert!(matches!(
        warder_confine::enter_early(&profile, ids, &[]),
        Err(warder_confine::ConfineError::Unsupported { .. })
    ));
}
