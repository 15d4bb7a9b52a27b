//! The form of a key: `e2b_` and 40 hex digits, that is 160 random bits.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

const PREFIX: &str = "e2b_";
const DIGITS: usize = 40;

/// A key in the clear. Shown once, when it is made; never stored, never logged.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct ApiKey(String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey(…{})", self.tail())
    }
}

impl ApiKey {
    /// Reads a key; upper-case hex counts as lower-case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let right = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
        right.then(|| Self(format!("{PREFIX}{}", digits.to_ascii_lowercase())))
    }

    /// Makes a key of random bytes.
    pub(crate) fn from_random(random: &[u8; DIGITS / 2]) -> Self {
        Self(format!("{PREFIX}{}", hex(random)))
    }

    /// The text; for its owner only.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// What is stored.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The last four digits, by which people tell keys apart.
    pub(crate) fn tail(&self) -> String {
        self.0[self.0.len() - 4..].to_owned()
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn debug_output_hides_the_key() {
        let key = ApiKey::from_random(&[0xab; 20]);
        assert!(!format!("{key:?}").contains("abababab"));
    }

    proptest! {
        #[test]
        fn keys_read_back(random in any::<[u8; 20]>()) {
            let key = ApiKey::from_random(&random);
            prop_assert_eq!(ApiKey::parse(key.text()), Some(key.clone()));
            prop_assert_eq!(ApiKey::parse(&key.text().to_uppercase().replace("E2B_", "e2b_")), Some(key));
        }

        #[test]
        fn nothing_else_is_a_key(text in ".{0,60}") {
            prop_assume!(text.len() != 44);
            prop_assert_eq!(ApiKey::parse(&text), None);
        }
    }
}
