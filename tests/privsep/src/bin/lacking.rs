//! Trust: none; part of the tests.
//! Input: a program and its arguments.
//! May: start that program.
//! Unsafe: forbidden.
//!
//! A kernel that lacks something every cell needs and nothing else does: `sethostname` answers ENOSYS to the
//! program and all it starts.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::os::unix::process::CommandExt;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().ok_or("a program and its arguments")?;
    let absent = u32::try_from(libc::ENOSYS)?;
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_sethostname, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(absent),
        std::env::consts::ARCH.try_into()?,
    )?;
    let filter: BpfProgram = filter.try_into()?;
    apply_filter(&filter)?;
    Err(std::process::Command::new(program)
        .args(words)
        .exec()
        .into())
}
