//! Users and groups from passwd(5) and group(5). No name service: a daemon that starts before the
//! network must not ask it.

use std::fs;

/// Numeric user and group of `name`, if the host has it.
#[must_use]
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    field(&fs::read_to_string("/etc/passwd").ok()?, name, |f| {
        Some((f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?))
    })
    .filter(|(uid, gid)| *uid != 0 && *gid != 0)
}

/// Numeric group of `name`, which may be a number itself.
#[must_use]
pub(crate) fn group(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    field(&fs::read_to_string("/etc/group").ok()?, name, |f| {
        f.get(2)?.parse().ok()
    })
}

fn field<T>(text: &str, name: &str, take: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|f| f[0] == name)
        .and_then(|f| take(&f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_whole_name() {
        let text = "root:x:0:0::/root:/bin/sh\n_warderx:x:7:8::/:/\n_warder:x:9:10::/:/\nbroken\n";
        let ids = |f: &[&str]| {
            Some((
                f.get(2)?.parse::<u32>().ok()?,
                f.get(3)?.parse::<u32>().ok()?,
            ))
        };
        assert_eq!(field(text, "_warder", ids), Some((9, 10)));
        assert_eq!(field(text, "broken", ids), None);
        assert_eq!(group("42"), Some(42));
    }
}
