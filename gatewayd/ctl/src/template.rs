//! `template`: root file systems that sandboxes begin with.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args::Template;
use crate::cp::stream;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field, table};
use crate::place::Place;

type Archive = tar::Builder<io::BufWriter<io::PipeWriter>>;

/// What disks are whole numbers of, in bytes.
const SECTOR: u64 = 512;

pub(crate) async fn run(place: &Place, command: Template, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    match command {
        Template::List => {
            let answer = api.call(Method::GET, "/admin/templates", None).await?;
            let row = |t: &Value| ["name", "createdAt"].map(|f| field(t, f)).to_vec();
            let rows: Vec<Vec<String>> = answer.as_array().into_iter().flatten().map(row).collect();
            output.result(&answer, &table(&["NAME", "CREATED"], &rows));
        }
        Template::ImportDir { name, dir } => import_dir(&api, &name, dir, output).await?,
        Template::ImportTar { name, file } => {
            let body = if file == Path::new("-") {
                stream(tokio::io::stdin())
            } else {
                let opened = tokio::fs::File::open(&file).await;
                stream(opened.map_err(|e| Error::io(format!("read {}", file.display()), e))?)
            };
            let answer = api.upload(&path(&name), "application/x-tar", body).await?;
            output.result(&answer, "");
        }
        Template::ImportRaw { name, file } => import_raw(&api, &name, &file, output).await?,
        Template::Remove { name } => {
            api.call(Method::DELETE, &path(&name), None).await?;
            output.result(&json!({ "removed": name }), "");
        }
    }
    Ok(0)
}

fn path(name: &str) -> String {
    format!("/admin/templates/{}", encode(name))
}

/// The directory as a tar stream; what is below it is named, never followed out of it.
async fn import_dir(api: &Api, name: &str, dir: PathBuf, output: Output) -> Result<(), Error> {
    let what = format!("read {}", dir.display());
    let meta = std::fs::symlink_metadata(&dir).map_err(|e| Error::io(&what, e))?;
    if !meta.is_dir() {
        return Err(Error::Usage(format!(
            "{} is not a directory",
            dir.display()
        )));
    }
    let fill = move |tar: &mut Archive| tar.append_dir_all(".", &dir);
    pack(api, name, what, fill, output).await
}

/// The image of a disk as the only file of a template for machines; holes stay holes.
async fn import_raw(api: &Api, name: &str, path: &Path, output: Output) -> Result<(), Error> {
    let what = format!("read {}", path.display());
    let wrong = |why: &str| Error::Usage(format!("{}: {why}", path.display()));
    // Looked at before it is opened: opening a FIFO waits for whoever writes it.
    let meta = std::fs::metadata(path).map_err(|e| Error::io(&what, e))?;
    if !meta.is_file() {
        return Err(wrong("not a file"));
    }
    let mut file = File::open(path).map_err(|e| Error::io(&what, e))?;
    let mut first = Vec::new();
    io::Read::by_ref(&mut file)
        .take(SECTOR)
        .read_to_end(&mut first)
        .and_then(|_| file.rewind())
        .map_err(|e| Error::io(&what, e))?;
    is_disk(&first, meta.len()).map_err(wrong)?;
    let fill = move |tar: &mut Archive| tar.append_file("disk.raw", &mut file);
    pack(api, name, what, fill, output).await
}

/// Whether an image of this length, with this at its beginning, is one that a machine could boot from, as it is.
fn is_disk(first: &[u8], length: u64) -> Result<(), &'static str> {
    if length == 0 || !length.is_multiple_of(SECTOR) {
        return Err("no image of a disk: not a whole number of sectors of 512 bytes, or empty");
    }
    // Of the (protective) MBR in front of any table of partitions.
    if first.get(510..512) != Some(&[0x55, 0xaa]) {
        return Err(
            "no raw image of a disk with partitions; `qemu-img convert -O raw` makes one of other kinds",
        );
    }
    Ok(())
}

/// What `fill` puts into an archive becomes a template; `what` is what it does.
async fn pack(
    api: &Api,
    name: &str,
    what: String,
    fill: impl FnOnce(&mut Archive) -> io::Result<()> + Send + 'static,
    output: Output,
) -> Result<(), Error> {
    let (reader, writer) = io::pipe().map_err(|e| Error::io("make a pipe", e))?;
    let packing = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(64 * 1024, writer));
        tar.follow_symlinks(false);
        fill(&mut tar)?;
        io::Write::flush(&mut tar.into_inner()?)
    });
    let reader = tokio::fs::File::from_std(File::from(OwnedFd::from(reader)));
    let sent = api
        .upload(&path(name), "application/x-tar", stream(reader))
        .await;
    let packed = packing.await.map_err(|e| Error::Failed(e.to_string()))?;
    match (sent, packed) {
        // A refusal closes the pipe, so packing fails as well: the refusal says more.
        (Err(refused), _) => Err(refused),
        // The stream ended early, and the server must not keep half a template.
        (Ok(_), Err(source)) => {
            let _ = api.call(Method::DELETE, &path(name), None).await;
            Err(Error::io(what, source))
        }
        (Ok(answer), Ok(())) => {
            output.result(&answer, "");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_raw_images_of_disks_are_taken() {
        let mut first = vec![0; 512];
        first[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(is_disk(&first, 512), Ok(()));
        assert_eq!(is_disk(&first, 1 << 30), Ok(()));
        for length in [0, 511, 513, (1 << 30) + 1] {
            assert!(is_disk(&first, length).is_err(), "{length}");
        }
        for wrong in [&b"QFI\xfb"[..], b"", &first[..511], &[0; 512]] {
            let why = is_disk(wrong, 1024).expect_err("no table");
            assert!(why.contains("qemu-img"), "{why}");
        }
    }

    /// A mostly empty image takes little of an archive, and comes out of it as it was.
    #[test]
    fn holes_stay_holes() {
        let mut image = tempfile::tempfile().expect("room");
        image.set_len(64 << 20).expect("room");
        io::Seek::seek(&mut image, io::SeekFrom::Start(32 << 20)).expect("seeks");
        io::Write::write_all(&mut image, &[7; 4096]).expect("room");
        image.rewind().expect("seeks");
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_file("disk.raw", &mut image).expect("packs");
        let archive = tar.into_inner().expect("whole");
        // Where the file system has no holes it is as long as the image.
        let holes =
            std::os::unix::fs::MetadataExt::blocks(&image.metadata().expect("there")) < 1 << 16;
        assert!(!holes || archive.len() < 1 << 20, "{}", archive.len());
        let mut archive = tar::Archive::new(&archive[..]);
        let mut entries = archive.entries().expect("an archive");
        let mut file = entries.next().expect("one").expect("whole");
        let mut read = Vec::new();
        file.read_to_end(&mut read).expect("whole");
        assert_eq!(read.len(), 64 << 20);
        assert!(read.iter().position(|b| *b == 7) == Some(32 << 20));
        assert!(entries.next().is_none());
    }
}
