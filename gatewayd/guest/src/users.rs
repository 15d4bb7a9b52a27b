//! Users and groups from /etc/passwd and /etc/group (passwd(5), group(5)).
//!
//! Parsed here because a static program has no name service switch. Read anew each time: packages add
//! users while the sandbox runs.

use std::fs;
use std::io::Read;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// More of such a file is not read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A user of the sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

/// There is no such user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("user: unknown user {0}")]
pub(crate) struct UnknownUser(pub(crate) String);

/// Looks a user up by name.
///
/// # Errors
/// [`UnknownUser`].
pub(crate) fn lookup(name: &str) -> Result<User, UnknownUser> {
    users(&read(PASSWD))
        .find(|user| user.name == name)
        .ok_or_else(|| UnknownUser(name.to_owned()))
}

/// Supplementary groups of a user, the own group first.
pub(crate) fn groups_of(user: &User) -> Vec<u32> {
    let text = read(GROUP);
    let mut ids = vec![user.gid];
    for (_, gid, members) in groups(&text) {
        if members.split(',').any(|name| name.trim() == user.name) && !ids.contains(&gid) {
            ids.push(gid);
        }
    }
    // The kernel takes no more.
    ids.truncate(warder_guest_sys::spawn::most_groups().saturating_sub(1));
    ids
}

/// Names by number, for listings: the two files are read once.
#[derive(Debug)]
pub(crate) struct Names {
    users: Vec<(u32, String)>,
    groups: Vec<(u32, String)>,
}

impl Names {
    pub(crate) fn load() -> Self {
        let group_text = read(GROUP);
        Self {
            users: users(&read(PASSWD))
                .map(|user| (user.uid, user.name))
                .collect(),
            groups: groups(&group_text)
                .map(|(name, gid, _)| (gid, name.to_owned()))
                .collect(),
        }
    }

    /// The user's name, or the number as text.
    pub(crate) fn user(&self, uid: u32) -> String {
        find(&self.users, uid)
    }

    /// The group's name, or the number as text.
    pub(crate) fn group(&self, gid: u32) -> String {
        find(&self.groups, gid)
    }
}

fn find(names: &[(u32, String)], id: u32) -> String {
    names
        .iter()
        .find(|(number, _)| *number == id)
        .map_or_else(|| id.to_string(), |(_, name)| name.clone())
}

/// A missing or odd file has no lines; root still exists as a number.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        // A partial read still has whole lines.
        let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn users(text: &str) -> impl Iterator<Item = User> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let _comment = fields.next()?;
        let home = fields
            .next()
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/");
        Some(User {
            name: name.to_owned(),
            uid,
            gid,
            home: home.to_owned(),
        })
    })
}

fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_and_broken_ones_skipped() {
        let text = "root:x:0:0:root:/root:/bin/bash\n:x:1:1:::\nbroken\nuser:x:1000:1000::/home/user\nx:x:-1:0::/:\nodd:x:7:7::relative:\n";
        let found: Vec<_> = users(text)
            .map(|u| (u.name, u.uid, u.gid, u.home))
            .collect();
        assert_eq!(
            found,
            [
                ("root".into(), 0, 0, "/root".into()),
                ("user".into(), 1000, 1000, "/home/user".into()),
                ("odd".into(), 7, 7, "/".into()),
            ]
        );
        let text = "root:x:0:\nsudo:x:27:user,other\nbad:x:y:user\n";
        assert_eq!(
            groups(text).collect::<Vec<_>>(),
            [("root", 0, ""), ("sudo", 27, "user,other")]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "[a-z0-9:,/\n-]{0,200}|\\PC{0,80}") {
            prop_assert!(users(&text).count() <= text.lines().count());
            prop_assert!(groups(&text).count() <= text.lines().count());
        }

        #[test]
        fn what_is_written_is_found(name in "[a-z][a-z0-9_-]{0,15}", uid: u32, gid: u32, home in "/[a-z/]{0,12}") {
            let text = format!("#\n{name}:x:{uid}:{gid}:c,:{home}:/bin/sh\n");
            let user = users(&text).next();
            prop_assert_eq!(user, Some(User { name, uid, gid, home }));
        }
    }
}
