//! `ListDir`.

use std::fs;
use std::path::Path;

use warder_connect::ConnectError;
use warder_connect::filesystem::EntryInfo;

use super::{entry, failed};
use crate::users::Names;

/// What is in a directory, `depth` levels down, each directory before what is in it, names in order. A link
/// as `path` is followed, links below are not.
pub(super) fn dir(path: &Path, depth: u32) -> Result<Vec<EntryInfo>, ConnectError> {
    let about = fs::metadata(path).map_err(|error| failed("listing", path, &error))?;
    if !about.is_dir() {
        return Err(ConnectError::invalid(format_args!(
            "path is not a directory: {}",
            path.display()
        )));
    }
    let names = Names::load();
    let mut found = Vec::new();
    // Depth first without recursion: a tree may be deeper than a helper's stack.
    let mut waiting = vec![(
        sorted(path).map_err(|error| failed("listing", path, &error))?,
        1,
    )];
    while let Some((names_left, level)) = waiting.last_mut() {
        let Some(child) = names_left.pop() else {
            waiting.pop();
            continue;
        };
        let level = *level;
        // Gone since it was listed: as if it had never been there.
        let Ok(info) = entry::info(&child, &names) else {
            continue;
        };
        let is_dir = info.permissions.starts_with('d');
        found.push(info);
        if is_dir
            && level < depth
            && let Ok(below) = sorted(&child)
        {
            waiting.push((below, level + 1));
        }
    }
    Ok(found)
}

/// Children in falling order, to be popped.
fn sorted(path: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut children = fs::read_dir(path)?
        .filter_map(|child| Some(child.ok()?.file_name()))
        .collect::<Vec<_>>();
    children.sort_unstable_by(|a, b| b.cmp(a));
    Ok(children.into_iter().map(|name| path.join(name)).collect())
}
