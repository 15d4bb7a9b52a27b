//! The same through the Python SDK, in a process of its own that prints its samples.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::stats::Samples;
use crate::warder::Server;

pub(crate) fn measure(_: &Server, samples: &mut Samples) -> Outcome {
    let get = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let output = Command::new(get("BENCH_PYTHON")?)
        .arg(get("BENCH_SDK")?)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the Python SDK ended with {}", output.status).into());
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (series, seconds) = line
            .split_once('\t')
            .ok_or_else(|| format!("not a sample: {line}"))?;
        samples.time(
            &format!("sdk {series}"),
            Duration::try_from_secs_f64(seconds.parse()?)?,
        );
    }
    Ok(())
}
