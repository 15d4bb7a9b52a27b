//! From what a client wrote to an absolute path.

use std::path::{Component, Path, PathBuf};

use crate::users::User;

/// Why a path cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BadPath {
    /// `~name`.
    #[error("cannot expand the home directory of another user; use ~/ or an absolute path")]
    OtherHome,
    /// A zero byte.
    #[error("a path cannot hold a zero byte")]
    Zero,
}

/// Absolute and free of `.`, `..` and doubled slashes, by text alone: links are not looked at, as E2B does
/// it. Empty and relative paths start in `workdir`, or in the user's home without one.
///
/// # Errors
/// [`BadPath`].
pub(crate) fn resolve(text: &str, user: &User, workdir: Option<&str>) -> Result<PathBuf, BadPath> {
    if text.contains('\0') {
        return Err(BadPath::Zero);
    }
    if let Some(rest) = text.strip_prefix('~') {
        return match rest.strip_prefix('/') {
            Some(below) => Ok(clean(
                &Path::new(&user.home).join(below.trim_start_matches('/')),
            )),
            None if rest.is_empty() => Ok(clean(Path::new(&user.home))),
            None => Err(BadPath::OtherHome),
        };
    }
    // Joining an absolute path replaces what is in front.
    let base = Path::new(workdir.unwrap_or(&user.home));
    Ok(clean(&Path::new("/").join(base).join(text)))
}

fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// As text for an answer; bytes that are no UTF-8 are replaced.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user() -> User {
        User {
            name: "user".into(),
            uid: 1000,
            gid: 1000,
            home: "/home/user".into(),
        }
    }

    #[test]
    fn forms() {
        for (given, workdir, want) in [
            ("a.txt", None, "/home/user/a.txt"),
            ("a.txt", Some("/code"), "/code/a.txt"),
            ("", Some("/code"), "/code"),
            ("", None, "/home/user"),
            ("~", Some("/code"), "/home/user"),
            ("~/b", Some("/code"), "/home/user/b"),
            ("/x/../y//./z/", None, "/y/z"),
            ("../../../../etc", None, "/etc"),
            ("~//abs", None, "/home/user/abs"),
        ] {
            assert_eq!(
                resolve(given, &user(), workdir).expect(given),
                Path::new(want),
                "{given}"
            );
        }
        assert_eq!(resolve("~root", &user(), None), Err(BadPath::OtherHome));
        assert_eq!(resolve("a\0b", &user(), None), Err(BadPath::Zero));
    }

    proptest! {
        #[test]
        fn always_absolute_and_clean(text in "[a~./]{0,30}|\\PC{0,30}") {
            if let Ok(path) = resolve(&text, &user(), None) {
                prop_assert!(path.is_absolute());
                prop_assert!(path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_))));
                prop_assert_eq!(resolve(&path.to_string_lossy(), &user(), None), Ok(path));
            }
        }
    }
}
