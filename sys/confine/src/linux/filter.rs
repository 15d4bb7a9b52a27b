//! From a table of system calls to filters on every thread (seccomp(2), TSYNC).
//!
//! Two programs, of which the kernel takes the stricter answer: the first knows numbers only and ends the
//! process for one that is not in the table at all; the second looks at arguments and answers EPERM to what
//! the table lists but does not allow. EPERM alone would not do: abort(3) would spin for ever when its
//! signal is refused. Killing alone would end a daemon for a harmless question of a library.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::ConfineError;

/// One system call allowed under one combination of arguments; several entries are alternatives.
#[derive(Debug)]
pub(super) struct Only {
    pub call: libc::c_long,
    pub when: Vec<When>,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// 32 bits of argument `.0` are `.1`.
    Is(u8, u32),
    /// All 64 bits of argument `.0` are `.1`.
    IsLong(u8, u64),
    /// Of the 64 bits of argument `.0`, those in `.1` are `.2`.
    Bits(u8, u64, u64),
}

/// What a process may call.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// With any arguments.
    pub always: Vec<libc::c_long>,
    /// With some arguments; EPERM with others.
    pub only: Vec<Only>,
    /// Answered with EPERM.
    pub refused: Vec<libc::c_long>,
    /// Answered with ENOSYS, so that the C library tries the older call.
    pub absent: Vec<libc::c_long>,
}

/// Installs the table on all threads.
pub(super) fn install(table: &Table) -> Result<(), ConfineError> {
    if !table.absent.is_empty() {
        let absent = u32::try_from(libc::ENOSYS).unwrap_or_default();
        apply(&absent_program(table, absent)?)?;
    }
    apply(&numbers(table)?)?;
    apply(&arguments(table)?)
}

fn apply(program: &BpfProgram) -> Result<(), ConfineError> {
    seccompiler::apply_filter_all_threads(program).map_err(|error| layer(&error))
}

fn absent_program(table: &Table, errno: u32) -> Result<BpfProgram, ConfineError> {
    let rules = table.absent.iter().map(|&call| (call, Vec::new()));
    compile(
        rules.collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
    )
}

fn numbers(table: &Table) -> Result<BpfProgram, ConfineError> {
    let known = table
        .always
        .iter()
        .chain(&table.refused)
        .chain(&table.absent)
        .copied()
        .chain(table.only.iter().map(|only| only.call));
    compile(
        known.map(|call| (call, Vec::new())).collect(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
    )
}

fn arguments(table: &Table) -> Result<BpfProgram, ConfineError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for only in &table.only {
        let conditions: Result<Vec<_>, _> = only.when.iter().map(When::condition).collect();
        let rule = conditions
            .and_then(SeccompRule::new)
            .map_err(|error| layer(&error))?;
        rules.entry(only.call).or_default().push(rule);
    }
    let always = table.always.iter().chain(&table.absent);
    rules.extend(always.map(|&call| (call, Vec::new())));
    let refusal = u32::try_from(libc::EPERM).unwrap_or_default();
    compile(rules, SeccompAction::Errno(refusal), SeccompAction::Allow)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| layer(&error))?;
    SeccompFilter::new(rules, otherwise, listed, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| layer(&error))
}

fn layer(error: &dyn std::fmt::Display) -> ConfineError {
    ConfineError::Layer {
        step: "seccomp",
        text: error.to_string(),
    }
}

impl When {
    fn condition(&self) -> Result<SeccompCondition, seccompiler::BackendError> {
        let (argument, length, operator, value) = match *self {
            Self::Is(argument, value) => (
                argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Eq,
                u64::from(value),
            ),
            Self::IsLong(argument, value) => {
                (argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
            }
            Self::Bits(argument, mask, value) => (
                argument,
                SeccompCmpArgLen::Qword,
                SeccompCmpOp::MaskedEq(mask),
                value,
            ),
        };
        SeccompCondition::new(argument, length, operator, value)
    }
}
