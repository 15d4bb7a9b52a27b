//! Lines of the configuration that each say something of one template, or as `*` of all others.

use std::collections::BTreeMap;
use std::str::SplitAsciiWhitespace;

use warder_wire::TemplateName;

/// What such a line says.
pub(crate) trait Line: Copy {
    /// Reads what is behind the name of the template.
    ///
    /// # Errors
    /// What to change.
    fn read(words: SplitAsciiWhitespace<'_>) -> Result<Self, String>;
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
        let line = L::read(words)?;
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
