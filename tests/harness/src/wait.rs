//! Waiting for what must come, for as long as a slow machine may need. Nothing is judged by how long it took.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as never: generous, since it is only waited out when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks until there is an answer.
///
/// # Errors
/// When there is none for so long; says what was waited for.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(format!("in vain for {} s: {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
