//! Which content coding a download gets (RFC 9110, section 12.5.3).

use http::{HeaderMap, header};

/// How to send a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    /// The client takes neither: 406.
    None,
}

/// Chooses. HTTP libraries offer gzip unasked, and compressing costs more than it saves on the way to a
/// nearby client: gzip only goes to those who ask for it alone (as the SDKs do when told to) or refuse
/// the plain form.
pub(super) fn choose(headers: &HeaderMap) -> Coding {
    let mut gzip = None;
    let mut identity = None;
    let mut any = None;
    let mut others = false;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        let Ok(text) = value.to_str() else { continue };
        for item in text.split(',') {
            let mut parts = item.split(';');
            let coding = parts.next().unwrap_or("").trim();
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0));
            let wanted = weight > 0.0;
            if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(wanted);
            } else if coding.eq_ignore_ascii_case("identity") {
                identity = Some(wanted);
            } else if coding == "*" {
                any = Some(wanted);
            } else if !coding.is_empty() && wanted {
                others = true;
            }
        }
    }
    let plain_is_fine = identity.or(any.filter(|wanted| !wanted)).unwrap_or(true);
    let gzip_is_fine = gzip.or(any).unwrap_or(false);
    let only_gzip = gzip == Some(true) && identity.is_none() && any.is_none() && !others;
    match (plain_is_fine, gzip_is_fine) {
        (_, true) if only_gzip || !plain_is_fine => Coding::Gzip,
        (true, _) => Coding::Identity,
        (false, _) => Coding::None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn choices() {
        for (text, want) in [
            ("", Coding::Identity),
            ("gzip, deflate", Coding::Identity),
            ("gzip, deflate, br, zstd", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("gzip;q=0.5", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("identity", Coding::Identity),
            ("gzip, identity;q=0", Coding::Gzip),
            ("*;q=0, gzip", Coding::Gzip),
            ("br, identity;q=0", Coding::None),
            ("*;q=0", Coding::None),
            ("*", Coding::Identity),
            ("br", Coding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                HeaderValue::from_str(text).expect("a value"),
            )]);
            assert_eq!(choose(&headers), want, "{text}");
        }
    }
}
