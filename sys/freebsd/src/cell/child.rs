//! The child's way from a fork of privd to the agent. Each step says what it needs from those before.

use std::convert::Infallible;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};
use warder_common::report::Reporter;
use warder_common::{At, HostError, Result, Said, fds, signals};
use warder_freebsd_plan::jail::{Value, is_held_up, parameters};
use warder_freebsd_plan::mounts::{of_cell, of_volume};

use super::{CellSpec, mounts};
use crate::process::has_parent;
use crate::storage::BASE_DIRS;
use crate::sys::{self, Params};

/// Becomes the agent. Returns only with the reason why not.
pub(super) fn become_agent(
    spec: &CellSpec<'_>,
    jail: &str,
    parent: Pid,
    reporter: &Reporter,
) -> HostError {
    match set_up(spec, jail, parent, reporter) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn set_up(spec: &CellSpec<'_>, jail: &str, parent: Pid, reporter: &Reporter) -> Result<Infallible> {
    let keep = [spec.walls.agent, spec.listener, reporter.as_fd()];
    fds::close_all_but(&keep).at("close_range")?;
    signals::reset().at("sigprocmask")?;
    // Or Ctrl-C on the daemon's terminal would reach every sandbox.
    rustix::process::setsid().at("setsid")?;
    sys::process::be_plain_root().at("shed the daemon's session")?;
    // Modes below are meant as they stand.
    rustix::process::umask(Mode::empty());

    // As root of the host: the tree, and what is mounted in it.
    spec.walls.root.materialize(spec.walls.limits.disk_mib)?;
    let root = spec.walls.root.path();
    let ruleset = spec.walls.controllers.ruleset();
    let base: &[&str] = match spec.walls.root.host_base() {
        true => &BASE_DIRS,
        false => &[],
    };
    let mut mounted = of_cell(base, ruleset, spec.walls.limits);
    let volumes = spec.walls.root.volumes();
    mounted.extend(volumes.map(|(from, place)| of_volume(from, place.as_str())));
    mounts::make(root, &mounted)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    limit()?;

    // The agent finds nothing but these; the sources move away from 3 first.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at("open /dev/null")?;
    // It is the host's, not the cell's own.
    sys::rights::limit(null.as_fd(), &sys::rights::DEVICE).at("cap_rights_limit")?;
    let agent = rustix::io::fcntl_dupfd_cloexec(spec.walls.agent, 4).at("dup")?;
    let listener = rustix::io::fcntl_dupfd_cloexec(spec.listener, 4).at("dup")?;
    let reporter = reporter.lifted(4)?;
    for standard in 0..3 {
        fds::place(null.as_fd(), standard).at("dup2")?;
    }
    fds::close_all_on_exec().at("close_range")?;
    fds::place(listener.as_fd(), 3).at("dup2")?;

    // From here on the next privd finds it by the jail's name.
    if !has_parent(parent) {
        return Err(HostError::Invalid("privd has ended"));
    }
    let parameters = parameters(jail, spec.walls.name, root, ruleset);
    enter_jail(spec, &parameters)?;
    reporter.ready()?;
    Err(sys::process::exec(agent.as_fd(), &[c"envd"], &[])).at("exec the agent")
}

/// Makes the jail with this process in it: when it ends, the jail does.
pub(super) fn enter_jail(spec: &CellSpec<'_>, parameters: &[(&str, Value<'_>)]) -> Result<()> {
    let mut params = Params::new();
    for &(name, value) in parameters {
        match value {
            Value::Flag => params.push_flag(name),
            Value::Int(number) => params.push_int(name, number),
            Value::Text(text) => params.push_text(name, text),
            Value::Path(path) => params.push_text(name, path),
        }
    }
    let (walls, slot) = (&spec.walls, spec.network.counter);
    let Some(processors) = walls.controllers.processors(walls.limits, slot) else {
        let made = sys::jail::create_and_attach(&params).map_err(later);
        return made.at("make the cell's jail").map(drop);
    };
    // It must be there before anything is in it; what is left of it is removed by its name.
    let made = sys::jail::create(&params.flag("persist")).map_err(later);
    let jid = made.at("make the cell's jail")?;
    sys::cpuset::confine_jail(jid, &processors).at("confine a jail to processors")?;
    sys::jail::attach(jid).at("enter the cell's jail")
}

/// In the kernel's words, what a dying jail holds up; its number becomes the one of what another try may cure, as only
/// that and the words reach privd.
fn later(mut said: Said) -> Said {
    if is_held_up(&said.text) {
        said.errno = Errno::AGAIN;
    }
    said
}

/// Limits of each process, which root in a jail can raise: those of the jail as a whole are rctl(4)'s. None that
/// counts by user, since users of all jails and of the host have the same numbers.
pub(super) fn limit() -> Result<()> {
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    let files = files.map_or(65_536, |hard| hard.min(65_536));
    let limits = [
        (Resource::Core, Some(0)),
        (Resource::Nofile, Some(files)),
        (Resource::Nproc, None),
    ];
    for (resource, most) in limits {
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        rustix::process::setrlimit(resource, limit).at("setrlimit")?;
    }
    Ok(())
}
