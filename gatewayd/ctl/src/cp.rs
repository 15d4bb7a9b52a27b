//! `cp`: a file into a sandbox or out of it.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use crate::api::Sandbox;
use crate::args;
use crate::error::Error;
use crate::http::{Body, Target};
use crate::output::Output;
use crate::place::Place;
use crate::process::Agent;

/// One end of the copy.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// A path here; `-` is a standard stream.
    Here(PathBuf),
    /// A path in a sandbox.
    There(String, String),
}

impl End {
    fn parse(text: &str) -> Self {
        match text.split_once(':') {
            // `./a:b` is a file here.
            Some((id, path)) if !id.contains('/') => Self::There(id.to_owned(), path.to_owned()),
            _ => Self::Here(PathBuf::from(text)),
        }
    }
}

pub(crate) async fn run(place: &Place, options: args::Cp, output: Output) -> Result<u8, Error> {
    let user = options.user.as_deref();
    let agent = |id: &str| Agent::new(&Target::admin(place), &Sandbox::new(id), user);
    let (from, to) = match (End::parse(&options.from), End::parse(&options.to)) {
        (End::Here(from), End::There(id, to)) => {
            let to = name_for(&to, &from)?;
            let body = if from == Path::new("-") {
                stream(tokio::io::stdin())
            } else {
                stream(open(&from).await?)
            };
            agent(&id).write_file(&to, user, body).await?;
            (options.from, format!("{id}:{to}"))
        }
        (End::There(id, from), End::Here(to)) => {
            if to == Path::new("-") {
                let (_connection, body) = agent(&id).read_file(&from, user).await?;
                drain(body, tokio::io::stdout(), "standard output").await?;
                return Ok(0);
            }
            let to = if to.is_dir() {
                to.join(last(&from)?)
            } else {
                to
            };
            let (_connection, body) = agent(&id).read_file(&from, user).await?;
            // Made only once the sandbox answered, so a missing file leaves nothing here.
            let shown = to.display().to_string();
            let file = File::create(&to)
                .await
                .map_err(|e| Error::io(format!("write {shown}"), e))?;
            drain(body, file, &shown).await?;
            (options.from, shown)
        }
        _ => {
            let advice = "one of the two must be SANDBOX:PATH, the other a file here or `-`";
            return Err(Error::Usage(advice.to_owned()));
        }
    };
    output.result(&json!({ "from": from, "to": to }), "");
    Ok(0)
}

async fn open(path: &Path) -> Result<File, Error> {
    let what = || format!("read {}", path.display());
    let file = File::open(path).await.map_err(|e| Error::io(what(), e))?;
    let meta = file.metadata().await.map_err(|e| Error::io(what(), e))?;
    if meta.is_dir() {
        let text = format!(
            "{} is a directory: `tar -c DIR | warder exec ID tar -x` copies one",
            path.display()
        );
        return Err(Error::Usage(text));
    }
    Ok(file)
}

/// The path in the sandbox: with nothing or a `/` at its end, the file keeps its name.
fn name_for(to: &str, from: &Path) -> Result<String, Error> {
    if !to.is_empty() && !to.ends_with('/') {
        return Ok(to.to_owned());
    }
    let name = from
        .file_name()
        .and_then(|n| n.to_str())
        .filter(|n| *n != "-");
    let name = name.ok_or_else(|| Error::Usage("name the file in the sandbox".to_owned()))?;
    Ok(format!("{to}{name}"))
}

/// The last part of a path in a sandbox; never `..` or empty, so it stays in the directory named here.
fn last(path: &str) -> Result<&str, Error> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name == "." || name == ".." {
        return Err(Error::Usage(format!("{path} names no file")));
    }
    Ok(name)
}

/// Anything readable as a request's body.
pub(crate) fn stream(reader: impl AsyncRead + Send + 'static) -> Body {
    let frames = ReaderStream::with_capacity(reader, 64 * 1024).map(|chunk| chunk.map(Frame::data));
    StreamBody::new(frames).boxed_unsync()
}

async fn drain(
    mut body: hyper::body::Incoming,
    mut to: impl AsyncWrite + Unpin,
    name: &str,
) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io(format!("write {name}"), e);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            to.write_all(&data).await.map_err(failed)?;
        }
    }
    to.flush().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(
            End::parse("i1:/a:b"),
            End::There("i1".to_owned(), "/a:b".to_owned())
        );
        assert_eq!(End::parse("./i1:b"), End::Here(PathBuf::from("./i1:b")));
    }

    #[test]
    fn names_stay_in_their_directory() {
        assert_eq!(
            name_for("/tmp/", Path::new("/x/y")).expect("named"),
            "/tmp/y"
        );
        assert!(name_for("", Path::new("-")).is_err());
        assert!(last("/a/..").is_err());
        assert_eq!(last("a/b").expect("named"), "b");
    }
}
