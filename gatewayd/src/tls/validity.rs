//! Until when a certificate is valid. The TLS library checks certificates of others and does not say it of our own.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clock::Micros;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The end of the validity of a certificate (RFC 5280, 4.1) in DER; `None` if it is none.
pub(super) fn not_after(der: &[u8]) -> Option<Micros> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (rest, _) = take(certificate, SEQUENCE)?;
    let rest = take(rest, VERSION).map_or(rest, |(_, rest)| rest);
    let (_serial, rest) = take(rest, INTEGER)?;
    let (_algorithm, rest) = take(rest, SEQUENCE)?;
    let (_issuer, rest) = take(rest, SEQUENCE)?;
    let (validity, _) = take(rest, SEQUENCE)?;
    let (_begin, rest) = take(validity, UTC_TIME).or_else(|| take(validity, GENERALIZED_TIME))?;
    match take(rest, UTC_TIME) {
        // Two digits of the year: 1950 to 2049.
        Some((text, _)) => {
            let century = if number(text.get(..2)?)? < 50 { 20 } else { 19 };
            time(century, text)
        }
        None => {
            let (text, _) = take(rest, GENERALIZED_TIME)?;
            time(number(text.get(..2)?)?, text.get(2..)?)
        }
    }
}

/// The content of the first element, which must have this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

fn number(digits: &[u8]) -> Option<i16> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

/// `YYMMDDhhmmssZ` of a century.
fn time(century: i16, text: &[u8]) -> Option<Micros> {
    let two = |at: usize| number(text.get(at..at + 2)?).and_then(|n| i8::try_from(n).ok());
    (text.len() == 13 && text.ends_with(b"Z")).then_some(())?;
    let year = century.checked_mul(100)? + number(text.get(..2)?)?;
    let date = DateTime::new(year, two(2)?, two(4)?, two(6)?, two(8)?, two(10)?, 0).ok()?;
    let time = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    u64::try_from(time.as_microsecond()).ok().map(Micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (year, end) in [
            (2040, "2040-05-06T00:00:00.000000Z"),
            (2060, "2060-05-06T00:00:00.000000Z"),
        ] {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params =
                rcgen::CertificateParams::new(vec!["a.example".into()]).expect("names");
            params.not_after = rcgen::date_time_ymd(year, 5, 6);
            let certificate = params.self_signed(&key).expect("signs");
            let found = not_after(certificate.der()).map(Micros::rfc3339);
            assert_eq!(found.as_deref(), Some(end));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(0_u8.., 0..80)) {
            let _ = not_after(&bytes);
        }
    }
}
