//! What a cell that sets itself up says through its pipe: bytes as on every system that has cells.

/// Said just before exec: the end of the pipe after this means that exec succeeded.
pub const READY: u8 = b'+';
/// Longest report: [`READY`], the error's number, the step.
pub const LONGEST: usize = 1024;

/// What the whole of a report means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// The agent runs.
    Running,
    /// A step failed.
    Failed {
        /// Which, and what the kernel said of it in words.
        stage: String,
        /// What it said in a number; 0 when it did not, or the process died without a word.
        errno: i32,
    },
}

/// The report of a failure.
#[must_use]
pub fn failure(stage: &str, errno: i32) -> Vec<u8> {
    let mut report = errno.to_le_bytes().to_vec();
    report.extend_from_slice(stage.as_bytes());
    report.truncate(LONGEST - 1);
    report
}

/// Reads a whole report.
#[must_use]
pub fn read(heard: &[u8]) -> Said {
    let failure = match heard {
        [READY] => return Said::Running,
        [READY, failure @ ..] => failure,
        failure => failure,
    };
    match failure.split_first_chunk() {
        Some((errno, stage)) => Said::Failed {
            stage: String::from_utf8_lossy(stage).into_owned(),
            errno: i32::from_le_bytes(*errno),
        },
        None => Said::Failed {
            stage: "the process died while being set up".into(),
            errno: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_happened() {
        assert_eq!(read(b"+"), Said::Running);
        let failed = Said::Failed {
            stage: "nmount: no such device".into(),
            errno: 19,
        };
        let report = failure("nmount: no such device", 19);
        assert_eq!(read(&report), failed);
        assert_eq!(read(&[&[READY], report.as_slice()].concat()), failed);
        assert!(matches!(read(b""), Said::Failed { errno: 0, .. }));
        assert!(matches!(read(b"abc"), Said::Failed { errno: 0, .. }));
        assert!(failure(&"x".repeat(5000), 1).len() < LONGEST);
    }
}
