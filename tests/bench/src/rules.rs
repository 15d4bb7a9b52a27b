//! What tests/rules counts: lines of our own in root processes, crates in their trees.

use crate::Outcome;
use crate::stats::Samples;
use crate::warder::Server;

/// From the output of the rules' own test, which `BENCH_RULES` names.
pub(crate) fn measure(_: &Server, samples: &mut Samples) -> Outcome {
    let file = std::env::var("BENCH_RULES").map_err(|_| "BENCH_RULES is not set")?;
    let text = std::fs::read_to_string(file)?;
    for system in ["linux", "freebsd"] {
        let count = before(&text, &format!("{system}: "), " lines")?;
        samples.value(&format!("root lines on {system}"), count);
    }
    for daemon in ["privd", "netd"] {
        let head = format!("{daemon} on x86_64-unknown-linux-gnu: ");
        samples.value(
            &format!("{daemon} crates"),
            before(&text, &head, " crates")?,
        );
    }
    Ok(())
}

/// The number between `head` and `tail` on the first line that has them.
fn before(text: &str, head: &str, tail: &str) -> Result<f64, String> {
    let found = text.lines().find_map(|line| {
        // The name of the test may stand before it.
        let (number, _) = line.split_once(head)?.1.split_once(tail)?;
        number.parse().ok()
    });
    found.ok_or_else(|| format!("tests/rules did not say `{head}N{tail}`"))
}

#[cfg(test)]
mod tests {
    use super::before;

    #[test]
    fn counts_are_found() {
        let text = "test root ... linux: 9000 lines of a budget of 6000\n  12 privd\n";
        assert_eq!(before(text, "linux: ", " lines"), Ok(9000.0));
        assert!(before(text, "freebsd: ", " lines").is_err());
    }
}
