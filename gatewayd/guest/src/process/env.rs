//! Environment and program of a process.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::users::User;

/// Where programs are looked for unless the sandbox or the request says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shell that clients name, and what serves in its place where there is none, as on FreeBSD: bash of a package, or
/// the system's own shell. Both take the options that clients give (`-l`, `-i`, `-c`; sh(1)).
const BASH: &str = "/bin/bash";
const INSTEAD_OF_BASH: [&str; 2] = ["/usr/local/bin/bash", "/bin/sh"];

/// The user's variables, then the sandbox's, then the request's; later ones win. Names that cannot be a
/// variable's and values with a zero byte are left out.
pub(super) fn build(
    user: &User,
    sandbox: &BTreeMap<String, String>,
    request: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = [
        ("PATH", PATH),
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.into_iter()
        .chain(
            sandbox
                .iter()
                .chain(request)
                .map(|(k, v)| (k.clone(), v.clone())),
        )
        .filter(|(name, value)| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        })
        .collect()
}

/// As execve wants it.
pub(super) fn strings(env: &BTreeMap<String, String>) -> Vec<CString> {
    env.iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect()
}

/// The program's path: as given if it names a directory, else from `PATH`. Whether the user may execute
/// it shows when it is executed.
pub(super) fn find_program(
    name: &str,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name == BASH {
        return Some(shell(&|path| path.is_file()));
    }
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let path = env.get("PATH").map_or(PATH, String::as_str);
    path.split(':')
        .map(|dir| cwd.join(OsStr::from_bytes(dir.as_bytes())).join(name))
        .find(|candidate| {
            candidate.is_file() && rustix::fs::access(candidate, Access::EXEC_OK).is_ok()
        })
}

fn shell(is_there: &dyn Fn(&Path) -> bool) -> PathBuf {
    let all = std::iter::once(BASH).chain(INSTEAD_OF_BASH);
    let found = all.map(Path::new).find(|path| is_there(path));
    found.unwrap_or(Path::new(BASH)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn later_variables_win_and_bad_ones_go() {
        let user = User {
            name: "u".into(),
            uid: 1,
            gid: 1,
            home: "/h".into(),
        };
        let env = build(
            &user,
            &map(&[("A", "sandbox"), ("B", "sandbox"), ("HOME", "/other")]),
            &map(&[("A", "request"), ("", "x"), ("C=D", "x"), ("E", "\0")]),
        );
        assert_eq!(
            env,
            map(&[
                ("A", "request"),
                ("B", "sandbox"),
                ("HOME", "/other"),
                ("LOGNAME", "u"),
                ("PATH", PATH),
                ("USER", "u")
            ])
        );
    }

    #[test]
    fn programs_are_found_in_the_path_given() {
        let none = BTreeMap::new();
        assert_eq!(
            find_program("./x", &none, Path::new("/")),
            Some("./x".into())
        );
        assert!(find_program("sh", &none, Path::new("/")).is_some());
        assert_eq!(
            find_program("sh", &map(&[("PATH", "/dev")]), Path::new("/")),
            None
        );
        assert_eq!(find_program("", &none, Path::new("/")), None);
    }

    #[test]
    fn where_there_is_no_bash_another_shell_serves() {
        let among =
            |there: &'static [&str]| shell(&|path| there.iter().any(|p| path == Path::new(p)));
        assert_eq!(among(&["/bin/sh", "/bin/bash"]), Path::new("/bin/bash"));
        assert_eq!(among(&["/bin/sh"]), Path::new("/bin/sh"));
        assert_eq!(
            among(&["/bin/sh", "/usr/local/bin/bash"]),
            Path::new("/usr/local/bin/bash")
        );
        // The error names what was asked for.
        assert_eq!(among(&[]), Path::new("/bin/bash"));
    }
}
