//! The ports of a sandbox that speak TLS: `httpsPorts`.

use crate::limits::AGENT_PORT;

/// Ports at most.
const MOST: usize = 128;

/// The ports as they were given.
///
/// # Errors
/// What the client is told, with status 400.
pub(crate) fn parse(given: &[i64]) -> Result<Vec<u16>, String> {
    if given.len() > MOST {
        return Err(format!("HTTPS ports can have at most {MOST} entries."));
    }
    let mut ports = Vec::with_capacity(given.len());
    for &number in given {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        let port =
            port.ok_or_else(|| format!("HTTPS port must be between 1 and 65535: {number}"))?;
        if port == AGENT_PORT {
            return Err(format!(
                "HTTPS backend routing is not supported for reserved port {AGENT_PORT}"
            ));
        }
        if ports.contains(&port) {
            return Err(format!("HTTPS port {port} is specified more than once."));
        }
        ports.push(port);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_checked_in_e2bs_words() {
        assert_eq!(parse(&[]), Ok(vec![]));
        assert_eq!(parse(&[8443, 1, 65535]), Ok(vec![8443, 1, 65535]));
        let most: Vec<i64> = (1..=128).collect();
        assert_eq!(parse(&most).map(|ports| ports.len()), Ok(128));
        let more: Vec<i64> = (1..=129).collect();
        for (given, wanted) in [
            (&more[..], "HTTPS ports can have at most 128 entries."),
            (&[0], "HTTPS port must be between 1 and 65535: 0"),
            (&[-1], "HTTPS port must be between 1 and 65535: -1"),
            (
                &[443, 65536],
                "HTTPS port must be between 1 and 65535: 65536",
            ),
            (
                &[i64::MAX],
                "HTTPS port must be between 1 and 65535: 9223372036854775807",
            ),
            (
                &[49983],
                "HTTPS backend routing is not supported for reserved port 49983",
            ),
            (
                &[443, 8443, 443],
                "HTTPS port 443 is specified more than once.",
            ),
        ] {
            assert_eq!(parse(given).expect_err("refused"), wanted);
        }
    }
}
