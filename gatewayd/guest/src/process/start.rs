//! `Start`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use warder_connect::process::{ProcessConfig, Pty, StartRequest};
use warder_connect::{Code, ConnectError};
use warder_guest_sys::spawn::{Spawn, SpawnError, spawn};
use warder_guest_sys::watched::Watched;

use super::env;
use super::events::Output;
use super::input::{Input, Kind, clamp};
use super::pump::{self, Source};
use super::table::Process;
use crate::agent::Agent;
use crate::paths;
use crate::users::{self, User};

/// Starts a process. It runs and its output is read from now on; the caller subscribes before it next
/// awaits, so that nothing is missed.
pub(super) fn start(
    agent: &Agent,
    user: &User,
    request: StartRequest,
) -> Result<Rc<Process>, ConnectError> {
    let config = request
        .process
        .ok_or_else(|| ConnectError::invalid("name the process to start"))?;
    let wired = match request.pty {
        Some(pty) => Wired::terminal(user, pty),
        None => Wired::pipes(request.stdin.unwrap_or(true)),
    }
    .map_err(|error| start_error(&config, &error, Code::ResourceExhausted))?;
    let pid = execute(agent, user, &config, &wired.theirs, request.pty.is_some()).inspect_err(
        |error| {
            // The code alone: the text may quote what the client sent.
            let why = format!("{:?}", error.code);
            agent.log.not_started(&config.cmd, &user.name, &why);
        },
    )?;
    drop(wired.theirs);
    agent.log.started(pid, &config.cmd, &user.name);
    let name = user.name.clone();
    let process = Rc::new(Process::new(pid, request.tag, config, name, wired.input));
    agent.processes.add(Rc::clone(&process));
    tokio::task::spawn_local(pump::run(
        agent.clone(),
        Rc::clone(&process),
        wired.first,
        wired.second,
    ));
    Ok(process)
}

/// Both sides of a process's descriptors.
struct Wired {
    theirs: [OwnedFd; 3],
    input: Input,
    first: Option<Source>,
    second: Option<Source>,
}

impl Wired {
    fn terminal(user: &User, pty: Pty) -> io::Result<Self> {
        let size = pty.size.unwrap_or_default();
        let terminal = warder_guest_sys::terminal::open(
            user.uid,
            user.gid,
            clamp(size.cols),
            clamp(size.rows),
        )?;
        let controller = Rc::new(Watched::new(terminal.controller)?);
        Ok(Self {
            theirs: [
                terminal.user.try_clone()?,
                terminal.user.try_clone()?,
                terminal.user,
            ],
            input: Input::new(Kind::Terminal, Some(Rc::clone(&controller))),
            first: Some(Source {
                output: Output::Pty,
                fd: controller,
            }),
            second: None,
        })
    }

    fn pipes(stdin: bool) -> io::Result<Self> {
        let (input, zero) = if stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            (Input::new(Kind::Pipe, Some(ours(write)?)), read)
        } else {
            let null =
                rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            (Input::new(Kind::Nothing, None), null)
        };
        let (out_read, out_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            theirs: [zero, out_write, err_write],
            input,
            first: Some(Source {
                output: Output::Stdout,
                fd: ours(out_read)?,
            }),
            second: Some(Source {
                output: Output::Stderr,
                fd: ours(err_read)?,
            }),
        })
    }
}

/// Our end alone is non-blocking: the two ends of a pipe do not share the flag.
fn ours(fd: OwnedFd) -> io::Result<Rc<Watched<OwnedFd>>> {
    fcntl_setfl(&fd, OFlags::NONBLOCK)?;
    Ok(Rc::new(Watched::new(fd)?))
}

fn execute(
    agent: &Agent,
    user: &User,
    config: &ProcessConfig,
    theirs: &[OwnedFd; 3],
    terminal: bool,
) -> Result<u32, ConnectError> {
    let settings = agent.settings.borrow();
    let cwd = paths::resolve(
        config.cwd.as_deref().unwrap_or(""),
        user,
        settings.workdir.as_deref(),
    )
    .map_err(ConnectError::invalid)?;
    if !cwd.is_dir() {
        return Err(no_cwd(&cwd));
    }
    let env = env::build(user, &settings.env, &config.envs);
    drop(settings);
    let program = env::find_program(&config.cmd, &env, &cwd).ok_or_else(|| {
        let text = "executable file not found in $PATH";
        start_error(config, &text, Code::InvalidArgument)
    })?;
    let mut argv = Vec::with_capacity(1 + config.args.len());
    for argument in std::iter::once(&config.cmd).chain(&config.args) {
        argv.push(c_string(argument.as_bytes())?);
    }
    let what = Spawn {
        program: c_string(program.as_os_str().as_bytes())?,
        argv,
        env: env::strings(&env),
        cwd: c_string(cwd.as_os_str().as_bytes())?,
        stdio: [theirs[0].as_fd(), theirs[1].as_fd(), theirs[2].as_fd()],
        terminal,
        uid: user.uid,
        gid: user.gid,
        groups: users::groups_of(user),
        login: c_string(user.name.as_bytes())?,
    };
    spawn(&what).map_err(|error| match error {
        SpawnError::Fork(source) => start_error(config, &source, Code::ResourceExhausted),
        SpawnError::Setup(source) => start_error(config, &source, Code::Internal),
        SpawnError::Cwd(source) if source.kind() == io::ErrorKind::NotFound => no_cwd(&cwd),
        SpawnError::Cwd(source) => start_error(
            config,
            &format_args!("cwd '{}': {source}", cwd.display()),
            Code::InvalidArgument,
        ),
        SpawnError::Exec(source) => start_error(config, &source, Code::InvalidArgument),
    })
}

fn c_string(bytes: &[u8]) -> Result<CString, ConnectError> {
    CString::new(bytes)
        .map_err(|_| ConnectError::invalid("a zero byte cannot be passed to a process"))
}

fn no_cwd(cwd: &Path) -> ConnectError {
    ConnectError::invalid(format_args!("cwd '{}' does not exist", cwd.display()))
}

fn start_error(config: &ProcessConfig, why: &dyn std::fmt::Display, code: Code) -> ConnectError {
    ConnectError::new(
        code,
        format_args!("error starting process '{}': {why}", config.cmd),
    )
}
