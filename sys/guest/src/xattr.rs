//! Extended attributes: what uploads keep with a file.

/// Longest value read, in bytes.
pub const MAX_VALUE: usize = 4096;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{list, replace};

#[cfg(not(target_os = "linux"))]
mod freebsd;
#[cfg(not(target_os = "linux"))]
pub use freebsd::{list, replace};

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn replacing_removes_what_is_not_named_again() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let set = |wanted: &[(&str, &str)]| {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            replace(file.as_file().as_fd(), "user.e2b.", &wanted).expect("attributes");
            let mut found = list(file.path(), "user.e2b.").expect("list");
            found.sort();
            found
        };
        assert_eq!(
            set(&[("a", "1"), ("b", "2")]),
            [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())]
        );
        assert_eq!(set(&[("b", "3")]), [("b".into(), b"3".to_vec())]);
        assert_eq!(set(&[]), []);
    }
}
