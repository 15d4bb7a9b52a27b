//! The host's forwarding switch: on while any instance of ours needs it, off again after the last one if it
//! was one of ours that switched it on.
//!
//! The record is one line for each network that instances live in (one, outside tests): a number that it is known by
//! (the namespace's inode, or the boot), the word `found-on` or `switched-on`, and the tags of the instances.

use std::io::{Read, Write};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::LinksError;
use crate::site::Site;
use crate::system::{forwards, here, keeps, set_forwarding};

const RECORD: &str = "forwarding";
const SCRATCH: &str = "forwarding.new";

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    network: u64,
    switched_on: bool,
    tags: Vec<String>,
}

/// Records that the instance needs forwarding, then switches it on.
pub(crate) fn claim(site: &Site) -> Result<(), LinksError> {
    let _lock = site.lock()?;
    let here = here()?;
    let on = forwards()?;
    let mut lines = read(site)?;
    lines.retain(|line| keeps(line.network, here));
    let tag = site.tag().to_string();
    match lines.iter_mut().find(|line| line.network == here) {
        Some(line) => {
            // Whoever died without a purge needs nothing any more.
            line.tags.retain(|other| *other != tag && site.lives(other));
            if line.tags.is_empty() && !on {
                line.switched_on = true;
            }
            line.tags.push(tag);
        }
        None => lines.push(Line {
            network: here,
            switched_on: !on,
            tags: vec![tag],
        }),
    }
    write(site, &lines)?;
    set_forwarding(true)
}

/// Takes the claim back; the last one restores what was found.
pub(crate) fn release(site: &Site) -> Result<(), LinksError> {
    let _lock = site.lock()?;
    let here = here()?;
    let mut lines = read(site)?;
    let Some(at) = lines.iter().position(|line| line.network == here) else {
        return Ok(());
    };
    let tag = site.tag().to_string();
    let line = &mut lines[at];
    line.tags.retain(|other| *other != tag && site.lives(other));
    if line.tags.is_empty() {
        if line.switched_on {
            set_forwarding(false)?;
        }
        lines.remove(at);
    }
    write(site, &lines)
}

fn read(site: &Site) -> Result<Vec<Line>, LinksError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(site.run(), RECORD, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(e) => return Err(LinksError::io("open the forwarding record", e)),
    };
    let mut text = String::new();
    std::fs::File::from(file)
        .read_to_string(&mut text)
        .map_err(|e| LinksError::io("read the forwarding record", e))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn write(site: &Site, lines: &[Line]) -> Result<(), LinksError> {
    if lines.is_empty() {
        return match rustix::fs::unlinkat(site.run(), RECORD, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(LinksError::io("remove the forwarding record", e)),
        };
    }
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(site.run(), SCRATCH, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| LinksError::io("make the forwarding record", e))?;
    let text: String = lines.iter().map(print).collect();
    std::fs::File::from(file)
        .write_all(text.as_bytes())
        .map_err(|e| LinksError::io("write the forwarding record", e))?;
    rustix::fs::renameat(site.run(), SCRATCH, site.run(), RECORD)
        .map_err(|e| LinksError::io("replace the forwarding record", e))
}

fn print(line: &Line) -> String {
    let word = if line.switched_on {
        "switched-on"
    } else {
        "found-on"
    };
    format!("{} {word} {}\n", line.network, line.tags.join(" "))
}

fn parse(text: &str) -> Option<Line> {
    let mut words = text.split(' ');
    let network = words.next()?.parse().ok()?;
    let switched_on = match words.next()? {
        "switched-on" => true,
        "found-on" => false,
        _ => return None,
    };
    // A tag is looked up as a file name: nothing but hex digits.
    let tags = words
        .filter(|w| w.len() == 8 && w.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
        .collect();
    Some(Line {
        network,
        switched_on,
        tags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let line = Line {
            network: 4_026_531_840,
            switched_on: true,
            tags: vec!["e40c292c".into(), "811c9dc5".into()],
        };
        assert_eq!(parse(print(&line).trim_end()), Some(line));
        assert_eq!(parse("1 sideways a"), None);
        assert_eq!(
            parse("1 found-on ../../x").expect("a line").tags,
            Vec::<String>::new()
        );
    }
}
