//! The poll loop.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use warder_ipc::{Channel, IpcError, Watchdog};
use warder_wire::{Request, gateway_net, net_egress, priv_net};

use crate::daemon::Daemon;
use crate::log;
use crate::table::{self, Phase};
use crate::worker::Done;

/// Messages taken from one channel before the others have their turn.
const TURN: usize = 32;

/// How long one close of what the gateway sent may hold the loop.
const PATIENCE: Duration = Duration::from_millis(5);

/// Serves until privd is gone or everything is purged. Returns the exit code.
pub fn serve(daemon: &mut Daemon) -> i32 {
    let watchdog = match Watchdog::new() {
        Ok(watchdog) => watchdog,
        Err(error) => {
            log::line(format_args!("no timer: {error}"));
            return 1;
        }
    };
    loop {
        daemon.tick();
        daemon.refill();
        if daemon.phase() == Phase::Purged && !daemon.privd.wants_write() {
            return 0;
        }
        watchdog.disarm();
        let waited = wait(daemon);
        watchdog.arm(PATIENCE);
        if let Err(errno) = waited {
            log::line(format_args!("poll: {errno}"));
            return 1;
        }
        let heard = hear_privd(daemon).or_else(|| hear_gateway(daemon));
        hear_egress(daemon);
        if let Some(code) = heard.or_else(|| hear_workers(daemon)) {
            return code;
        }
    }
}

/// Waits until something can be done. All channels are looked at afterwards: there are five.
fn wait(daemon: &Daemon) -> Result<(), Errno> {
    let mut fds = vec![watch(&daemon.privd)];
    if let Some(gateway) = &daemon.gateway {
        fds.push(watch(&gateway.channel));
    }
    if let Some(egress) = &daemon.egress {
        // One that does not read its answers is not heard until it does.
        let watched = if egress.channel.wants_write() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        fds.push(PollFd::from_borrowed_fd(egress.channel.as_fd(), watched));
    }
    if let Some(kernel) = &daemon.kernel {
        fds.push(watch(&kernel.maker.channel));
        fds.push(watch(&kernel.ender.channel));
    }
    let timeout = daemon
        .wake_in()
        .and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn watch(channel: &Channel) -> PollFd<'_> {
    let out = if channel.wants_write() {
        PollFlags::OUT
    } else {
        PollFlags::empty()
    };
    PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN | out)
}

/// All that privd has said so far. An exit code when netd has to end.
fn hear_privd(daemon: &mut Daemon) -> Option<i32> {
    loop {
        let got = daemon
            .privd
            .flush()
            .and_then(|()| daemon.privd.recv::<Request<priv_net::Ask>>());
        match got {
            Ok(None) => return None,
            Ok(Some((request, fds))) => {
                if let Err(violation) = table::privd(daemon, request, fds) {
                    log::audit(format_args!("privd: {violation}"));
                    return Some(1);
                }
            }
            // Kernel objects stay; the next netd takes them over.
            Err(IpcError::Closed) => return Some(0),
            Err(e) => {
                log::audit(format_args!("privd: {e}"));
                return Some(1);
            }
        }
        if daemon.phase() == Phase::Purged {
            return None;
        }
    }
}

/// An exit code when netd has to end.
fn hear_gateway(daemon: &mut Daemon) -> Option<i32> {
    for _ in 0..TURN {
        let gateway = daemon.gateway.as_mut()?;
        let got = gateway
            .channel
            .flush()
            .and_then(|()| gateway.channel.recv::<Request<gateway_net::Ask>>());
        // What privd said before the gateway asked is heard before it: that a lease lives, or another gateway.
        let epoch = daemon.epoch;
        if let Some(code) = hear_privd(daemon) {
            return Some(code);
        }
        if daemon.epoch != epoch {
            return None;
        }
        let end = match got {
            Ok(None) => return None,
            Ok(Some((request, fds))) => match table::gateway(daemon, request, &fds) {
                Ok(()) => continue,
                Err(violation) => Some(violation.to_string()),
            },
            Err(IpcError::Closed) => None,
            Err(e) => Some(e.to_string()),
        };
        if let Some(why) = end {
            log::audit(format_args!("gateway: {why}"));
        }
        daemon.gateway = None;
    }
    None
}

fn hear_egress(daemon: &mut Daemon) {
    for _ in 0..TURN {
        let Some(egress) = &mut daemon.egress else {
            return;
        };
        let got = match egress.channel.flush() {
            Ok(()) if egress.channel.wants_write() => return,
            Ok(()) => egress.channel.recv::<Request<net_egress::Ask>>(),
            Err(e) => Err(e),
        };
        let end = match got {
            Ok(None) => break,
            Ok(Some((request, fds))) => match table::egress(daemon, request, &fds) {
                Ok(()) => continue,
                Err(violation) => Some(violation.to_string()),
            },
            Err(IpcError::Closed) => None,
            Err(e) => Some(e.to_string()),
        };
        return match end {
            Some(why) => daemon.end_egress(why),
            None => daemon.egress_closed(),
        };
    }
    daemon.talk();
}

/// An exit code when a worker is gone: netd is whole or not at all.
fn hear_workers(daemon: &mut Daemon) -> Option<i32> {
    for which in 0..2 {
        for _ in 0..TURN {
            let Some(kernel) = &mut daemon.kernel else {
                return None;
            };
            let worker = if which == 0 {
                &mut kernel.maker
            } else {
                &mut kernel.ender
            };
            let got = worker
                .channel
                .flush()
                .and_then(|()| worker.channel.recv::<Done>());
            match got {
                Ok(None) => break,
                Ok(Some((done, fds))) => daemon.done(done, fds),
                Err(e) => {
                    log::line(format_args!("worker: {e}"));
                    return Some(1);
                }
            }
        }
    }
    None
}
