//! Which of the host's dummynet pipes are whose: a record, one line for each instance, of its tag, the first of its pipes and
//! how many there are. Instances differ in size, so none can be told from a number alone.
#![cfg_attr(
    not(target_os = "freebsd"),
    expect(dead_code, reason = "only what decides is tried there")
)]

use std::io::{Read, Write};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::LinksError;
use crate::site::Site;

const RECORD: &str = "pipes";
const SCRATCH: &str = "pipes.new";
/// Pipes below are the host's own; a rule can name none above.
const FIRST: u32 = 1000;
const LAST: u32 = 65_535;

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    tag: String,
    first: u32,
    count: u32,
}

/// Claims so many pipes for the instance: those that it had, if they are as many. The first of them.
pub(crate) fn claim(site: &Site, count: u32) -> Result<u32, LinksError> {
    let _lock = site.lock()?;
    let at = |what: &'static str| move |e| LinksError::io(what, e);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut text = String::new();
    match rustix::fs::openat(site.run(), RECORD, flags, Mode::empty()) {
        Ok(file) => drop(
            std::fs::File::from(file)
                .read_to_string(&mut text)
                .map_err(|e| LinksError::io("read the record of pipes", e))?,
        ),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(at("open the record of pipes")(e)),
    }
    let tag = site.tag().to_string();
    let mut lines: Vec<Line> = text.lines().filter_map(parse).collect();
    // Whoever died without a purge needs nothing any more.
    lines.retain(|line| line.tag == tag || site.lives(&line.tag));
    let first = place(&mut lines, tag, count).ok_or(LinksError::Exhausted("range of pipes"))?;
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(site.run(), SCRATCH, flags, Mode::RUSR | Mode::WUSR);
    let file = file.map_err(at("make the record of pipes"))?;
    let print = |line: &Line| format!("{} {} {}\n", line.tag, line.first, line.count);
    let text: String = lines.iter().map(print).collect();
    let written = std::fs::File::from(file).write_all(text.as_bytes());
    written.map_err(|e| LinksError::io("write the record of pipes", e))?;
    let moved = rustix::fs::renameat(site.run(), SCRATCH, site.run(), RECORD);
    moved.map_err(at("replace the record of pipes"))?;
    Ok(first)
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace();
    let tag = words.next()?.to_owned();
    let (first, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Line { tag, first, count })
}

/// The lowest place where so many fit between those of others. One that keeps its size keeps its place.
fn place(lines: &mut Vec<Line>, tag: String, count: u32) -> Option<u32> {
    if let Some(own) = lines.iter().find(|l| l.tag == tag && l.count == count) {
        return Some(own.first);
    }
    lines.retain(|line| line.tag != tag);
    lines.sort_by_key(|line| line.first);
    let mut first = FIRST;
    for line in lines.iter() {
        if first.checked_add(count)? <= line.first {
            break;
        }
        first = first.max(line.first.checked_add(line.count)?);
    }
    if first.checked_add(count)?.checked_sub(1)? > LAST {
        return None;
    }
    lines.push(Line { tag, first, count });
    Some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_or_left_out() {
        let line = Line {
            tag: "e40c292c".into(),
            first: 1000,
            count: 3,
        };
        assert_eq!(parse("e40c292c 1000 3"), Some(line));
        for bad in ["", "e40c292c 1000", "e40c292c 1000 3 4", "e40c292c x 3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn instances_of_different_sizes_lie_side_by_side() {
        let mut lines = Vec::new();
        let mut claim = |tag: &str, count| place(&mut lines, tag.to_owned(), count);
        assert_eq!(claim("a", 3000), Some(1000));
        assert_eq!(claim("b", 1500), Some(4000));
        assert_eq!(claim("a", 3000), Some(1000), "as before");
        assert_eq!(claim("a", 6000), Some(5500), "it has outgrown its place");
        assert_eq!(claim("c", 3000), Some(1000));
        assert_eq!(claim("d", 60_000), None);
        assert_eq!(claim("d", 54_036), Some(11_500), "to the last");
        assert_eq!(claim("e", 1), None);
    }

    proptest! {
        #[test]
        fn no_pipe_is_of_two(claims in proptest::collection::vec((0_u8..6, 1_u32..20_000), 0..40)) {
            let mut lines = Vec::new();
            for (tag, count) in claims {
                let had = lines.clone();
                let Some(first) = place(&mut lines, tag.to_string(), count) else {
                    continue;
                };
                let own = |l: &&Line| l.tag == tag.to_string();
                prop_assert_eq!(lines.iter().filter(own).count(), 1);
                prop_assert!(first >= FIRST && first + count - 1 <= LAST);
                for other in lines.iter().filter(|l| !own(l)) {
                    prop_assert!(other.first + other.count <= first || first + count <= other.first);
                    prop_assert!(had.contains(other));
                }
            }
        }
    }
}
