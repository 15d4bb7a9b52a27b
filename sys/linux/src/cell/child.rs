//! The child's way from a fork of privd to the agent. Each step says what it needs from those before.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{Gid, LinkNameSpaceType, Uid, move_into_link_name_space};
use warder_common::report::Reporter;
use warder_common::{At, HostError, Result, fds, signals};

use super::{Ground, Tenant, UserNamespace, Walls, filter, mounts, rights};
use crate::process::Urgency;
use crate::sys;

/// Becomes the agent of a tenant, who is known now or waited for between its two halves; `keep` is what it needs
/// of its own then. Returns only with the reason why not.
pub(crate) fn become_agent<'a>(
    walls: &Walls<'_>,
    ground: &Ground,
    reporter: &Reporter,
    keep: &[BorrowedFd<'_>],
    tenant: impl FnOnce() -> Result<Tenant<'a>>,
) -> HostError {
    let moved_in = build(walls, ground, reporter, keep).and_then(|built| {
        let filter = filter::program();
        move_in(walls, &tenant()?, built, &filter, reporter)
    });
    match moved_in {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Everything that is the same for every tenant of that size and template.
fn build<'a>(
    walls: &Walls<'a>,
    ground: &Ground,
    reporter: &Reporter,
    keep: &[BorrowedFd<'_>],
) -> Result<mounts::Built<'a>> {
    let mut keep = keep.to_vec();
    keep.extend([
        walls.users.as_fd(),
        walls.root.cell(),
        ground.cell.as_fd(),
        walls.agent,
        reporter.as_fd(),
    ]);
    keep.extend(ground.groups.tasks().iter().map(AsFd::as_fd));
    fds::close_all_but(&keep).at("close_range")?;
    // Its own scheduling class first: a group of version 1 takes no realtime process.
    plain_process()?;
    for tasks in ground.groups.tasks() {
        rustix::io::write(tasks, b"0").at("enter the cgroup")?;
    }
    mounts::build(walls.root, ground.cell.as_fd(), walls.users, walls.limits)
}

fn move_in(
    walls: &Walls<'_>,
    tenant: &Tenant<'_>,
    built: mounts::Built<'_>,
    filter: &[libc::sock_filter],
    reporter: &Reporter,
) -> Result<Infallible> {
    // As root of the host: the sandbox's network (sysfs shows it), then its root.
    move_into_link_name_space(tenant.network, Some(LinkNameSpaceType::Network))
        .at("enter the network namespace")?;
    if tenant.sandbox != walls.name {
        mounts::rename(tenant.sandbox)?;
    }
    mounts::complete(built)?;

    // From here on root of the sandbox only. The rest of its namespaces are its own.
    become_root_of(walls.users)?;
    sys::unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWCGROUP).at("unshare")?;
    rustix::system::sethostname(tenant.sandbox.as_str().as_bytes()).at("sethostname")?;
    rights::limit(walls.limits.pids)?;

    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at("open /dev/null")?;
    // The agent finds nothing but these; the sources move away from 3 first.
    let agent = rustix::io::fcntl_dupfd_cloexec(walls.agent, 4).at("dup")?;
    let listener = rustix::io::fcntl_dupfd_cloexec(tenant.listener, 4).at("dup")?;
    let reporter = reporter.lifted(4)?;
    fds::close_all_on_exec().at("close_range")?;
    for standard in 0..3 {
        fds::place(null.as_fd(), standard).at("dup2")?;
    }
    fds::place(listener.as_fd(), 3).at("dup2")?;

    // Needs CAP_SYS_ADMIN of the user namespace, since without no_new_privs (sudo shall work); exec takes it away.
    sys::seccomp(filter).at("seccomp")?;
    rights::bound()?;
    reporter.ready()?;
    Err(sys::exec(agent.as_fd(), &[c"envd"])).at("exec the agent")
}

/// Enters a user namespace as its root, with every capability in it and none outside.
pub(crate) fn become_root_of(users: &UserNamespace) -> Result<()> {
    move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))
        .at("enter the user namespace")?;
    rustix::thread::set_thread_groups(&[]).at("setgroups")?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at("setresgid")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at("setresuid")?;
    rustix::process::set_parent_process_death_signal(None).at("set_pdeathsig")
}

/// Sheds what a daemon may have changed for itself and a fork inherits.
pub(crate) fn plain_process() -> Result<()> {
    signals::reset().at("sigprocmask")?;
    // Ends with privd, until it has users by whom the next privd finds it.
    let kill = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(kill).at("set_pdeathsig")?;
    // Or Ctrl-C on the daemon's terminal would reach every sandbox.
    rustix::process::setsid().at("setsid")?;
    sys::schedule(Urgency::Ordinary).at("sched_setattr")?;
    // When the host runs out of memory, sandboxes go before daemons.
    let mut score = File::options()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .at("open oom_score_adj")?;
    score.write_all(b"500").at("write oom_score_adj")
}
