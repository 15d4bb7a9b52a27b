//! What a sandbox's tree is made of, as text: a keyword and its value on each line.

use std::fmt::Write;
use std::net::Ipv4Addr;

use warder_wire::TemplateName;

use crate::error::{Result, ZfsError};

/// What a tree is cloned from, and what is written into it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    /// Tells it from another tree of the same sandbox.
    pub(crate) stamp: u64,
    /// The version of a template.
    pub(crate) origin: String,
    /// Bytes that a clone refers to from the start.
    pub(crate) referenced: u64,
    /// The templates it descends from, its own first.
    pub(crate) lineage: Vec<TemplateName>,
    /// Whether it wants the host's base system.
    pub(crate) host_base: bool,
    pub(crate) resolvers: Vec<Ipv4Addr>,
}

impl Record {
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!(
            "stamp {}\norigin {}\nreferenced {}\nlineage {}\nhost-base {}\n",
            self.stamp,
            self.origin,
            self.referenced,
            lineage_text(&self.lineage),
            if self.host_base { "yes" } else { "no" },
        );
        for resolver in &self.resolvers {
            // A String takes all that is written.
            let _ = writeln!(text, "resolver {resolver}");
        }
        text
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || ZfsError::Invalid("a record of a sandbox that is not understood");
        let all = |keyword: &'static str| {
            text.lines()
                .filter_map(move |line| line.strip_prefix(keyword)?.strip_prefix(' '))
        };
        let one = |keyword| all(keyword).next().ok_or_else(wrong);
        let number = |keyword| one(keyword)?.parse::<u64>().map_err(|_| wrong());
        let resolvers: std::result::Result<_, _> = all("resolver").map(str::parse).collect();
        Ok(Self {
            stamp: number("stamp")?,
            origin: one("origin")?.to_owned(),
            referenced: number("referenced")?,
            lineage: lineage(one("lineage")?).ok_or_else(wrong)?,
            host_base: one("host-base")? == "yes",
            resolvers: resolvers.map_err(|_| wrong())?,
        })
    }
}

/// The names of templates as one text; no name holds a comma.
pub(crate) fn lineage_text(lineage: &[TemplateName]) -> String {
    let names: Vec<&str> = lineage.iter().map(TemplateName::as_str).collect();
    names.join(",")
}

/// The opposite; none when a name is wrong: what a tree descends from decides what it may do.
pub(crate) fn lineage(text: &str) -> Option<Vec<TemplateName>> {
    text.split(',')
        .map(|name| TemplateName::new(name).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_both_ways() {
        let name = |name| TemplateName::new(name).expect("a name");
        let record = Record {
            stamp: 44,
            origin: "py.7".to_owned(),
            referenced: 589_824,
            lineage: vec![name("py"), name("base")],
            host_base: true,
            resolvers: vec![Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)],
        };
        let text = record.to_text();
        assert_eq!(Record::parse(&text).expect("good"), record);
        for keyword in ["stamp", "origin", "referenced", "lineage", "host-base"] {
            let less: String = text
                .lines()
                .filter(|l| !l.starts_with(keyword))
                .map(|l| format!("{l}\n"))
                .collect();
            assert!(Record::parse(&less).is_err(), "{keyword}");
        }
        assert!(Record::parse(&text.replace("py,", "Py,")).is_err());
        assert!(Record::parse(&text.replace("1.1.1.1", "one")).is_err());
    }
}
