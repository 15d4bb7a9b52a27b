//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::backend::Backend;

/// Tries the whole contract of a backend on this host. Exits with 0 when all of it holds, 1 when something does not, 2
/// when nothing could be tried.
#[derive(Debug, Parser)]
#[command(
    name = "warder-conformance",
    version,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Args {
    /// The backend to try.
    #[arg(long, value_enum, default_value_t = Backend::Namespace)]
    pub(crate) backend: Backend,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write that document to a file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_file: Option<PathBuf>,
    /// Only checks whose id matches; `*` stands for anything. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,
    /// A check that may be impossible on this host and the run a success all the same. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) allow_missing: Vec<String>,
    /// Print the ids of all checks and what they try, and do nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Leave the temporary directory, with privd's log, where it is.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where Warder's programs are: `libexec/`, `plugins/`. Without it: beside this program's own directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) stage: Option<PathBuf>,
    /// A line for privd's configuration, such as `zfs_dataset tank/warder-test`. May be given several times.
    #[arg(long, value_name = "KEYWORD VALUE")]
    pub(crate) line: Vec<String>,
    /// FreeBSD: replace the host's default route for the time of the run, so that sandboxes have an internet to reach.
    #[arg(long)]
    pub(crate) take_default_route: bool,
    /// Print the parity table of earlier runs' documents, and do nothing else.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) parity: Vec<PathBuf>,
    #[command(subcommand)]
    pub(crate) hidden: Option<Hidden>,
}

/// What this program is when it is started by itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    /// One attempt inside a sandbox.
    #[command(hide = true)]
    Probe {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// One check of the kit for backends, in a process of its own because a broken one panics.
    #[command(hide = true)]
    Kit { plugin: PathBuf, name: String },
    /// The servers of the internet beside the host.
    #[command(hide = true)]
    World {
        log: PathBuf,
        #[arg(required = true)]
        addresses: Vec<Ipv4Addr>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let args = Args::try_parse_from([
            "warder-conformance",
            "--backend",
            "jail",
            "--only",
            "a*",
            "--only",
            "b",
        ]);
        assert_eq!(args.expect("plain").only, ["a*", "b"]);
        let probe =
            Args::try_parse_from(["warder-conformance", "probe", "kill", "-1"]).expect("hidden");
        assert!(matches!(probe.hidden, Some(Hidden::Probe { words }) if words == ["kill", "-1"]));
    }
}
