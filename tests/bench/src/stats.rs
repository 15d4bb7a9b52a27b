//! Samples by name, their percentiles, and the file they are kept in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

/// Everything measured in one run. Times are in microseconds, sizes in KiB, rates per second.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    series: BTreeMap<String, Vec<f64>>,
    notes: Vec<String>,
}

impl Samples {
    /// Adds a time.
    pub(crate) fn time(&mut self, series: &str, time: Duration) {
        self.value(series, time.as_secs_f64() * 1e6);
    }

    /// Adds many times.
    pub(crate) fn times(&mut self, series: &str, times: impl IntoIterator<Item = Duration>) {
        for time in times {
            self.time(series, time);
        }
    }

    /// Adds a value that is not a time.
    pub(crate) fn value(&mut self, series: &str, value: f64) {
        self.series
            .entry(series.to_owned())
            .or_default()
            .push(value);
    }

    /// Adds a sentence to be printed under the table.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The sentences.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The figures of a series, if anything was measured.
    pub(crate) fn figures(&self, series: &str) -> Option<Figures> {
        Figures::of(self.series.get(series)?)
    }

    /// Writes every sample: a line for each, series and value, in the order they were taken.
    pub(crate) fn write(&self, path: &str) -> io::Result<()> {
        let mut text =
            String::from("# series\tvalue (times in us, sizes in KiB, rates per second)\n");
        for (series, values) in &self.series {
            for value in values {
                let _ = writeln!(text, "{series}\t{value:.1}");
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "# {note}");
        }
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)
    }
}

/// Nearest-rank percentiles of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) n: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Figures {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let max = *sorted.last()?;
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self {
            n: sorted.len(),
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let figures = Figures::of(&values).expect("there are samples");
        assert_eq!(
            figures,
            Figures {
                n: 200,
                p50: 100.0,
                p95: 190.0,
                p99: 198.0,
                max: 200.0
            }
        );
        assert_eq!(
            Figures::of(&[7.0]).map(|f| (f.p50, f.p99)),
            Some((7.0, 7.0))
        );
        assert_eq!(Figures::of(&[]), None);
    }
}
