//! The guest's disk: a raw image, a clone of its template's, no larger than the sandbox's limit.
//!
//! On ZFS it is a file in the sandbox's dataset, which is a clone of the template's like that of every sandbox: what
//! makes, copies, measures and removes those works for machines unchanged. Without ZFS it is a copy of the template's file, by reference where the file system can (copy_file_range(2)).

use std::fmt;

/// The file in a template's tree, and in its clones.
pub const FILE: &str = "disk.raw";
/// Disks are whole numbers of these, in bytes: what virtio-blk speaks of.
pub const SECTOR: u64 = 512;

/// Where bhyve finds a disk: an absolute path of plain characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place(String);

/// Why a text is no [`Place`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlaceError {
    /// Not absolute, or with an empty name, `.` or `..` in it, or ending in a slash.
    #[error("not an absolute path that names each step")]
    Form,
    /// A character that means something in a configuration or to a person.
    #[error("only letters, digits and . _ - are taken in the path of a disk")]
    Character,
    /// More than a path has.
    #[error("longer than 255 bytes")]
    Length,
}

impl Place {
    /// Checks a path.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn new(path: &str) -> Result<Self, PlaceError> {
        if path.len() > 255 {
            return Err(PlaceError::Length);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if !path.bytes().all(plain) {
            return Err(PlaceError::Character);
        }
        let steps = path.strip_prefix('/').ok_or(PlaceError::Form)?;
        match steps.split('/').all(|s| !matches!(s, "" | "." | "..")) {
            true => Ok(Self(path.to_owned())),
            false => Err(PlaceError::Form),
        }
    }

    /// The file at the top of the machine's jail.
    #[must_use]
    pub fn of_file() -> Self {
        Self(format!("/{FILE}"))
    }

    /// The volume of a dataset.
    ///
    /// # Errors
    /// [`PlaceError`] when the dataset's name has what no path of a disk may have.
    pub fn of_volume(dataset: &str) -> Result<Self, PlaceError> {
        Self::new(&format!("/dev/zvol/{dataset}"))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an image does not become a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SizeError {
    /// It is empty, or no whole number of sectors.
    #[error("the template's disk.raw is no whole number of sectors of {SECTOR} bytes, or empty")]
    NotADisk,
    /// It does not fit.
    #[error(
        "the template's disk.raw has {image} MiB, more than the sandbox's limit of {limit} MiB"
    )]
    TooLarge {
        /// Of the image, rounded up.
        image: u64,
        /// Of the sandbox.
        limit: u32,
    },
}

/// Length of a sandbox's disk in bytes: what the limit allows, of which the template's image of `image` bytes takes a
/// part. The guest finds the rest behind its last partition.
///
/// # Errors
/// [`SizeError`].
pub fn length(image: u64, limit_mib: u32) -> Result<u64, SizeError> {
    if image == 0 || !image.is_multiple_of(SECTOR) {
        return Err(SizeError::NotADisk);
    }
    let most = u64::from(limit_mib) << 20;
    if image > most {
        return Err(SizeError::TooLarge {
            image: image.div_ceil(1 << 20),
            limit: limit_mib,
        });
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_disk_is_as_large_as_the_limit_and_never_smaller_than_its_image() {
        assert_eq!(length(1 << 30, 2048), Ok(2 << 30));
        assert_eq!(length(1 << 30, 1024), Ok(1 << 30));
        let too_large = SizeError::TooLarge {
            image: 1025,
            limit: 1024,
        };
        assert_eq!(length((1 << 30) + 512, 1024), Err(too_large));
        for image in [0, 511, 513] {
            assert_eq!(length(image, 1024), Err(SizeError::NotADisk), "{image}");
        }
    }

    #[test]
    fn places_are_plain() {
        for good in ["/disk.raw", "/dev/zvol/tank/warder/sandboxes/iabc-1_2"] {
            assert_eq!(Place::new(good).expect("plain").as_str(), good);
        }
        for (bad, why) in [
            ("", PlaceError::Form),
            ("disk.raw", PlaceError::Form),
            ("/", PlaceError::Form),
            ("/a//b", PlaceError::Form),
            ("/a/../b", PlaceError::Form),
            ("/a/", PlaceError::Form),
            ("/a\nbootrom=/x", PlaceError::Character),
            ("/%(name)", PlaceError::Character),
            ("/a b", PlaceError::Character),
            ("/a,ro", PlaceError::Character),
            ("/ä", PlaceError::Character),
        ] {
            assert_eq!(Place::new(bad), Err(why), "{bad:?}");
        }
        let long = format!("/{}", "a".repeat(255));
        assert_eq!(Place::new(&long), Err(PlaceError::Length));
        assert!(Place::of_volume("tank/it's").is_err());
    }

    proptest! {
        #[test]
        fn a_place_has_no_character_that_means_anything(text in any::<String>()) {
            if let Ok(place) = Place::new(&text) {
                prop_assert!(!place.as_str().contains(['\n', '%', '=', ',', ' ', '\0']));
                prop_assert!(place.as_str().starts_with('/'));
            }
        }
    }
}
