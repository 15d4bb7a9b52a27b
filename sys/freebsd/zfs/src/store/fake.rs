//! A host whose ZFS is a table in memory, with the words of the real one. Trees are directories, moved to where they are
//! mounted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use warder_tool::{Call, Output, Run, Tool, ToolError};

use super::{Host, Lies};
use crate::calls::COLUMNS;

#[derive(Debug, Default)]
struct Dataset {
    properties: BTreeMap<String, String>,
    origin: Option<String>,
    born: u64,
}

#[derive(Debug, Default)]
struct Table {
    datasets: BTreeMap<String, Dataset>,
    mounts: BTreeMap<PathBuf, String>,
    born: u64,
    log: Vec<String>,
    /// Commands until the power fails.
    left: Option<usize>,
    /// A mount that goes by itself.
    passing: Option<(PathBuf, Instant)>,
    /// A command that fails, and what it says.
    broken: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Fake {
    table: Rc<RefCell<Table>>,
    /// Content of what is not mounted.
    shelf: PathBuf,
    kind: &'static str,
    /// Where the state directory lies.
    pub(crate) below: &'static str,
}

impl Fake {
    pub(crate) fn new(directory: &Path, kind: &'static str) -> Self {
        let shelf = directory.join("unmounted");
        fs::create_dir_all(&shelf).expect("makes");
        let fake = Self {
            table: Rc::default(),
            shelf,
            kind,
            below: "tank/state",
        };
        for dataset in ["tank", "tank/state"] {
            fake.table.borrow_mut().add(dataset, None, BTreeMap::new());
        }
        fake
    }

    /// What was run since the last look.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.table.borrow_mut().log)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.table.borrow().datasets.keys().cloned().collect()
    }

    pub(crate) fn property(&self, dataset: &str, name: &str) -> Option<String> {
        self.table
            .borrow()
            .datasets
            .get(dataset)?
            .properties
            .get(name)
            .cloned()
    }

    pub(crate) fn add(&self, dataset: &str) {
        self.table.borrow_mut().add(dataset, None, BTreeMap::new());
    }

    pub(crate) fn break_at(&self, command: &str, words: &str) {
        self.table.borrow_mut().broken = Some((command.to_owned(), words.to_owned()));
    }

    pub(crate) fn mend(&self) {
        self.table.borrow_mut().broken = None;
    }

    /// After so many commands everything fails.
    pub(crate) fn cut_after(&self, commands: Option<usize>) {
        self.table.borrow_mut().left = commands;
    }

    pub(crate) fn unmount_after(&self, path: PathBuf, after: Duration) {
        self.table.borrow_mut().passing = Some((path, Instant::now() + after));
    }

    /// Nothing is mounted after a boot.
    pub(crate) fn reboot(&self) {
        let mounts: Vec<PathBuf> = self.table.borrow().mounts.keys().rev().cloned().collect();
        for path in mounts {
            self.unmount(&path).expect("unmounts");
        }
    }

    fn backing(&self, dataset: &str) -> PathBuf {
        self.shelf.join(dataset.replace('/', "+"))
    }
}

fn no(words: String) -> Result<Vec<u8>, String> {
    Err(words)
}

impl Table {
    fn add(&mut self, name: &str, origin: Option<String>, properties: BTreeMap<String, String>) {
        self.born += 1;
        let dataset = Dataset {
            properties,
            origin,
            born: self.born,
        };
        self.datasets.insert(name.to_owned(), dataset);
    }

    fn inherited(&self, name: &str, property: &str) -> String {
        let mut at = name;
        loop {
            let value = self
                .datasets
                .get(at)
                .and_then(|d| d.properties.get(property));
            if let Some(value) = value {
                return value.clone();
            }
            match at.rsplit_once(['/', '@']) {
                Some((above, _)) => at = above,
                None => return "-".to_owned(),
            }
        }
    }

    fn clones(&self, of: &str) -> bool {
        let mut origins = self.datasets.values().filter_map(|d| d.origin.as_deref());
        origins.any(|origin| origin == of || origin.split('@').next() == Some(of))
    }

    fn zfs(&mut self, args: &[&str]) -> Result<Vec<u8>, String> {
        let mut properties = BTreeMap::new();
        let mut plain = Vec::new();
        let mut columns = "";
        let mut rest = args[1..].iter();
        while let Some(&arg) = rest.next() {
            match arg {
                "-o" => {
                    let option = rest.next().expect("a value");
                    match option.split_once('=') {
                        Some((name, value)) => {
                            drop(properties.insert(name.to_owned(), value.to_owned()));
                        }
                        None => columns = option,
                    }
                }
                "-t" | "-d" => drop(rest.next()),
                "-H" | "-p" | "-r" | "-f" => {}
                arg => plain.push(arg),
            }
        }
        let missing = |name: &str| format!("cannot open '{name}': dataset does not exist");
        match (args[0], &plain[..]) {
            ("create", [name]) => {
                let (above, _) = name.rsplit_once('/').unwrap_or_default();
                if !self.datasets.contains_key(above) {
                    return no(format!("cannot create '{name}': parent does not exist"));
                }
                if self.datasets.contains_key(*name) {
                    return no(format!("cannot create '{name}': dataset already exists"));
                }
                self.add(name, None, properties);
            }
            ("clone", [origin, name]) => {
                if self.datasets.contains_key(*name) {
                    return no(format!("cannot create '{name}': dataset already exists"));
                }
                if !self.datasets.contains_key(*origin) {
                    return no(missing(origin));
                }
                self.add(name, Some((*origin).to_owned()), properties);
            }
            ("snapshot", [name]) => {
                let (dataset, _) = name.split_once('@').expect("a snapshot");
                if !self.datasets.contains_key(dataset) {
                    return no(missing(dataset));
                }
                self.add(name, None, properties);
            }
            ("promote", [name]) => self.promote(name)?,
            ("set", [all @ .., name]) => {
                let Some(dataset) = self.datasets.get_mut(*name) else {
                    return no(missing(name));
                };
                for (name, value) in all.iter().filter_map(|p| p.split_once('=')) {
                    dataset.properties.insert(name.to_owned(), value.to_owned());
                }
            }
            ("destroy", [name]) => {
                if !self.datasets.contains_key(*name) {
                    return no(missing(name));
                }
                if self.clones(name) {
                    return no(format!(
                        "cannot destroy '{name}': filesystem has dependent clones"
                    ));
                }
                let of = format!("{name}@");
                self.datasets
                    .retain(|other, _| other != name && !other.starts_with(&of));
            }
            ("list", [name]) => return self.list(name, columns),
            other => panic!("not a command of ours: {other:?}"),
        }
        Ok(Vec::new())
    }

    fn promote(&mut self, name: &str) -> Result<(), String> {
        let origin = self.datasets.get(name).and_then(|d| d.origin.clone());
        let Some((from, _)) = origin.as_deref().and_then(|o| o.split_once('@')) else {
            return Err(format!("cannot promote '{name}': not a cloned filesystem"));
        };
        let (from, origin) = (from.to_owned(), origin.clone().expect("looked at"));
        let last = self.datasets[&origin].born;
        let of = format!("{from}@");
        let moving: BTreeSet<String> = self
            .datasets
            .iter()
            .filter(|(other, d)| other.starts_with(&of) && d.born <= last)
            .map(|(other, _)| other.clone())
            .collect();
        let moved = |old: &str| old.replacen(&from, name, 1);
        for old in &moving {
            let snapshot = self.datasets.remove(old).expect("listed");
            self.datasets.insert(moved(old), snapshot);
        }
        for dataset in self.datasets.values_mut() {
            if let Some(old) = dataset.origin.clone().filter(|o| moving.contains(o)) {
                dataset.origin = Some(moved(&old));
            }
        }
        let above = self
            .datasets
            .get_mut(&from)
            .expect("there")
            .origin
            .replace(moved(&origin));
        self.datasets.get_mut(name).expect("there").origin = above;
        Ok(())
    }

    fn list(&self, name: &str, columns: &str) -> Result<Vec<u8>, String> {
        if !self.datasets.contains_key(name) {
            return Err(format!("cannot open '{name}': dataset does not exist"));
        }
        let all = columns == COLUMNS.join(",");
        let within = |other: &str| {
            let rest = other.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
        };
        let mut text = String::new();
        for (other, dataset) in self.datasets.iter().filter(|(other, _)| within(other)) {
            if columns == "name,used" {
                if !other.contains('@') {
                    text += &format!("{other}\t{}\n", 1000 + dataset.born);
                }
                continue;
            }
            if !all {
                return Ok(format!("{}\n", self.inherited(name, columns)).into_bytes());
            }
            let value = |column: &&str| match *column {
                "name" => other.clone(),
                "type" if other.contains('@') => "snapshot".to_owned(),
                "type" => "filesystem".to_owned(),
                "used" => "8192".to_owned(),
                "referenced" => "100000".to_owned(),
                "creation" => (1_763_769_600 + dataset.born).to_string(),
                "origin" => dataset.origin.clone().unwrap_or("-".to_owned()),
                property => self.inherited(other, property),
            };
            let fields: Vec<String> = COLUMNS.iter().map(value).collect();
            text += &(fields.join("\t") + "\n");
        }
        Ok(text.into_bytes())
    }
}

impl Run for Fake {
    fn run(&self, call: &Call) -> warder_tool::Result<Output> {
        let mut table = self.table.borrow_mut();
        let line = call.to_string();
        if let Some(left) = &mut table.left {
            if *left == 0 {
                return Err(ToolError::failed(call, 1, "the power failed"));
            }
            *left -= 1;
        }
        if let Some((command, words)) = &table.broken
            && line.contains(command)
        {
            return Err(ToolError::failed(call, 1, words));
        }
        table.log.push(line);
        let args: Vec<&str> = call.args().iter().map(String::as_str).collect();
        let done = match call.tool() {
            Tool::Zfs => table.zfs(&args),
            _ => Ok(Vec::new()),
        };
        match done {
            Ok(stdout) => Ok(Output {
                stdout,
                words: String::new(),
            }),
            Err(words) => Err(ToolError::failed(call, 1, &words)),
        }
    }
}

impl Host for Fake {
    fn lies(&self, path: &Path) -> io::Result<Lies> {
        path.symlink_metadata()?;
        let table = self.table.borrow();
        let over = table
            .mounts
            .iter()
            .rev()
            .find(|(on, _)| path.starts_with(on));
        Ok(Lies {
            kind: self.kind.to_owned(),
            from: over.map_or(self.below.to_owned(), |(_, from)| from.clone()),
            on: over.map_or(PathBuf::from("/"), |(on, _)| on.clone()),
            free: 1 << 30,
        })
    }

    fn mount(&self, dataset: &str, on: &Path) -> io::Result<()> {
        if !self.table.borrow().datasets.contains_key(dataset) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let backing = self.backing(dataset);
        if backing.exists() {
            fs::rename(backing, on)?;
        }
        self.table
            .borrow_mut()
            .mounts
            .insert(on.to_owned(), dataset.to_owned());
        Ok(())
    }

    fn mounts_below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut table = self.table.borrow_mut();
        if let Some((path, _)) = table.passing.take_if(|(_, at)| *at <= Instant::now()) {
            table.mounts.remove(&path);
        }
        let below = |on: &&PathBuf| *on != path && on.starts_with(path);
        Ok(table.mounts.keys().filter(below).cloned().collect())
    }

    fn unmount(&self, on: &Path) -> io::Result<()> {
        let dataset = self
            .table
            .borrow_mut()
            .mounts
            .remove(on)
            .ok_or(io::ErrorKind::InvalidInput)?;
        fs::rename(on, self.backing(&dataset))?;
        fs::create_dir(on)
    }
}
