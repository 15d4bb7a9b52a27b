//! The configuration file: `keyword value` lines as in `sshd_config`(5). `#` begins a comment line.
//! A keyword that is not known, given twice, or whose value is wrong stops the start.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use warder_wire::{BackendName, Cidr, InstanceTag, RUN_DIR};

use crate::bounds::TemplateBounds;
use crate::sizes::TemplateLimits;

/// Most TCP listeners; they ride with two more descriptors in one frame of at most 16.
const MAX_LISTENERS: usize = 8;
/// Most certificates.
const MAX_CERTIFICATES: usize = 8;
/// Most domains.
const MAX_DOMAINS: usize = 8;
/// Most backends; each has a plugin host and one of the instance's own ids.
const MAX_BACKENDS: usize = 8;
/// Most resolvers that resolv.conf(5) takes.
const MAX_RESOLVERS: usize = 3;
/// Most DNS servers for names in policies.
const MAX_DNS_SERVERS: usize = 8;
/// Most ranges that no policy opens.
const MAX_NEVER: usize = 256;
/// Longest `run_dir` in bytes, so that `links/<id>` below it fits `sun_path` (unix(7): 108, unix(4): 104).
const MAX_RUN_DIR: usize = 72;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Config {
    /// Ledgers, templates, sandboxes. Its canonical path names the instance.
    pub state_dir: PathBuf,
    /// Sockets; made at start. None: [`RUN_DIR`]`/<tag>`.
    pub run_dir: Option<PathBuf>,
    /// Addresses to serve HTTP on.
    pub listen: Vec<SocketAddr>,
    /// Bound listeners inherited from whoever started privd.
    pub listen_fds: Vec<i32>,
    /// The same for HTTPS.
    pub tls_listen: Vec<SocketAddr>,
    /// The same for HTTPS.
    pub tls_listen_fds: Vec<i32>,
    /// Certificate chains, each with its key, as PEM files. The first one is shown to clients that name no
    /// domain, or one that no certificate is for.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Where `netd`, `egressd`, `gatewayd` and `pluginhost` are.
    pub libexec_dir: PathBuf,
    /// Where plugins are: root's, and nobody else may write it.
    pub plugin_dir: PathBuf,
    /// The backends to load; the first one makes sandboxes.
    pub backends: Vec<BackendName>,
    /// What sandbox host names end in, with `:PORT` where clients need one; at least one.
    pub domains: Vec<String>,
    /// Group whose members may administer.
    pub operator_group: Option<String>,
    /// The static agent that becomes pid 1 of every sandbox.
    pub agent: PathBuf,
    /// The dataset of ZFS that trees, templates and volumes are made below; none: the one that the state directory lies
    /// in.
    pub zfs_dataset: Option<String>,
    /// Sandboxes at most; the id range may allow fewer.
    pub max_sandboxes: u32,
    /// How long the making of a sandbox may take, in seconds.
    pub create_timeout_s: u16,
    /// Network slots kept ready.
    pub ready_slots: u32,
    /// Cells kept ready.
    pub ready_cells: u32,
    /// Below this many MiB free, nothing new is stored.
    pub storage_reserve_mib: u32,
    /// What a volume may hold, in MiB, where the storage can bound it.
    pub volume_quota_mib: Option<u32>,
    /// Whether sandboxes live on when privd is stopped cleanly.
    pub keep_on_stop: bool,
    /// Whether privd was started to remove everything, and nothing else.
    pub purge: bool,
    /// Whether the memory of paused sandboxes is pushed out.
    pub pause_reclaim: bool,
    /// What sandboxes resolve names with; none: the operator's, or those of the host that they can reach.
    pub resolvers: Vec<Ipv4Addr>,
    /// The operator's DNS servers: names in policies are resolved by them, wherever they are.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Ranges that no policy opens.
    pub network_never: Vec<Cidr>,
    /// What sandboxes may use of the network.
    pub template_networks: TemplateBounds,
    /// How large sandboxes may be.
    pub template_limits: TemplateLimits,
    /// So many proxies in front of the gateway are the operator's.
    pub trusted_hops: u8,
    /// Where log lines go instead of standard error.
    pub log_file: Option<PathBuf>,
}

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What to change.
        problem: String,
    },
    /// The file as a whole is wrong.
    #[error("{0}")]
    Whole(String),
}

impl Config {
    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`], with the number of the line.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let unless_told = Self {
            max_sandboxes: 1000,
            create_timeout_s: 55,
            ready_slots: 32,
            ready_cells: 16,
            storage_reserve_mib: 256,
            keep_on_stop: true,
            ..Self::default()
        };
        let mut draft = Draft {
            config: unless_told,
            ..Draft::default()
        };
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let words = text.split_once(|c: char| c.is_ascii_whitespace());
            let (keyword, value) = words.unwrap_or((text, ""));
            let set = draft.set(keyword, value.trim());
            set.map_err(|problem| ConfigError::Line { line, problem })?;
        }
        draft.finish().map_err(ConfigError::Whole)
    }

    /// The same, to end every sandbox and leave the host: nothing is served, and whoever asked reads the log.
    #[must_use]
    pub(crate) fn for_purge(self) -> Self {
        Self {
            purge: true,
            keep_on_stop: false,
            listen: Vec::new(),
            listen_fds: Vec::new(),
            tls_listen: Vec::new(),
            tls_listen_fds: Vec::new(),
            certificates: Vec::new(),
            log_file: None,
            ..self
        }
    }

    /// The run directory of the instance `tag`.
    #[must_use]
    pub(crate) fn run_dir_of(&self, tag: InstanceTag) -> PathBuf {
        self.run_dir
            .clone()
            .unwrap_or_else(|| Path::new(RUN_DIR).join(tag.to_string()))
    }

    /// How many listeners speak TLS.
    #[must_use]
    pub(crate) fn tls_listeners(&self) -> usize {
        self.tls_listen.len() + self.tls_listen_fds.len()
    }
}

/// Keywords that may be given more than once.
const LISTS: &str = "backend dns_servers domain listen listen_fd network_never resolver template_limits template_network \
                     tls_chain tls_key tls_listen tls_listen_fd";
/// Keywords that must be given.
const NEEDED: [&str; 5] = ["backend", "state_dir", "libexec_dir", "plugin_dir", "agent"];

/// What the lines so far say.
#[derive(Default)]
struct Draft {
    config: Config,
    seen: BTreeSet<String>,
    tls_chains: Vec<PathBuf>,
    tls_keys: Vec<PathBuf>,
}

impl Draft {
    fn set(&mut self, keyword: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("`{keyword}` needs a value"));
        }
        let is_list = LISTS.split(' ').any(|name| name == keyword);
        if !self.seen.insert(keyword.to_owned()) && !is_list {
            return Err("given twice".to_owned());
        }
        let config = &mut self.config;
        match keyword {
            "state_dir" => config.state_dir = path(value)?,
            "run_dir" => config.run_dir = Some(path(value)?),
            "libexec_dir" => config.libexec_dir = path(value)?,
            "plugin_dir" => config.plugin_dir = path(value)?,
            "agent" => config.agent = path(value)?,
            "log_file" => config.log_file = Some(path(value)?),
            "domain" => many(&mut config.domains, domain(value)?, MAX_DOMAINS)?,
            "tls_chain" => many(&mut self.tls_chains, path(value)?, MAX_CERTIFICATES)?,
            "tls_key" => many(&mut self.tls_keys, path(value)?, MAX_CERTIFICATES)?,
            "operator_group" => config.operator_group = Some(value.to_owned()),
            // The store says what a name of a dataset is.
            "zfs_dataset" => config.zfs_dataset = Some(value.to_owned()),
            "max_sandboxes" => config.max_sandboxes = number(value, 1, 100_000)?,
            "create_timeout" => config.create_timeout_s = number(value, 10, 600)?,
            "ready_slots" => config.ready_slots = number(value, 0, 1024)?,
            "ready_cells" => config.ready_cells = number(value, 0, 64)?,
            "storage_reserve_mib" => config.storage_reserve_mib = number(value, 0, u32::MAX)?,
            "volume_quota_mib" => config.volume_quota_mib = Some(number(value, 1, u32::MAX)?),
            "on_stop" => config.keep_on_stop = either(keyword, value, "keep", "remove")?,
            "pause_reclaim" => config.pause_reclaim = either(keyword, value, "yes", "no")?,
            "listen" => many(&mut config.listen, address(value)?, MAX_LISTENERS)?,
            "tls_listen" => many(&mut config.tls_listen, address(value)?, MAX_LISTENERS)?,
            "resolver" => many(&mut config.resolvers, server(value)?, MAX_RESOLVERS)?,
            "dns_servers" => each(value, |word| {
                many(&mut config.dns_servers, server(word)?, MAX_DNS_SERVERS)
            })?,
            "network_never" => each(value, |word| {
                many(&mut config.network_never, network(word)?, MAX_NEVER)
            })?,
            "template_network" => config.template_networks.add(value)?,
            "template_limits" => config.template_limits.add(value)?,
            "trusted_hops" => config.trusted_hops = number(value, 0, 16)?,
            "listen_fd" => many(&mut config.listen_fds, descriptor(value)?, MAX_LISTENERS)?,
            "tls_listen_fd" => many(
                &mut config.tls_listen_fds,
                descriptor(value)?,
                MAX_LISTENERS,
            )?,
            "backend" => {
                let name = BackendName::new(value).map_err(|e| format!("`{value}`: {e}"))?;
                many(&mut config.backends, name, MAX_BACKENDS)?;
            }
            _ => return Err(format!("unknown keyword `{keyword}`")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Config, String> {
        let mut config = self.config;
        if let Some(missing) = NEEDED.iter().find(|name| !self.seen.contains(**name)) {
            return Err(format!("`{missing}` is missing"));
        }
        let tls = config.tls_listeners();
        let listeners = config.listen.len() + config.listen_fds.len() + tls;
        if listeners == 0 || listeners > MAX_LISTENERS {
            return Err(format!(
                "between 1 and {MAX_LISTENERS} of `listen`, `listen_fd`, `tls_listen` and `tls_listen_fd` are needed"
            ));
        }
        if self.tls_chains.len() != self.tls_keys.len() {
            return Err("each `tls_chain` needs its `tls_key`, in the same order".to_owned());
        }
        if (tls == 0) != self.tls_chains.is_empty() {
            return Err(
                "`tls_listen` or `tls_listen_fd`, and `tls_chain` with `tls_key`, need each other"
                    .to_owned(),
            );
        }
        let twice = |fd: &i32| config.tls_listen_fds.contains(fd);
        if config.listen_fds.iter().any(twice) {
            return Err("a descriptor is a `listen_fd` or a `tls_listen_fd`, not both".to_owned());
        }
        let run_dir = config.run_dir.as_ref();
        if run_dir.is_some_and(|dir| dir.as_os_str().len() > MAX_RUN_DIR) {
            return Err(format!(
                "`run_dir` is longer than {MAX_RUN_DIR} bytes: sockets below it could not be bound"
            ));
        }
        config.certificates = self.tls_chains.into_iter().zip(self.tls_keys).collect();
        if config.domains.is_empty() {
            config.domains.push("localhost".to_owned());
        }
        Ok(config)
    }
}

fn many<T: PartialEq>(list: &mut Vec<T>, value: T, most: usize) -> Result<(), String> {
    if list.contains(&value) {
        return Err("given twice".to_owned());
    }
    if list.len() >= most {
        return Err(format!("more than {most}"));
    }
    list.push(value);
    Ok(())
}

/// Every word of a value that is a list.
fn each(value: &str, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    value.split_ascii_whitespace().try_for_each(&mut take)
}

fn server(value: &str) -> Result<Ipv4Addr, String> {
    let plain = |address: &Ipv4Addr| {
        !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
    };
    value
        .parse()
        .ok()
        .filter(plain)
        .ok_or_else(|| format!("`{value}` is not an IPv4 address of a server"))
}

fn network(value: &str) -> Result<Cidr, String> {
    let wrong = |_| format!("`{value}` is not an IPv4 network such as 192.0.2.0/24");
    let network: Cidr = value.parse().map_err(wrong)?;
    let address = value.split('/').next().unwrap_or_default();
    // What is cleared without a word may be what was meant.
    if network.range().0.to_string() == address {
        Ok(network)
    } else {
        Err(format!("`{value}` has bits behind its prefix: {network}"))
    }
}

/// Whether a value is the first of two words.
fn either(keyword: &str, value: &str, first: &str, second: &str) -> Result<bool, String> {
    match value == first {
        false if value != second => Err(format!("`{keyword}` is `{first}` or `{second}`")),
        is_first => Ok(is_first),
    }
}

/// A whole number within bounds.
///
/// # Errors
/// What to change.
pub(crate) fn number<T: TryFrom<u32>>(value: &str, least: u32, most: u32) -> Result<T, String> {
    plain(value)
        .filter(|n| (least..=most).contains(n))
        .and_then(|n| n.try_into().ok())
        .ok_or_else(|| format!("`{value}` is not a number from {least} to {most}"))
}

/// A number of nothing but digits: parsing alone takes a sign.
pub(crate) fn plain<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn address(value: &str) -> Result<SocketAddr, String> {
    let wrong = |_| format!("`{value}` is not ADDRESS:PORT");
    value.parse().map_err(wrong)
}

fn descriptor(value: &str) -> Result<i32, String> {
    Ok(number::<u32>(value, 3, 1023)?.cast_signed())
}

fn path(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if !path.is_absolute()
        || path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
    {
        return Err(format!("`{value}` is not an absolute path without `..`"));
    }
    Ok(path.to_owned())
}

fn domain(value: &str) -> Result<String, String> {
    let label = |l: &str| {
        !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let (name, port) = value.split_once(':').unwrap_or((value, "443"));
    if value.len() > 200 || !name.split('.').all(label) || number::<u32>(port, 1, 65_535).is_err() {
        return Err(format!("`{value}` is not DOMAIN or DOMAIN:PORT"));
    }
    Ok(value.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# comment\nstate_dir /var/lib/warder\nlisten 127.0.0.1:3000\n\nlisten [::1]:3000\n\
        libexec_dir /usr/libexec/warder\nplugin_dir /usr/lib/warder\nbackend namespace\nagent /usr/libexec/warder/envd\n\
        on_stop keep\n";

    #[test]
    fn a_good_file_is_read() {
        let config = Config::parse(GOOD).expect("good");
        assert_eq!(config.listen.len(), 2);
        // A host's service is stopped and started again, and its sandboxes go on.
        for (instead, keeps) in [
            ("on_stop keep", true),
            ("", true),
            ("on_stop remove", false),
        ] {
            let text = GOOD.replace("on_stop keep", instead);
            assert_eq!(Config::parse(&text).expect("good").keep_on_stop, keeps);
        }
        assert_eq!(
            config.run_dir_of(InstanceTag::of_state_dir(b"")),
            Path::new(RUN_DIR).join("811c9dc5")
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        for bad in [
            "colour red",
            "listen 3000",
            "listen_fd 2",
            "on_stop maybe",
            "pause_reclaim maybe",
            "ready_cells 65",
            "create_timeout 9",
            "create_timeout 601",
            "state_dir relative",
            "agent /a/../b",
            "backend a/b",
            "max_sandboxes 0",
            "state_dir",
            "domain a..b",
            "domain a:0",
            "domain a:b:1",
            "state_dir /other",
        ] {
            let text = format!("{GOOD}{bad}\n");
            let error = Config::parse(&text).expect_err(bad).to_string();
            assert!(error.starts_with("line 11: "), "{bad}: {error}");
        }
    }

    #[test]
    fn the_network_is_configured() {
        let text = format!(
            "{GOOD}dns_servers 10.0.0.53 8.8.8.8\ndns_servers 9.9.9.9\nnetwork_never 203.0.113.0/24 192.0.2.1\n\
             template_network closed airgap\ntemplate_network base upload 10M flows 100\ntrusted_hops 2\n"
        );
        let config = Config::parse(&text).expect("good");
        assert_eq!(
            config.dns_servers,
            [[10, 0, 0, 53], [8, 8, 8, 8], [9, 9, 9, 9]].map(Ipv4Addr::from)
        );
        let never: Vec<String> = config.network_never.iter().map(Cidr::to_string).collect();
        assert_eq!(never, ["203.0.113.0/24", "192.0.2.1/32"]);
        assert_eq!(config.trusted_hops, 2);
        for bad in [
            "dns_servers",
            "dns_servers 8.8.8.8 8.8.8.8",
            "dns_servers dns.example",
            "dns_servers 2001:db8::1",
            "dns_servers 0.0.0.0",
            "network_never 10.0.0.0/33",
            "network_never 192.0.2.1/24",
            "network_never 2001:db8::/32",
            "network_never 192.0.2.0/24,198.51.100.0/24",
            "template_network base",
            "template_network base upload lots",
            "template_network Base airgap",
            "template_network a airgap\ntemplate_network a airgap",
            "template_limits base",
            "template_limits base pids 15",
            "template_limits base pids 64 memory_mib",
            "template_limits a pids 64\ntemplate_limits a pids 64",
            "trusted_hops -1",
            "trusted_hops 17",
            "trusted_hops 1\ntrusted_hops 1",
        ] {
            let error = Config::parse(&format!("{GOOD}{bad}\n")).expect_err(bad);
            let line = 10 + bad.lines().count();
            let expected = format!("line {line}: ");
            assert!(error.to_string().starts_with(&expected), "{bad}: {error}");
        }
    }

    #[test]
    fn what_must_be_there_must_be_there() {
        for keyword in ["state_dir", "libexec_dir", "plugin_dir", "agent", "backend"] {
            let text: String = GOOD
                .lines()
                .filter(|l| !l.starts_with(keyword))
                .map(|l| format!("{l}\n"))
                .collect();
            assert!(
                Config::parse(&text)
                    .expect_err(keyword)
                    .to_string()
                    .contains(keyword)
            );
        }
        let text: String = GOOD
            .lines()
            .filter(|l| !l.starts_with("listen"))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(Config::parse(&text).is_err());
    }

    #[test]
    fn tls_needs_listeners_chains_and_keys() {
        let tls = "tls_listen 127.0.0.1:3443\ntls_chain /a\ntls_key /b\n";
        let config = Config::parse(&format!("{GOOD}{tls}")).expect("good");
        assert_eq!(config.tls_listeners(), 1);
        assert_eq!(config.certificates, [("/a".into(), "/b".into())]);
        for bad in [
            "tls_listen_fd 3\n",
            "tls_chain /a\ntls_key /b\n",
            "tls_listen_fd 3\ntls_chain /a\n",
            "tls_listen_fd 3\nlisten_fd 3\ntls_chain /a\ntls_key /b\n",
        ] {
            assert!(Config::parse(&format!("{GOOD}{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sample_is_one_with_every_keyword() {
        let sample = include_str!("../../docs/warder.conf.sample");
        let config = Config::parse(sample).expect("good");
        assert_eq!(config.template_networks, TemplateBounds::default());
        assert_eq!(config.template_limits, TemplateLimits::default());
        let uncommented: String = sample
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(line) if !line.starts_with(' ') => format!("{line}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let config = Config::parse(&uncommented).expect("good");
        assert_ne!(config.template_networks, TemplateBounds::default());
        assert_ne!(config.template_limits, TemplateLimits::default());
    }

    #[test]
    fn the_manual_page_has_every_keyword_and_no_other() {
        let page = include_str!("../../docs/man/warder.conf.5");
        let described = page.lines().filter_map(|line| line.strip_prefix(".It Ic "));
        let described: BTreeSet<&str> = described
            .filter_map(|line| line.split(' ').next())
            .collect();
        for keyword in &described {
            let said = Draft::default().set(keyword, "?");
            let unknown = format!("unknown keyword `{keyword}`");
            assert_ne!(said, Err(unknown), "not taken any more");
        }
        let sample = include_str!("../../docs/warder.conf.sample");
        let lines = sample.lines().map(|line| line.trim_start_matches('#'));
        let keywords = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        for keyword in keywords.filter_map(|line| line.split(' ').next()) {
            assert!(described.contains(keyword), "{keyword} is not described");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,300}") {
            let _ = Config::parse(&text);
        }
    }
}
