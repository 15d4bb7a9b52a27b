//! Virtual machines: cells whose first process is bhyve(8). The jail has what bhyve needs and nothing of a cell's; the
//! guest is in the machine, and bhyve in capability mode besides.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::Pid;
use warder_bhyve_plan::disk::{self, SizeError};
use warder_bhyve_plan::{Guest, Place, command, config, cpus, host, life, name};
use warder_common::report::Reporter;
use warder_common::{At, HostError, Result, fds, signals};
use warder_freebsd_plan::devfs::Of;
use warder_freebsd_plan::mounts::{Mount, of_machine};
use warder_freebsd_plan::tree::{Entry, expected};
use warder_freebsd_plan::{jail as plan, limits};
use warder_wire::priv_net::Tap;
use warder_wire::{InstanceTag, LimitsInForce, SandboxId};

use super::child::{enter_jail, limit};
use super::{Cell, CellSpec, Controllers, Network, devices, mounts};
use crate::process::has_parent;
use crate::storage::Root;
use crate::sys::{self, peer, sysctl};

/// What bhyve says, in its tree, so that it counts against the sandbox's disk and no guest can fill the host's log.
const LOG: &str = "bhyve.log";
/// Where the kernel has its machines.
const MACHINES: &str = "/dev/vmm";
/// A disk of so many MiB takes so much more with what ZFS notes of it.
const NOTES_MIB: u32 = 64;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Whether this host can run machines.
///
/// # Errors
/// `Missing` with what to do.
pub fn can_run_machines() -> Result<()> {
    let firmware = Path::new(config::FIRMWARE_DIR).join(config::FIRMWARE);
    let on_intel = sysctl::int("hw.vmm.vmx.initialized").is_ok_and(|on| on != 0);
    let unrestricted = || sysctl::int("hw.vmm.vmx.cap.unrestricted_guest").ok();
    let found = host::Found {
        module: sysctl::exists(command::MOST_CPUS),
        // 14 has no such device, and refuses to make a machine in its place.
        works: Path::new("/dev/vmmctl").exists() || sysctl::exists("hw.vmm.create"),
        unrestricted: unrestricted().filter(|_| on_intel).map(|there| there != 0),
        program: Path::new(command::PROGRAM).exists(),
        firmware: firmware.exists(),
    };
    match host::missing(&found) {
        None => Ok(()),
        Some(host::Missing { what, remedy }) => Err(HostError::Missing { what, remedy }),
    }
}

impl Network {
    /// What netd answered for a machine.
    ///
    /// # Errors
    /// None on this system.
    pub fn of_machine(tap: Tap) -> Result<Self> {
        Ok(Self {
            counter: tap.slot.counter,
            tap: Some(tap),
        })
    }

    /// Whether it is a machine's.
    #[must_use]
    pub fn is_machines(&self) -> bool {
        self.tap.is_some()
    }

    /// Which limits a new cell in it gets.
    #[must_use]
    pub fn limits_in_force(&self, controllers: &Controllers) -> LimitsInForce {
        match self.tap {
            Some(_) => limits::of_machine(controllers.racct()),
            None => controllers.limits_in_force(),
        }
    }
}

impl Cell {
    fn machine(&self) -> String {
        self.handle.jail.replace('.', "-")
    }

    /// Whether its first process is a machine.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        Path::new(MACHINES).join(self.machine()).exists()
    }

    /// A connection to the agent in a machine, through the console's socket; `None` when it takes none now: bhyve
    /// listens only once the machine begins, and serves one connection at a time.
    ///
    /// # Errors
    /// `System`; `Invalid` when something else listens there.
    pub fn machine_link(&self, root: &Root) -> Result<Option<OwnedFd>> {
        let path = root.path().join(&config::LINK_DIR[1..]).join(config::LINK);
        let address = SocketAddrUnix::new(&path).at("name a machine's link")?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let link = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let link = link.at("socket of a machine's link")?;
        match connect(&link, &address) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).at("connect a machine's link"),
        }
        // Who has escaped into bhyve could lay a symbolic link to some other socket of the host's there.
        let listens = peer::of(link.as_fd()).at("look who has a machine's link")?;
        match u32::try_from(listens.pid) == Ok(self.process.pid()) {
            true => Ok(Some(link)),
            false => Err(HostError::Invalid("a machine's link leads elsewhere")),
        }
    }
}

/// Machines that the kernel has under this instance's tag: names and owners.
pub(super) fn all(tag: InstanceTag) -> Result<Vec<(String, SandboxId)>> {
    let entries = match std::fs::read_dir(MACHINES) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).at("list /dev/vmm"),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let owned = |text: String| {
        let (_, owner) = name::parse(tag, &text)?;
        Some((text, owner))
    };
    Ok(names.filter_map(owned).collect())
}

/// Has the kernel destroy what a machine left: its processes are gone. Its last words go to standard error.
pub(super) fn destroy(tag: InstanceTag, state_dir: &Path, sandbox: &SandboxId) -> Result<()> {
    let own: Vec<String> = all(tag)?
        .into_iter()
        .filter(|(_, owner)| owner == sandbox)
        .map(|(name, _)| name)
        .collect();
    let strays = life::strays(tag, own.iter().map(String::as_str), &Default::default());
    for machine in strays {
        match sysctl::set_text(command::DESTROY, machine) {
            // It went by itself: `destroy_on_poweroff`.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno).at("destroy a machine"),
        }
    }
    if let Some(tree) = mounts::tree(state_dir, sandbox)?
        && let Some(words) = last_words(&tree)
    {
        eprintln!("{sandbox}: bhyve: {words}");
    }
    Ok(())
}

/// The end of what bhyve said, on one line. What a guest can make it say is not believed and may hold anything.
fn last_words(tree: &Path) -> Option<String> {
    let tree = rustix::fs::open(tree, DIRECTORY, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::openat(&tree, LOG, flags, Mode::empty()).ok()?;
    let status = rustix::fs::fstat(&log).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = [0; 400];
    let length = u64::try_from(status.st_size).ok()?;
    let from = length.saturating_sub(bytes.len() as u64);
    let read = rustix::io::pread(&log, &mut bytes, from).ok()?;
    let plain = |b: &u8| {
        if b.is_ascii_graphic() {
            char::from(*b)
        } else {
            ' '
        }
    };
    let words: String = bytes[..read].iter().map(plain).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

/// Becomes the machine. Returns only with the reason why not.
pub(super) fn become_machine(
    spec: &CellSpec<'_>,
    tap: &Tap,
    jail: &str,
    parent: Pid,
    reporter: &Reporter,
) -> HostError {
    match set_up(spec, tap, jail, parent, reporter) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn set_up(
    spec: &CellSpec<'_>,
    tap: &Tap,
    jail: &str,
    parent: Pid,
    reporter: &Reporter,
) -> Result<Infallible> {
    fds::close_all_but(&[reporter.as_fd()]).at("close_range")?;
    signals::reset().at("sigprocmask")?;
    rustix::process::setsid().at("setsid")?;
    sys::process::be_plain_root().at("shed the daemon's session")?;
    rustix::process::umask(Mode::from_raw_mode(0o077));

    // As root of the host: the tree with the disk in it, and what bhyve needs beside it.
    let limit_mib = spec.walls.limits.disk_mib;
    let room = limit_mib.saturating_add(limit_mib / 16 + NOTES_MIB);
    spec.walls.root.materialize(room)?;
    let root = spec.walls.root.path();
    let tree = rustix::fs::open(root, DIRECTORY, Mode::empty()).at("open the tree")?;
    let ruleset = devices::ruleset(spec.walls.controllers.tag(), Of::Machines)?;
    let mounted = of_machine(ruleset, &firmware_dir()?, config::FIRMWARE_PLACE);
    let log = format!("/{LOG}");
    let link = format!("{}/{}", config::LINK_DIR, config::LINK);
    let own = [Place::of_file().to_string(), log, link];
    refuse_foreign(tree.as_fd(), "", &mounted, &own)?;
    make_disk(tree.as_fd(), limit_mib)?;
    make_link(tree.as_fd())?;
    let said = fresh(tree.as_fd(), LOG)?;
    // No directory may be open when a jail is entered: EPERM (jail_attach(2), `chroot_refuse_vdir_fds`).
    drop(tree);
    mounts::make(root, &mounted)?;
    devices::show(&root.join("dev"), &format!("vmnet{}", tap.unit))?;
    limit()?;

    let program = rustix::fs::open(
        command::PROGRAM,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let program = rustix::io::fcntl_dupfd_cloexec(program.at("open bhyve")?, 4).at("dup")?;
    let reporter = reporter.lifted(4)?;
    let input = input(spec, tap)?;
    fds::place(input.as_fd(), 0).at("dup2")?;
    for standard in 1..3 {
        fds::place(said.as_fd(), standard).at("dup2")?;
    }
    fds::close_all_on_exec().at("close_range")?;

    // From here on the next privd finds it by the jail's name.
    if !has_parent(parent) {
        return Err(HostError::Invalid("privd has ended"));
    }
    let parameters = plan::of_machine(jail, spec.walls.name, root, ruleset);
    enter_jail(spec, &parameters)?;
    reporter.ready()?;
    // Without an environment; its name is the first of what it is told.
    let [own, first, second] = [c"bhyve", c"-k", c"/dev/stdin"];
    Err(sys::process::exec(
        program.as_fd(),
        &[own, first, second],
        &[],
    ))
    .at("exec bhyve")
}

/// Where the firmware really is: the package edk2-bhyve has a relative link to another directory where one looks for it.
fn firmware_dir() -> Result<String> {
    let named = Path::new(config::FIRMWARE_DIR).join(config::FIRMWARE);
    let found = std::fs::canonicalize(named).at("find the firmware")?;
    let dir = found.parent().and_then(Path::to_str);
    dir.filter(|_| found.ends_with(config::FIRMWARE))
        .map(str::to_owned)
        .ok_or(HostError::Invalid("the firmware is a link to another name"))
}

/// The configuration, in a pipe that holds all of it.
fn input(spec: &CellSpec<'_>, tap: &Tap) -> Result<OwnedFd> {
    let most = sysctl::int(command::MOST_CPUS).at("read hw.vmm.maxcpu")?;
    let guest = Guest {
        tag: spec.walls.controllers.tag(),
        counter: spec.network.counter,
        sandbox: spec.walls.name.clone(),
        cpus: cpus(
            spec.walls.limits.cpu_percent,
            u32::try_from(most).unwrap_or(1),
        ),
        memory_mib: spec.walls.limits.memory_mib,
        disk: Place::of_file(),
        tap: tap.unit,
        mac: tap.mac,
        address: tap.slot.address,
        gateway: tap.slot.gateway,
        gateway_mac: tap.gateway_mac,
        resolvers: spec.resolvers.to_vec(),
        serial: false,
    };
    let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
    let (read, write) = rustix::pipe::pipe_with(flags).at("pipe")?;
    let file = config::file(&guest);
    File::from(write)
        .write_all(file.as_bytes())
        .at("write bhyve's configuration")?;
    rustix::fs::fcntl_setfl(&read, OFlags::empty()).at("fcntl")?;
    Ok(read)
}

/// Refuses a tree with anything in it that bhyve could be led by. Nothing is mounted in it yet, and no process that could
/// change it runs.
fn refuse_foreign(dir: BorrowedFd<'_>, at: &str, mounted: &[Mount], own: &[String]) -> Result<()> {
    const FOREIGN: HostError = HostError::Invalid(
        "the template has more at its top than disk.raw: it is none for machines",
    );
    for entry in Dir::read_from(dir).at("list a machine's tree")? {
        let entry = entry.at("list a machine's tree")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // What is no text has a character in its place that no name of ours has.
        let path = format!("{at}/{}", name.to_string_lossy());
        match expected(mounted, own, &path) {
            Some(Entry::File) => {}
            Some(Entry::Directory) => {
                // A link, or a file.
                let below = rustix::fs::openat(dir, name, DIRECTORY, Mode::empty());
                let below = below.map_err(|_| FOREIGN)?;
                refuse_foreign(below.as_fd(), &path, mounted, own)?;
            }
            None => return Err(FOREIGN),
        }
    }
    Ok(())
}

/// The template's image becomes the sandbox's disk, as large as its limit.
fn make_disk(tree: BorrowedFd<'_>, limit_mib: u32) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let image = match rustix::fs::openat(tree, disk::FILE, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::MLINK | Errno::LOOP) => {
            return Err(HostError::Invalid(
                "the template has no file disk.raw at its top: it is none for machines",
            ));
        }
        found => found.at("open disk.raw")?,
    };
    let status = rustix::fs::fstat(&image).at("stat disk.raw")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || status.st_nlink != 1 {
        return Err(HostError::Invalid(
            "the template's disk.raw is no plain file",
        ));
    }
    let length = u64::try_from(status.st_size).unwrap_or(0);
    let length = disk::length(length, limit_mib).map_err(|error| match error {
        SizeError::NotADisk => HostError::Invalid("the template's disk.raw is no disk"),
        SizeError::TooLarge { .. } => {
            HostError::Invalid("the template's disk.raw is larger than the sandbox's disk may be")
        }
    })?;
    rustix::fs::ftruncate(&image, length).at("give disk.raw its length")
}

/// An empty directory for the console's socket.
fn make_link(tree: BorrowedFd<'_>) -> Result<()> {
    let place = &config::LINK_DIR[1..];
    match rustix::fs::mkdirat(tree, place, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).at("make the directory of a machine's link"),
    }
    let place = rustix::fs::openat(tree, place, DIRECTORY, Mode::empty());
    let place = place.at("open the directory of a machine's link")?;
    match rustix::fs::unlinkat(&place, config::LINK, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at("remove a former link"),
    }
}

/// A new file in the tree, to be appended to.
fn fresh(tree: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match rustix::fs::unlinkat(tree, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("remove a former log"),
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(tree, name, flags, Mode::from_raw_mode(0o600)).at("make bhyve's log")
}
