//! The host name that a sandbox's servers are told instead of their own: `maskRequestHost`.

use http::HeaderValue;

use super::entry::quoted;

/// Stand for the port of the request. The first is what the SDKs document, the second what E2B's notes say.
const PLACEHOLDERS: [&str; 2] = ["${PORT}", "{port}"];

/// Longest host name in bytes, without the dot at its end (RFC 1035, 2.3.4).
const HOST_BYTES: usize = 253;

/// A host, and perhaps a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mask {
    /// What stands between the places of the port.
    parts: Vec<String>,
}

impl Mask {
    /// From the text as it was given: a name or IPv4 address in ASCII, alone or with a port, with placeholders in either.
    ///
    /// # Errors
    /// What the client is told, with status 400.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("mask request host is not valid: {}", quoted(text));
        let plain = text.replace(PLACEHOLDERS[1], PLACEHOLDERS[0]);
        let parts = plain.split(PLACEHOLDERS[0]).map(str::to_owned).collect();
        let mask = Self { parts };
        // As it is at its longest.
        let longest = mask.text(u16::MAX);
        let (host, port) = match longest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (&*longest, None),
        };
        if !is_host(host) {
            return Err(invalid());
        }
        if !host.is_ascii() {
            let host = text.split(':').next().unwrap_or(text);
            return Err(format!(
                "mask request host '{}' is not ASCII. Please use ASCII characters only.",
                quoted(host)
            ));
        }
        if !port.is_none_or(is_port) {
            return Err(invalid());
        }
        Ok(mask)
    }

    fn text(&self, port: u16) -> String {
        self.parts.join(&port.to_string())
    }

    /// What a request to `port` says in `Host`.
    pub(crate) fn host(&self, port: u16) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.text(port)).ok()
    }
}

/// Labels of letters, digits and hyphens, neither beginning nor ending in a hyphen (RFC 1123, 2.1). Letters of other
/// alphabets pass, to be refused in words of their own.
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c.is_alphanumeric();
    name.len() <= HOST_BYTES
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(letter)
        })
}

fn is_port(text: &str) -> bool {
    let digits = text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    digits && text.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn masks() {
        for (text, wanted) in [
            ("masked-host:${PORT}", "masked-host:8002"),
            ("masked-host:{port}", "masked-host:8002"),
            ("other-host:9999", "other-host:9999"),
            ("${PORT}-myapp.example.com", "8002-myapp.example.com"),
            ("{port}.a:${PORT}", "8002.a:8002"),
            ("localhost", "localhost"),
            ("App.Example.com.", "App.Example.com."),
            ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            let mask = Mask::parse(text).expect(text);
            assert_eq!(mask.host(8002).expect("a value"), wanted, "{text}");
        }
        let label = &*"a".repeat(63);
        let long = [label, label, label, &label[..61]].join(".");
        assert_eq!(long.len(), 253);
        Mask::parse(&format!("{long}:{{port}}")).expect("the longest");
    }

    #[test]
    fn what_is_no_mask() {
        for text in [
            "",
            ":80",
            "-https://abcd",
            "https://abcd",
            "a b",
            "a/b",
            "a_b",
            "a..b",
            ".a",
            "a-.b",
            "a\0b",
            "a\r\nX-Evil: 1",
            "a:0",
            "a:65536",
            "a:",
            "a:b",
            "a:80:90",
            "a:${port}",
            "a:{PORT}",
            "a:${PORT}0",
            "a-${PORT}-",
            "a${PORT}:${PORT}:{port}",
            "a.{port",
            "[::1]:80",
            "a@b",
            &"a".repeat(64),
            &"a.".repeat(128),
        ] {
            let error = Mask::parse(text).expect_err(text);
            assert!(
                error.starts_with("mask request host is not valid: "),
                "{error}"
            );
        }
        assert_eq!(
            Mask::parse("-https://abcd").expect_err("E2B's own"),
            "mask request host is not valid: -https://abcd"
        );
        assert_eq!(
            Mask::parse("bücher.example:80").expect_err("not ASCII"),
            "mask request host 'bücher.example' is not ASCII. Please use ASCII characters only."
        );
        let error = Mask::parse("${PORT}-bücher.example").expect_err("not ASCII");
        assert!(
            error.contains("'${PORT}-bücher.example' is not ASCII"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_mask_is_a_value_of_a_header(text in "\\PC{0,40}", port in 1_u16..) {
            if let Ok(mask) = Mask::parse(&text) {
                prop_assert!(mask.host(port).is_some());
            }
        }
    }
}
