//! From a configuration to a daemon that can run.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use warder_host::cell::Controllers;
use warder_host::dirs::{Access, detached, make_private_dir};
use warder_host::signals::Signals;
use warder_host::storage::Store;
use warder_host::{features, own, watch};
use warder_ipc::Watchdog;
use warder_wire::{InstanceTag, RUN_DIR};

use crate::ahead::Ahead;
use crate::claim::{self, Claims, lock_file};
use crate::config::Config;
use crate::leases::{Now, Timers};
use crate::ledger::Ledger;
use crate::listeners::{self, Links};
use crate::logs::Log;
use crate::privd::{Privd, StartError};
use crate::ranges::Ranges;
use crate::reload;
use crate::supervise::{Post, Role};

/// How long a privd that was killed may still hold its lock.
const PREDECESSOR: Duration = Duration::from_secs(5);
/// What E2B's sandboxes resolve names with, and what may always be asked while names are in a policy: used where
/// the operator names none.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

/// Does everything that comes before the loop, in order.
///
/// # Errors
/// [`StartError`].
pub(crate) fn prepare(config: Config, path: &str) -> Result<Privd, StartError> {
    let file = |what| move |e| StartError::File(what, e);
    let inherit = |fds: &[i32]| {
        fds.iter()
            .map(|n| own::inherited(*n))
            .collect::<Result<Vec<_>, _>>()
    };
    let inherited = inherit(&config.listen_fds)?;
    let inherited_tls = inherit(&config.tls_listen_fds)?;
    let undone = own::settle(&[&config.listen_fds[..], &config.tls_listen_fds].concat())?;
    let signals = Signals::new()?;
    let mut log = Log::open(config.log_file.clone()).map_err(file("opening the log file"))?;
    for line in undone {
        log.own(line);
    }

    let config_file = std::path::absolute(path).map_err(file("finding the configuration"))?;

    private(&config.state_dir, 0o700)?;
    let state_dir = config
        .state_dir
        .canonicalize()
        .map_err(file("finding the state directory"))?;
    let tag = InstanceTag::of_state_dir(state_dir.as_os_str().as_bytes());
    private(&state_dir.join("privd"), 0o700)?;
    let lock = lock_file(&state_dir.join("privd/lock"), PREDECESSOR).map_err(file(
        "locking the state directory (is another privd running?)",
    ))?;

    // Before anything is claimed: what of this is wrong leaves no claim. What fails below leaves one, which goes stale.
    let operator_group = match &config.operator_group {
        Some(name) => Some(crate::users::group(name).ok_or(StartError::Invalid(
            "`operator_group` names no group of this host",
        ))?),
        None => None,
    };
    let mut tcp = Vec::new();
    // Those that speak TLS are the last.
    for (addresses, fds) in [
        (&config.listen, inherited),
        (&config.tls_listen, inherited_tls),
    ] {
        for address in addresses {
            tcp.push(listeners::tcp(*address).map_err(file("binding a `listen` address"))?);
        }
        for fd in fds {
            warder_ipc::check::tcp_listener(std::os::fd::AsFd::as_fd(&fd))
                .map_err(|_| StartError::Invalid("`listen_fd` is no listening TCP socket"))?;
            tcp.push(fd);
        }
    }
    for (n, pair) in (1..).zip(&config.certificates) {
        reload::open(pair).map_err(|fault| StartError::Certificate(n, fault))?;
    }

    private(Path::new(RUN_DIR), 0o755)?;
    let number_file = state_dir.join("privd/instance");
    let before = std::fs::read_to_string(&number_file)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let claim = claims(tag, &state_dir).take(before, Ledger::names_sandboxes)?;
    if before.is_some_and(|n| n != claim.instance) && Ledger::names_paused(&state_dir) {
        claims(tag, &state_dir).release()?;
        return Err(StartError::Invalid(
            "the disks of paused sandboxes have the ids of another instance number, which is claimed by \
             another instance (see `claims` in the directory above `run_dir`)",
        ));
    }
    if before != Some(claim.instance) {
        std::fs::write(&number_file, format!("{}\n", claim.instance))
            .map_err(file("noting the instance's number"))?;
    }

    let run_dir = config.run_dir_of(tag);
    private(&run_dir, 0o711)?;
    private(&run_dir.join("links"), 0o700)?;
    let admin = listeners::admin(&run_dir.join("admin.sock"), operator_group)
        .map_err(file("binding the administrator's listener"))?;

    let boot = features::boot_id()?;
    let now = Now::read();
    let ledger = Ledger::open(&state_dir.join("privd/ledger"), tag, &boot, |deadline| {
        deadline.rebased(now)
    })?;
    let capacity = config.max_sandboxes.min(claim::SANDBOXES);
    let taken: BTreeSet<u32> = ledger.book().values().map(|entry| entry.range).collect();
    let ahead = (config.ready_slots as usize).clamp(2, 64);

    trusted(&config.agent)?;
    let mut posts = BTreeMap::from([
        (Role::Net, Post::new(program(&config.libexec_dir, "netd")?)),
        (
            Role::Gateway,
            Post::new(program(&config.libexec_dir, "gatewayd")?),
        ),
        (
            Role::Egress,
            Post::new(program(&config.libexec_dir, "egressd")?),
        ),
    ]);
    for n in 0..config.backends.len() {
        let n = u8::try_from(n).map_err(|_| StartError::Invalid("too many backends"))?;
        posts.insert(
            Role::Plugin(n),
            Post::new(program(&config.libexec_dir, "pluginhost")?),
        );
    }

    let controllers = Controllers::open(tag, &state_dir)?;
    let mut features = features::report(&state_dir);
    features.extend(controllers.pausing());
    let mut privd = Privd {
        lock,
        tag,
        claim,
        capacity,
        agent: detached(&config.agent, Access::ReadOnly)?,
        resolvers: resolvers(&config),
        features,
        operator_group,
        listeners: tcp,
        admin,
        log,
        now,
        timers: Timers::default(),
        signals,
        watchdog: Watchdog::new().map_err(|e| StartError::File("making a timer", e))?,
        // Every id range of the claim: one may be held up by what its last sandbox left.
        ranges: Ranges::new(claim, claim::SANDBOXES, &taken, ahead),
        ahead: Ahead::none(),
        ledger,
        live: BTreeMap::new(),
        starting: BTreeSet::new(),
        cleanups: BTreeMap::new(),
        links: Links::new(run_dir.join("links")),
        watch: watch::Set::new()?,
        tokens: BTreeMap::new(),
        next_token: 0,
        store: Store::open(&state_dir, config.zfs_dataset.as_deref())?,
        controllers,
        jobs: Vec::new(),
        trash: false,
        posts,
        net_seq: 0,
        net_pending: BTreeMap::new(),
        net_purged: false,
        rates: BTreeMap::new(),
        untold: Vec::new(),
        stop: None,
        fatal: None,
        more: false,
        round: 0,
        config,
        config_file,
        state_dir,
        run_dir,
    };
    let quota = privd.config.volume_quota_mib;
    if !privd
        .store
        .bound_volumes(quota.map(|mib| u64::from(mib) << 20))
    {
        privd
            .log
            .own("volume_quota_mib: this storage cannot bound volumes, and does not");
    }
    privd.reconcile()?;
    privd.refresh_base();
    privd.log.own(format_args!(
        "instance {tag}, number {}, up to {capacity} sandboxes",
        claim.instance
    ));
    for role in privd
        .posts
        .keys()
        .copied()
        .filter(|role| match role {
            Role::Net => true,
            Role::Gateway => false,
            Role::Plugin(_) | Role::Egress => !privd.config.purge,
        })
        .collect::<Vec<_>>()
    {
        privd.start(role);
    }
    Ok(privd)
}

/// The host's claims, seen from one instance.
#[must_use]
pub(crate) fn claims(tag: InstanceTag, state_dir: &Path) -> Claims<'_> {
    Claims::new(Path::new(RUN_DIR), tag, state_dir)
}

fn private(path: &Path, mode: rustix::fs::RawMode) -> Result<(), StartError> {
    std::fs::create_dir_all(path.parent().unwrap_or(path))
        .map_err(|e| StartError::File("making a directory", e))?;
    Ok(make_private_dir(path, 0, 0, mode)?)
}

fn program(dir: &Path, name: &str) -> Result<OwnedFd, StartError> {
    let path = dir.join(name);
    trusted(&path)?;
    File::open(&path)
        .map(OwnedFd::from)
        .map_err(|e| StartError::File("opening a program in `libexec_dir`", e))
}

/// Checks that a file or directory is root's and nobody else may write it: what is in it will run as
/// root, or be loaded.
///
/// # Errors
/// [`StartError::Untrusted`].
pub(crate) fn trusted(path: &Path) -> Result<(), StartError> {
    let meta = std::fs::metadata(path).map_err(|_| StartError::Untrusted(path.to_owned()))?;
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(StartError::Untrusted(PathBuf::from(path)));
    }
    Ok(())
}

/// What sandboxes find in their resolv.conf(5): the operator's, or the host's that a sandbox may reach at all.
fn resolvers(config: &Config) -> Vec<Ipv4Addr> {
    if !config.resolvers.is_empty() {
        return config.resolvers.clone();
    }
    if !config.dns_servers.is_empty() {
        return config.dns_servers.iter().copied().take(3).collect();
    }
    let text = std::fs::read(OsStr::new("/etc/resolv.conf")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let named = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    let public = named.filter_map(|address| match address {
        IpAddr::V4(v4) if is_public(v4) => Some(v4),
        _ => None,
    });
    let found: Vec<Ipv4Addr> = public.take(3).collect();
    if found.is_empty() {
        vec![RESOLVER]
    } else {
        found
    }
}

/// The operator's DNS servers. Those that sandboxes find are among them, or nobody would find a name that a policy
/// allows.
#[must_use]
pub(crate) fn dns_servers(config: &Config, resolvers: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    let mut servers = config.dns_servers.clone();
    servers.extend(resolvers);
    if config.dns_servers.is_empty() {
        servers.push(RESOLVER);
    }
    let mut seen = BTreeSet::new();
    servers.retain(|server| seen.insert(*server));
    servers
}

fn is_public(v4: Ipv4Addr) -> bool {
    let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_unspecified()
        || v4.is_multicast()
        || v4.is_broadcast()
        || shared)
}
