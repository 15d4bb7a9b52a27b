//! What a check is.

use std::io;

use crate::scene::Scene;

/// Why a check does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Bad {
    /// It was tried and is not so; what was seen.
    Fails(String),
    /// It cannot be tried here; why.
    NotHere(String),
}

impl From<String> for Bad {
    fn from(seen: String) -> Self {
        Self::Fails(seen)
    }
}

impl From<&str> for Bad {
    fn from(seen: &str) -> Self {
        Self::Fails(seen.to_owned())
    }
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Fails(error.to_string())
    }
}

/// What was seen, if it is what was expected.
pub(crate) type Outcome = Result<String, Bad>;

/// How a check is made.
pub(crate) type Run = Box<dyn Fn(&mut Scene) -> Outcome>;

/// One check.
pub(crate) struct Check {
    /// Its name: chapter and words, with dots.
    pub(crate) id: String,
    /// What is tried.
    pub(crate) tries: String,
    /// What has to be seen.
    pub(crate) expects: String,
    pub(crate) run: Run,
}

/// A row of a chapter's table.
pub(crate) type Row = (
    &'static str,
    &'static str,
    &'static str,
    fn(&mut Scene) -> Outcome,
);

/// Rows of a table as checks.
pub(crate) fn of_rows(chapter: &str, rows: &[Row]) -> Vec<Check> {
    rows.iter()
        .map(|(id, tries, expects, run)| Check {
            id: format!("{chapter}.{id}"),
            tries: (*tries).to_owned(),
            expects: (*expects).to_owned(),
            run: Box::new(*run),
        })
        .collect()
}

/// Holds what was seen against what it has to be.
pub(crate) fn is<T: PartialEq + std::fmt::Debug>(
    what: &str,
    seen: &T,
    wanted: &T,
) -> Result<(), Bad> {
    if seen == wanted {
        Ok(())
    } else {
        Err(Bad::Fails(format!(
            "{what}: {seen:?} instead of {wanted:?}"
        )))
    }
}

/// Fails with what was seen unless `holds`.
pub(crate) fn that(holds: bool, seen: impl FnOnce() -> String) -> Result<(), Bad> {
    if holds {
        Ok(())
    } else {
        Err(Bad::Fails(seen()))
    }
}

/// Whether a name matches a pattern in which `*` stands for anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|n| rest.get(n..).is_some_and(|r| matches(after, r)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, wanted) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.b.c", true),
            ("*.c", "a.b.c", true),
            ("*b*", "a.b.c", true),
            ("a*d", "a.b.c", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
