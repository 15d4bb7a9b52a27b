//! Command lines: an absolute path and a list of arguments. Nothing in them comes from a guest or a client.

/// bhyve(8), in its jail as on the host.
pub const PROGRAM: &str = "/usr/sbin/bhyve";
/// Where it reads its configuration: standard input, so that no file of it is left and none can be exchanged.
pub const INPUT: &str = "/dev/stdin";

/// Runs the guest whose configuration it reads from standard input. The guest's name is in that too.
#[must_use]
pub const fn run() -> [&'static str; 3] {
    ["bhyve", "-k", INPUT]
}

/// Prints the configuration that it understood, and starts nothing; bhyve then exits with code 1.
#[must_use]
pub const fn dump() -> [&'static str; 5] {
    ["bhyve", "-k", INPUT, "-o", "config.dump=1"]
}

/// The node by which the kernel destroys a machine whose name is written to it (vmm_dev.c), on FreeBSD 14 and 15.
pub const DESTROY: &str = "hw.vmm.destroy";
/// How many processors a machine may have.
pub const MOST_CPUS: &str = "hw.vmm.maxcpu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_these() {
        assert_eq!(run().join(" "), "bhyve -k /dev/stdin");
        assert_eq!(dump().join(" "), "bhyve -k /dev/stdin -o config.dump=1");
        assert!(PROGRAM.starts_with('/'));
    }
}
