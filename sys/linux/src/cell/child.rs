//! The child's way from a fork of privd to the agent. Each step says what it needs from those before.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{Gid, LinkNameSpaceType, Uid, move_into_link_name_space};
use warder_common::report::Reporter;
use warder_common::{At, HostError, Result, fds, signals};

use super::groups::Groups;
use super::{CellSpec, UserNamespace, filter, mounts, rights};
use crate::process::Urgency;
use crate::sys;

/// Becomes the agent. Returns only with the reason why not.
pub(crate) fn become_agent(spec: &CellSpec<'_>, groups: &Groups, reporter: &Reporter) -> HostError {
    match set_up(spec, groups, reporter) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn set_up(spec: &CellSpec<'_>, groups: &Groups, reporter: &Reporter) -> Result<Infallible> {
    let mut keep = vec![
        spec.users.as_fd(),
        spec.network.as_fd(),
        spec.agent,
        spec.listener,
        reporter.as_fd(),
    ];
    keep.extend(groups.tasks().iter().map(AsFd::as_fd));
    fds::close_all_but(&keep).at("close_range")?;
    // Its own scheduling class first: a group of version 1 takes no realtime process.
    plain_process()?;
    for tasks in groups.tasks() {
        rustix::io::write(tasks, b"0").at("enter the cgroup")?;
    }

    // As root of the host: the sandbox's network (sysfs shows it), then its root.
    move_into_link_name_space(spec.network.as_fd(), Some(LinkNameSpaceType::Network))
        .at("enter the network namespace")?;
    mounts::enter_root(spec.root, spec.users, spec.limits)?;

    // From here on root of the sandbox only. The rest of its namespaces are its own.
    become_root_of(spec.users)?;
    sys::unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWCGROUP).at("unshare")?;
    rustix::system::sethostname(spec.sandbox.as_str().as_bytes()).at("sethostname")?;
    rights::limit(spec.limits.pids)?;

    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at("open /dev/null")?;
    // The agent finds nothing but these; the sources move away from 3 first.
    let agent = rustix::io::fcntl_dupfd_cloexec(spec.agent, 4).at("dup")?;
    let listener = rustix::io::fcntl_dupfd_cloexec(spec.listener, 4).at("dup")?;
    let reporter = reporter.lifted(4)?;
    fds::close_all_on_exec().at("close_range")?;
    for standard in 0..3 {
        fds::place(null.as_fd(), standard).at("dup2")?;
    }
    fds::place(listener.as_fd(), 3).at("dup2")?;

    // Needs CAP_SYS_ADMIN of the user namespace, since without no_new_privs (sudo shall work); exec takes it away.
    sys::seccomp(&filter::program()).at("seccomp")?;
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
