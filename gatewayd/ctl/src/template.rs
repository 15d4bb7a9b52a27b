//! `template`: root file systems that sandboxes begin with.

use std::fs::File;
use std::io;
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
    let (reader, writer) = io::pipe().map_err(|e| Error::io("make a pipe", e))?;
    let packing = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(64 * 1024, writer));
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &dir)?;
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
