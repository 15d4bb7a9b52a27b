//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::up::{Domain, Tls};

/// Runs code that nobody has reviewed, in sandboxes on this machine, behind the E2B API.
///
/// Exit codes: 0 done, 1 failed, 2 wrong command line, 3 not found, 4 refused, 5 no server or no room
/// now, 77 root needed. `exec` and `shell` return the command's own code, 124 after --timeout, 125 when
/// Warder failed.
#[derive(Debug, Parser)]
#[command(name = "warder", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Directory that holds the instance's state and names it [default: /var/lib/warder, on FreeBSD /var/db/warder].
    #[arg(long, global = true, value_name = "DIR", env = "WARDER_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Write results as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until Ctrl-C; prints the lines to export for E2B's SDKs.
    Up(Up),
    /// Start a server of its own, do the whole job with a timing beside each step, leave nothing behind.
    Demo(Demo),
    /// Create a sandbox and print its id.
    Create(Create),
    /// List sandboxes.
    List(List),
    /// Run a command in a sandbox; returns its exit code.
    Exec(Exec),
    /// Open a terminal in a sandbox.
    Shell(ShellArgs),
    /// Copy a file into a sandbox or out of it.
    Cp(Cp),
    /// End sandboxes.
    Kill(Kill),
    /// Pause sandboxes: they cost no processor time and stay until they are resumed or killed.
    Pause(Pause),
    /// Wake a paused sandbox.
    Resume(Resume),
    /// Make sandboxes that begin with the files of another one as they are now.
    Fork(Fork),
    /// Snapshots: the files of a sandbox as something to create others from.
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// API keys.
    #[command(subcommand)]
    Key(Key),
    /// Templates.
    #[command(subcommand)]
    Template(Template),
    /// Sandboxes kept ready, so that a create takes one instead of making it.
    #[command(subcommand)]
    Pool(Pool),
    /// What happened to sandboxes, oldest first.
    Events(Events),
    /// Cut a sandbox off from the network at once, connections that are open included, or let its options hold again.
    Airgap(AirGap),
    /// What a sandbox may reach, whether that is in force, and what it was refused.
    Network(Network),
    /// Log lines of a sandbox: of its life, its agent and the processes in it.
    Logs(Logs),
    /// What a sandbox used lately; without one, everything about the server in Prometheus' text format.
    Metrics(Metrics),
    /// Open the log file and the certificates anew; no connection is dropped.
    Reload,
    /// What this host offers, what it lacks, and how to get it.
    Doctor,
    /// Print a completion script.
    Completions { shell: Shell },
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Up {
    /// Where to serve HTTP, or HTTPS with --tls; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// A domain that leads here with every name below it: api.DOMAIN is the API, PORT-ID.DOMAIN a sandbox. May be
    /// given several times; the first one is for the lines to export.
    #[arg(long, value_name = "DOMAIN[:PORT]")]
    pub(crate) domain: Vec<Domain>,
    /// Speak TLS with this certificate chain and key (PEM files), or with `self` as an authority of its own. May
    /// be given several times: the name a client asks for chooses.
    #[arg(long, value_name = "CHAIN,KEY|self")]
    pub(crate) tls: Vec<Tls>,
    /// Write the export lines to this file (0600) once it serves.
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// The API key to accept; else one is made.
    #[arg(
        long,
        value_name = "KEY",
        env = "WARDER_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
    /// Leave sandboxes running, or paused, at the end.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Push the memory of paused sandboxes out, as far as the host has swap.
    #[arg(long)]
    pub(crate) pause_reclaim: bool,
    /// FreeBSD: the ZFS dataset below which sandboxes are stored; else the one that the state directory is on.
    #[arg(long, value_name = "DATASET", env = "WARDER_ZFS_DATASET", value_parser = dataset)]
    pub(crate) zfs_dataset: Option<String>,
    /// A line of privd's configuration about the network: dns_servers, network_never, resolver, template_network or
    /// trusted_hops, as docs/network-modes.md has them. May be given several times.
    #[arg(long, value_name = "KEYWORD VALUE", value_parser = network_line)]
    pub(crate) network: Vec<String>,
    /// How large sandboxes of a template may be, as `template_limits` of warder.conf(5) says it, such as
    /// `base memory_mib 4096 cpu_percent 400`; `*` is for all templates without a line. May be given several times.
    #[arg(long, value_name = "TEMPLATE LIMIT NUMBER ...", value_parser = one_line)]
    pub(crate) limits: Vec<String>,
}

/// What of privd's configuration `up` does not decide itself.
fn network_line(text: &str) -> Result<String, String> {
    let keywords = [
        "dns_servers",
        "network_never",
        "resolver",
        "template_network",
        "trusted_hops",
    ];
    let keyword = text.split_ascii_whitespace().next().unwrap_or_default();
    match keywords.contains(&keyword) {
        true => one_line(text),
        false => Err(format!("not one line of {}", keywords.join(", "))),
    }
}

/// privd reads it.
fn one_line(text: &str) -> Result<String, String> {
    match text.contains(char::is_control) {
        true => Err("not one line".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// privd looks at it again.
fn dataset(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("not the name of a dataset".to_owned());
    }
    Ok(text.to_owned())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Keep the directory with the logs.
    #[arg(long)]
    pub(crate) keep_logs: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The template.
    #[arg(default_value = "base")]
    pub(crate) template: String,
    /// Seconds to live.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
    /// Let nothing out of the sandbox.
    #[arg(long)]
    pub(crate) no_internet: bool,
    /// What happens when its time is over: it ends, or is paused with its processes or only its disk.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnTimeout::Kill)]
    pub(crate) on_timeout: OnTimeout,
    /// Let requests to it wake it when it is paused.
    #[arg(long)]
    pub(crate) auto_resume: bool,
    /// A variable for every process in it.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// A note kept with it.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
}

/// What happens to a sandbox when its time is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum OnTimeout {
    Kill,
    Pause,
    PauseDisk,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// The sandboxes.
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Keep only the files: processes end, and the sandbox starts anew when it is resumed.
    #[arg(long)]
    pub(crate) disk_only: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The sandbox.
    pub(crate) id: String,
    /// Seconds to live from now.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
    /// Start it anew from its files, also when its processes were kept.
    #[arg(long)]
    pub(crate) disk_only: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fork {
    /// The sandbox, which runs on.
    pub(crate) id: String,
    /// How many to make.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u64,
    /// Seconds each has to live.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Take a snapshot of a running sandbox and print its id; `create` takes it as a template.
    Create {
        /// The sandbox.
        id: String,
        /// A name for it: NAME or NAME:TAG.
        #[arg(long)]
        name: Option<String>,
    },
    /// List snapshots, newest first.
    List {
        /// Only those of this sandbox.
        #[arg(long, value_name = "ID")]
        sandbox: Option<String>,
        /// Print ids only.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Delete a snapshot; what was made from it stays.
    Delete {
        /// Its id or name.
        snapshot: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only those with this note.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Print ids only.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// The sandbox.
    pub(crate) id: String,
    /// The user in the sandbox.
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// The directory in the sandbox.
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// A variable for the command.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Kill it after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Pass standard input on, also from a terminal.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The command and its arguments, passed on as they are, without a shell.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShellArgs {
    /// The sandbox.
    pub(crate) id: String,
    /// The user in the sandbox.
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// The directory in the sandbox.
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cp {
    /// A file here, `-` for standard input, or SANDBOX:PATH.
    pub(crate) from: String,
    /// A file or directory here, `-` for standard output, or SANDBOX:PATH.
    pub(crate) to: String,
    /// The user in the sandbox.
    #[arg(short, long)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// The sandboxes.
    #[arg(required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// Every sandbox of the instance.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Go on with new ones until Ctrl-C, also after a restart of the server.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only of this sandbox.
    #[arg(long, value_name = "ID")]
    pub(crate) sandbox: Option<String>,
    /// Only those after this number; remember the last one seen to go on from there.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) after: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AirGap {
    /// The sandbox.
    pub(crate) id: String,
    /// Whether nothing may leave.
    pub(crate) state: OnOff,
}

/// On or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum OnOff {
    On,
    Off,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    /// The sandbox.
    pub(crate) id: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The sandbox.
    pub(crate) id: String,
    /// Go on with new lines until the sandbox ends.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Metrics {
    /// The sandbox.
    pub(crate) id: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key and print it; it is shown this once.
    Create {
        /// What it is for.
        #[arg(default_value = "operator")]
        name: String,
    },
    /// List keys, without the keys themselves.
    List,
    /// Refuse a key from now on.
    Revoke {
        /// As `key list` shows it.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pool {
    /// Keep so many sandboxes of a template or snapshot, as `create` takes it, ready; 0 ends its pool.
    Set { template: String, size: u32 },
    /// List pools.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// List templates.
    List,
    /// Make a template from a directory that holds a root file system.
    ImportDir { name: String, dir: PathBuf },
    /// Make a template from a tar file, or from standard input with `-`.
    ImportTar {
        name: String,
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Make a template for virtual machines from the raw image of a disk.
    ImportRaw { name: String, file: PathBuf },
    /// Remove a template; sandboxes and snapshots made from it live on.
    Remove { name: String },
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Args::command().debug_assert();
    }

    /// Every command and option, with what it lies below.
    fn named(command: &clap::Command, above: &str, out: &mut Vec<String>) {
        let own = command.get_opts().chain(command.get_arguments());
        let long = own.filter_map(clap::Arg::get_long);
        out.extend(long.map(|name| format!("Fl -{name}")));
        for below in command.get_subcommands() {
            let name = format!("{above}{}", below.get_name());
            if below.get_subcommands().next().is_none() {
                out.push(format!("Cm {name}"));
            }
            named(below, &format!("{name} "), out);
        }
    }

    #[test]
    fn the_manual_page_has_every_command_and_option() {
        let page = include_str!("../../../docs/man/warder.8");
        let mut all = Vec::new();
        named(&Args::command(), "", &mut all);
        assert!(all.len() > 40, "{all:?}");
        let missing: Vec<_> = all.iter().filter(|name| !page.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let args = Args::try_parse_from([
            "warder", "exec", "i1", "--user", "root", "ls", "-l", "--json",
        ]);
        let Ok(Args {
            command: Command::Exec(exec),
            json,
            ..
        }) = args
        else {
            panic!("parses");
        };
        assert_eq!(exec.command, ["ls", "-l", "--json"]);
        assert!(!json);
    }
}
