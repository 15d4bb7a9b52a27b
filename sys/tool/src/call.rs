//! What is run, and what comes of it.

use std::fmt;
use std::time::Duration;

/// A tool takes seconds at most, unless its caller knows better.
const DEADLINE: Duration = Duration::from_secs(20);
/// What a tool prints at most, unless its caller knows better.
const MOST: usize = 1 << 20;

/// The programs there are. Nothing that comes from outside names one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    /// zfs(8).
    Zfs,
    /// zpool(8), to look at pools.
    Zpool,
    /// pfctl(8).
    Pfctl,
    /// dnctl(8).
    Dnctl,
    /// ifconfig(8).
    Ifconfig,
    /// route(8).
    Route,
    /// kldstat(8).
    Kldstat,
    /// devfs(8).
    Devfs,
    /// pwd_mkdb(8).
    PwdMkdb,
    /// cap_mkdb(1).
    CapMkdb,
    /// Programs that any system has, for tests of this crate.
    #[cfg(test)]
    Sample(&'static str),
}

impl Tool {
    /// Where the base system has it (hier(7)).
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Zfs => "/sbin/zfs",
            Self::Zpool => "/sbin/zpool",
            Self::Pfctl => "/sbin/pfctl",
            Self::Dnctl => "/sbin/dnctl",
            Self::Ifconfig => "/sbin/ifconfig",
            Self::Route => "/sbin/route",
            Self::Kldstat => "/sbin/kldstat",
            Self::Devfs => "/sbin/devfs",
            Self::PwdMkdb => "/usr/sbin/pwd_mkdb",
            Self::CapMkdb => "/usr/bin/cap_mkdb",
            #[cfg(test)]
            Self::Sample(path) => path,
        }
    }
}

/// A tool with its arguments. Printed as a person would type it, though no shell ever sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    pub(crate) tool: Tool,
    pub(crate) args: Vec<String>,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) most: usize,
    pub(crate) deadline: Duration,
}

impl Call {
    /// `tool` with `args`, each passed as it is.
    #[must_use]
    pub fn new<S: Into<String>>(tool: Tool, args: impl IntoIterator<Item = S>) -> Self {
        Self {
            tool,
            args: args.into_iter().map(Into::into).collect(),
            input: None,
            most: MOST,
            deadline: DEADLINE,
        }
    }

    /// What it reads from its standard input, which is empty otherwise.
    #[must_use]
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            input: Some(bytes.into()),
            ..self
        }
    }

    /// Most bytes that it may print; one that prints more is killed.
    #[must_use]
    pub fn most(self, bytes: usize) -> Self {
        Self {
            most: bytes,
            ..self
        }
    }

    /// How long it may take; then it is killed.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The tool.
    #[must_use]
    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// Its arguments.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Its standard input.
    #[must_use]
    pub fn standard_input(&self) -> Option<&[u8]> {
        self.input.as_deref()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool.path())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
        for arg in &self.args {
            if !arg.is_empty() && arg.chars().all(plain) {
                write!(f, " {arg}")?;
            } else {
                write!(f, " {arg:?}")?;
            }
        }
        Ok(())
    }
}

/// What a tool that ended with exit code 0 printed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// What it said on its standard error, fit for a log.
    pub words: String,
}

impl Output {
    /// Standard output as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }
}
