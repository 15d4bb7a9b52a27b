//! What `zfs list -H -p` prints: a line for each dataset, fields divided by tabs, `-` for what it has not (zfs-list(8)).

use crate::calls::COLUMNS;
use crate::error::{Result, ZfsError};
use crate::names::{Layout, Place};

/// What a dataset is for, as its property says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Being made.
    Draft,
    /// A template.
    Template,
    /// A template that lasts no longer than the privd that made it.
    Passing,
    Sandbox,
    Volume,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Draft,
        Self::Template,
        Self::Passing,
        Self::Sandbox,
        Self::Volume,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Template => "template",
            Self::Passing => "passing",
            Self::Sandbox => "sandbox",
            Self::Volume => "volume",
        }
    }
}

/// A line of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) used: u64,
    pub(crate) referenced: u64,
    /// The snapshot it was cloned from.
    pub(crate) origin: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) tag: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) stamp: Option<u64>,
    pub(crate) lineage: Option<String>,
    pub(crate) host_base: bool,
    pub(crate) made_of: Option<String>,
}

impl Row {
    /// The dataset, and the snapshot's own name if it is one.
    pub(crate) fn split(&self) -> (&str, Option<&str>) {
        match self.name.split_once('@') {
            Some((dataset, snapshot)) => (dataset, Some(snapshot)),
            None => (&self.name, None),
        }
    }

    /// Whether it is a file system that this instance made.
    pub(crate) fn own(&self, layout: &Layout) -> Option<(Place, Kind)> {
        let place = layout.place(&self.name).filter(Place::is_ours)?;
        Some((place, self.kind?))
    }
}

/// Reads a listing of [`COLUMNS`].
pub(crate) fn parse(text: &str) -> Result<Vec<Row>> {
    text.lines().map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let wrong = || ZfsError::Listing(line.chars().take(300).collect());
    let fields: Vec<&str> = line.split('\t').collect();
    let fields = <[&str; COLUMNS.len()]>::try_from(fields).map_err(|_| wrong())?;
    let [name, kind, used, referenced, origin, created, own @ ..] = fields;
    let [tag, purpose, stamp, lineage, host_base, made_of] = own;
    let number = |field: &str| field.parse::<u64>().map_err(|_| wrong());
    let text = |field: &str| (field != "-" && !field.is_empty()).then(|| field.to_owned());
    if name.is_empty() || !matches!(kind, "filesystem" | "volume" | "snapshot") {
        return Err(wrong());
    }
    Ok(Row {
        name: name.to_owned(),
        used: number(used)?,
        referenced: number(referenced)?,
        origin: text(origin),
        created: number(created)?,
        tag: text(tag),
        // A value of a later version is none of ours.
        kind: Kind::ALL
            .into_iter()
            .find(|k| k.as_str() == purpose && kind != "volume"),
        stamp: stamp.parse().ok(),
        lineage: text(lineage),
        host_base: host_base == "yes",
        made_of: text(made_of),
    })
}

/// Reads a listing of names and numbers.
pub(crate) fn usage(text: &str) -> Result<Vec<(&str, u64)>> {
    let line = |line| {
        let wrong = || ZfsError::Listing(String::from(line));
        let (name, used): (&str, &str) = str::split_once(line, '\t').ok_or_else(wrong)?;
        Ok((name, used.parse().map_err(|_| wrong())?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As zfs-list(8) describes `-H` and `-p`; user properties that are not set are `-`, and inherited by what is below.
    const SAMPLE: &str = "\
tank/warder-e40c292c\tfilesystem\t1482752\t98304\t-\t1763769600\te40c292c\t-\t-\t-\t-\t-
tank/warder-e40c292c/sandboxes\tfilesystem\t196608\t98304\t-\t1763769601\te40c292c\t-\t-\t-\t-\t-
tank/warder-e40c292c/sandboxes/iabcdefghij0123456789\tfilesystem\t53248\t606208\ttank/warder-e40c292c/templates/base.17@17\t1763769700\te40c292c\tsandbox\t44\tbase\tyes\t-
tank/warder-e40c292c/templates/base.17\tfilesystem\t598016\t589824\t-\t1763769610\te40c292c\ttemplate\t17\tbase\tyes\tabc
tank/warder-e40c292c/templates/base.17@17\tsnapshot\t8192\t589824\t-\t1763769612\te40c292c\ttemplate\t17\tbase\tyes\tabc
tank/warder-e40c292c/disk\tvolume\t1073741824\t57344\t-\t1763769900\te40c292c\tvolume\t-\t-\t-\t-
";

    #[test]
    fn a_listing_is_read() {
        let rows = parse(SAMPLE).expect("good");
        assert_eq!(rows.len(), 6);
        let sandbox = &rows[2];
        assert_eq!(sandbox.kind, Some(Kind::Sandbox));
        assert_eq!(
            (sandbox.used, sandbox.referenced, sandbox.stamp),
            (53_248, 606_208, Some(44))
        );
        assert_eq!(
            sandbox.origin.as_deref(),
            Some("tank/warder-e40c292c/templates/base.17@17")
        );
        assert!(sandbox.host_base);
        assert_eq!(
            rows[4].split(),
            ("tank/warder-e40c292c/templates/base.17", Some("17"))
        );
        assert_eq!(rows[0].kind, None);
        assert_eq!(rows[5].kind, None, "a volume of ZFS is none of ours");
    }

    /// zfs(8) of FreeBSD 15.1 prints, asked as `calls::list` does.
    const PRINTED: &str = "\
tank/warder-e40c292c\tfilesystem\t716800\t98304\t-\t1795358362\te40c292c\t-\t-\t-\t-\t-
tank/warder-e40c292c/sandboxes\tfilesystem\t98304\t98304\t-\t1795358363\te40c292c\t-\t-\t-\t-\t-
tank/warder-e40c292c/sandboxes/i8jo0vwo8o5dxqg8vixha\tfilesystem\t73728\t225280\ttank/warder-e40c292c/templates/base.1795358965443737326@1795358965443737326\t1795358968\te40c292c\tsandbox\t1795358967922868006\t-\t-\t-
tank/warder-e40c292c/templates/base.1795358965443737326\tfilesystem\t225280\t225280\t-\t1795358966\te40c292c\ttemplate\t1795358965443737326\tbase\tyes\t1-929028d00be82571
tank/warder-e40c292c/templates/base.1795358965443737326@1795358965443737326\tsnapshot\t0\t225280\t-\t1795358966\te40c292c\ttemplate\t1795358965443737326\tbase\tyes\t1-929028d00be82571
";

    #[test]
    fn what_freebsd_prints_is_read() {
        let rows = parse(PRINTED).expect("good");
        let kinds: Vec<Option<Kind>> = rows.iter().map(|row| row.kind).collect();
        let template = Some(Kind::Template);
        assert_eq!(kinds, [None, None, Some(Kind::Sandbox), template, template]);
        let (sandbox, template, snapshot) = (&rows[2], &rows[3], &rows[4]);
        assert_eq!(sandbox.origin.as_deref(), Some(snapshot.name.as_str()));
        assert_eq!(sandbox.stamp, Some(1_795_358_967_922_868_006));
        assert_eq!(
            (sandbox.lineage.as_deref(), sandbox.host_base),
            (None, false)
        );
        assert_eq!((sandbox.used, sandbox.referenced), (73_728, 225_280));
        assert_eq!(
            (template.lineage.as_deref(), template.host_base),
            (Some("base"), true)
        );
        assert_eq!(template.made_of.as_deref(), Some("1-929028d00be82571"));
        assert_eq!(snapshot.used, 0);
        assert!(
            rows.iter()
                .all(|row| row.tag.as_deref() == Some("e40c292c"))
        );
        // And as `calls::usage` does.
        let used = "tank/warder-e40c292c\t716800\ntank/warder-e40c292c/sandboxes\t98304\n";
        let used = usage(used).expect("good");
        assert_eq!(used[1], ("tank/warder-e40c292c/sandboxes", 98_304));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            "tank",
            "tank\tfilesystem\t1\t2",
            "tank\tfilesystem\tmuch\t2\t-\t3\t-\t-\t-\t-\t-\t-",
            "tank\tbookmark\t1\t2\t-\t3\t-\t-\t-\t-\t-\t-",
            "\tfilesystem\t1\t2\t-\t3\t-\t-\t-\t-\t-\t-",
            "",
        ] {
            assert!(parse(&format!("{bad}\n")).is_err(), "{bad:?}");
        }
        assert_eq!(
            usage("tank\t12\ntank/a\t3\n").expect("good"),
            [("tank", 12), ("tank/a", 3)]
        );
        assert!(usage("tank 12\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_listing_panics(text in "(?s)([a-z/@.\\t\\n-]|filesystem\t|snapshot\t|[0-9]{1,20}\t|.){0,80}") {
            let _ = parse(&text);
            let _ = usage(&text);
        }

        #[test]
        fn what_is_printed_is_read(name in "[a-z][a-z0-9/_.:-]{0,60}", used: u64, created: u64, stamp: u64) {
            let line = format!("{name}\tfilesystem\t{used}\t{used}\t-\t{created}\tx\tdraft\t{stamp}\t-\tno\t-\n");
            let rows = parse(&line).expect("good");
            proptest::prop_assert_eq!((&rows[0].name, rows[0].used, rows[0].stamp), (&name, used, Some(stamp)));
        }
    }
}
