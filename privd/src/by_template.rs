//! Lines of the configuration that each say something of one template, or as `*` of all others.

use std::collections::BTreeMap;
use std::str::SplitAsciiWhitespace;

use warder_wire::TemplateName;

/// What such a line says.
pub(crate) trait Line: Copy + Default + PartialEq {
    /// The words that it may say, in any order, each once; most are followed by a value.
    const WORDS: [&'static str; 4];

    /// Takes the word at this place among them, and its value; whether it was there already.
    ///
    /// # Errors
    /// What to change.
    fn take(&mut self, at: usize, rest: &mut SplitAsciiWhitespace<'_>) -> Result<bool, String>;
}

/// All lines of one kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ByTemplate<L> {
    named: BTreeMap<TemplateName, L>,
    others: Option<L>,
}

impl<L: Line> ByTemplate<L> {
    /// Takes a line: `NAME` or `*`, and what it says of it.
    ///
    /// # Errors
    /// What to change.
    pub(crate) fn add(&mut self, value: &str) -> Result<(), String> {
        let mut words = value.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let all = || L::WORDS.join(", ");
        let mut line = L::default();
        while let Some(word) = words.next() {
            let at = L::WORDS.iter().position(|known| *known == word);
            let at = at.ok_or_else(|| format!("`{word}` is none of {}", all()))?;
            if line.take(at, &mut words)? {
                return Err(format!("`{word}` given twice"));
            }
        }
        if line == L::default() {
            return Err(format!("a template needs one of {}", all()));
        }
        let before = if name == "*" {
            self.others.replace(line)
        } else {
            let template = TemplateName::new(name).map_err(|e| format!("`{name}`: {e}"))?;
            self.named.insert(template, line)
        };
        match before {
            None => Ok(()),
            Some(_) => Err(format!("template `{name}` given twice")),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.others.is_none()
    }

    /// The lines for a sandbox whose tree is made of `lineage`, which is the template it was cloned from, those that one is a
    /// snapshot of, and at the end their origin: that of the origin, that of `*`, and those of the snapshots.
    pub(crate) fn lines(
        &self,
        lineage: &[TemplateName],
    ) -> (Option<L>, Option<L>, impl Iterator<Item = L>) {
        let (origin, snapshots) = lineage.split_last().unzip();
        let own = origin.and_then(|origin| self.named.get(origin).copied());
        let snapshots = snapshots.unwrap_or_default().iter();
        (
            own,
            self.others,
            snapshots.filter_map(|name| self.named.get(name).copied()),
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn lines<L: Line>(lines: &[&str]) -> ByTemplate<L> {
        let mut all = ByTemplate::default();
        for line in lines {
            all.add(line).expect(line);
        }
        all
    }

    pub(crate) fn names(names: &[&str]) -> Vec<TemplateName> {
        let name = |name: &&str| TemplateName::new(name).expect("a name");
        names.iter().map(name).collect()
    }
}
