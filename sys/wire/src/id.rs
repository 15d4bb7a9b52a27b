//! Identifiers. Each is checked when made and when decoded; none can hold a path separator, a dot,
//! an option dash in front, or text longer than its field.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdError {
    /// Shorter or longer than the identifier may be.
    #[error("wrong length")]
    Length,
    /// A character outside the identifier's alphabet.
    #[error("character not allowed")]
    Character,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// [`IdError`] when the text is not of this identifier's form.
            pub fn new(text: &str) -> Result<Self, IdError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <&str>::deserialize(d)?;
                Self::new(text).map_err(de::Error::custom)
            }
        }
    };
}

text_id! {
    /// A sandbox: `i` and 20 of `[a-z0-9]`, so that `<port>-<id>` is one DNS label.
    SandboxId, check_sandbox
}
text_id! {
    /// A template: 1 to 63 of `[a-z0-9_-]`, beginning with a letter or digit.
    TemplateName, check_name
}
text_id! {
    /// A backend plugin: 1 to 63 of `[a-z0-9_-]`, beginning with a letter or digit.
    BackendName, check_name
}

text_id! {
    /// A volume: `v` and 20 of `[a-z0-9]`.
    VolumeId, check_volume
}
text_id! {
    /// Where a volume is mounted: a path inside the cell's own root, never one of the host. Absolute, at most
    /// 255 bytes and 16 names of printable characters, none of them `.` or `..`, and outside of what each cell
    /// mounts itself (`/dev`, `/proc`, `/run`, `/sys`). It is resolved in the finished root, where no symbolic link is
    /// followed.
    GuestPath, check_guest_path
}

fn check_sandbox(text: &str) -> Result<(), IdError> {
    check_random(text, b'i')
}

fn check_volume(text: &str) -> Result<(), IdError> {
    check_random(text, b'v')
}

fn check_random(text: &str, first: u8) -> Result<(), IdError> {
    let bytes = text.as_bytes();
    if bytes.len() != SandboxId::LEN {
        return Err(IdError::Length);
    }
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if bytes[0] != first || !bytes.iter().all(plain) {
        return Err(IdError::Character);
    }
    Ok(())
}

fn check_guest_path(text: &str) -> Result<(), IdError> {
    let names = text.strip_prefix('/').ok_or(IdError::Character)?;
    if text.len() > 255 || names.split('/').count() > 16 {
        return Err(IdError::Length);
    }
    let wrong = |name: &str| matches!(name, "" | "." | "..") || name.contains(char::is_control);
    let first = names.split('/').next();
    if names.split('/').any(wrong) || matches!(first, Some("dev" | "proc" | "run" | "sys")) {
        return Err(IdError::Character);
    }
    Ok(())
}

fn check_name(text: &str) -> Result<(), IdError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 63 {
        return Err(IdError::Length);
    }
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !plain(&bytes[0]) || !bytes.iter().all(|b| plain(b) || matches!(b, b'-' | b'_')) {
        return Err(IdError::Character);
    }
    Ok(())
}

impl SandboxId {
    /// Length of every sandbox id in bytes.
    pub const LEN: usize = 21;

    /// Makes an id from 20 random bytes. A byte chooses one of 36 characters; the bias of the
    /// remainder (under 0.1 bit an id) does not matter at 103 bits.
    #[must_use]
    pub fn from_random(random: &[u8; 20]) -> Self {
        Self(random_text(b'i', random))
    }
}

impl VolumeId {
    /// Makes an id as [`SandboxId::from_random`] does.
    #[must_use]
    pub fn from_random(random: &[u8; 20]) -> Self {
        Self(random_text(b'v', random))
    }
}

fn random_text(first: u8, random: &[u8; 20]) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(SandboxId::LEN);
    text.push(char::from(first));
    for byte in random {
        text.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    }
    text
}

/// An operation that may be asked twice and is done once: 16 random bytes chosen by the gateway.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct OpId(pub [u8; 16]);

/// The instance: eight hex digits of a hash of its state directory, part of every kernel name it makes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct InstanceTag(u32);

impl InstanceTag {
    /// The tag of the instance whose canonical state directory is `path` (32-bit FNV-1a). Two
    /// instances with one tag are told apart by the host-wide claim, which names the directory.
    #[must_use]
    pub fn of_state_dir(path: &[u8]) -> Self {
        let mut hash = 0x811c_9dc5_u32;
        for byte in path {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
        Self(hash)
    }
}

impl fmt::Display for InstanceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_ids_hold_nothing_but_their_alphabet() {
        assert!(SandboxId::new("iabcdefghij0123456789").is_ok());
        for bad in [
            "",
            "i",
            "xabcdefghij0123456789",
            "iabcdefghij012345678/",
            "iabcdefghij01234567..",
            "iABCDEFGHIJ0123456789",
        ] {
            assert!(SandboxId::new(bad).is_err(), "{bad}");
        }
        assert!(SandboxId::new(SandboxId::from_random(&[255; 20]).as_str()).is_ok());
    }

    #[test]
    fn names_cannot_be_options_or_paths() {
        assert!(TemplateName::new("base").is_ok());
        for bad in ["", "-rf", "a/b", "..", "a.b", "A", &"x".repeat(64)] {
            assert!(TemplateName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn guest_paths_stay_inside_and_off_the_cells_own_mounts() {
        for good in [
            "/data",
            "/home/user/my data",
            "/a/b/c",
            "/développé",
            "/devices",
        ] {
            assert!(GuestPath::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "data",
            "//a",
            "/a/",
            "/a//b",
            "/a/../b",
            "/./a",
            "/proc",
            "/proc/1",
            "/sys",
            "/dev/x",
            "/run",
            "/a\0b",
            "/a\nb",
            &format!("/{}", "x".repeat(255)),
            &"/a".repeat(17),
        ] {
            assert!(GuestPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn decoding_checks_as_making_does() {
        let bytes = postcard::to_stdvec("../../../etc/passwd__").expect("text encodes");
        assert!(postcard::from_bytes::<SandboxId>(&bytes).is_err());
        assert!(postcard::from_bytes::<TemplateName>(&bytes).is_err());
    }

    #[test]
    fn tags_are_stable() {
        assert_eq!(InstanceTag::of_state_dir(b"").to_string(), "811c9dc5");
        assert_eq!(InstanceTag::of_state_dir(b"a").to_string(), "e40c292c");
    }
}
