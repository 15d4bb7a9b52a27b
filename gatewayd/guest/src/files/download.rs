//! `GET /files`.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http::{HeaderValue, Request, Response, StatusCode, header};
use rustix::fs::{Mode, OFlags};

use super::access::{self, Operation};
use super::body::{CHUNK, FileBody, on_helper, read_some};
use super::encoding::{self, Coding};
use super::query::{self, Query};
use super::range::{self, Condition, Part};
use crate::agent::Agent;
use crate::http::{ApiError, Body, RequestBody};
use crate::paths;

/// A file with its first bytes: they tell what its size does not, for files of /proc and /sys.
struct Opened {
    file: File,
    head: Vec<u8>,
    /// The head is all of it.
    complete: bool,
    size: u64,
    modified: SystemTime,
}

enum OpenError {
    Directory,
    Special,
    Io(io::Error),
}

pub(crate) async fn get(
    agent: &Agent,
    request: Request<RequestBody>,
) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(request.uri().query())?;
    let headers = request.headers();
    access::check(agent, headers, &query, Operation::Read)?;
    let user = access::user(agent, query.username.as_deref())?;
    let path = {
        let settings = agent.settings.borrow();
        let given = query.path.as_deref().unwrap_or("");
        paths::resolve(given, &user, settings.workdir.as_deref()).map_err(ApiError::bad_request)?
    };
    let coding = match encoding::choose(headers) {
        Coding::None => {
            return Err(ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                "none of the encodings in Accept-Encoding is available; identity and gzip are",
            ));
        }
        Coding::Gzip if range::any(headers) => Coding::Identity,
        chosen => chosen,
    };
    let opened = {
        let path = path.clone();
        on_helper(move || Ok(open(&path))).await
    };
    let opened = opened.unwrap_or_else(|error| Err(OpenError::Io(error)));
    let opened = opened.map_err(|error| open_error(&path, error))?;
    let mut response = answer(opened, headers, coding).map_err(|error| {
        ApiError::io(
            format_args!("error reading file '{}'", path.display()),
            &error,
        )
    })?;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(&path)),
    );
    headers.insert(header::CONTENT_DISPOSITION, disposition(&path));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

/// Looks before it opens, and again after: opening a pipe would wait, opening a device may do things.
fn open(path: &Path) -> Result<Opened, OpenError> {
    let kind = std::fs::metadata(path).map_err(OpenError::Io)?;
    if kind.is_dir() {
        return Err(OpenError::Directory);
    }
    if !kind.is_file() {
        return Err(OpenError::Special);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| OpenError::Io(errno.into()))?;
    let file = File::from(fd);
    let about = file.metadata().map_err(OpenError::Io)?;
    if !about.is_file() {
        return Err(OpenError::Special);
    }
    begin(file).map_err(OpenError::Io)
}

/// A file that is open, without compression and further headers.
///
/// # Errors
/// What the file system says.
pub(crate) async fn plain(file: File, headers: &http::HeaderMap) -> io::Result<Response<Body>> {
    let opened = on_helper(move || begin(file)).await?;
    answer(opened, headers, Coding::Identity)
}

fn begin(mut file: File) -> io::Result<Opened> {
    let about = file.metadata()?;
    // One byte more than a small file has shows that it is complete.
    let first = usize::try_from(about.len())
        .unwrap_or(CHUNK)
        .saturating_add(1)
        .clamp(4096, CHUNK);
    let mut head = vec![0; first];
    let n = read_some(&mut file, &mut head)?;
    head.truncate(n);
    Ok(Opened {
        file,
        head,
        complete: n < first,
        size: about.len(),
        modified: about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn open_error(path: &Path, error: OpenError) -> ApiError {
    let path = path.display();
    match error {
        OpenError::Directory => ApiError::bad_request(format_args!("path '{path}' is a directory")),
        OpenError::Special => {
            ApiError::bad_request(format_args!("path '{path}' is not a regular file"))
        }
        OpenError::Io(error) if error.kind() == io::ErrorKind::NotFound => ApiError::new(
            StatusCode::NOT_FOUND,
            format_args!("path '{path}' does not exist"),
        ),
        OpenError::Io(error) => ApiError::io(format_args!("error opening file '{path}'"), &error),
    }
}

fn answer(
    mut opened: Opened,
    headers: &http::HeaderMap,
    coding: Coding,
) -> io::Result<Response<Body>> {
    // The size that counts: what is there, where that is known.
    let size = if opened.complete {
        opened.head.len() as u64
    } else {
        opened.size
    };
    // /proc: it goes on, and nobody knows how far.
    let endless = !opened.complete && opened.size <= opened.head.len() as u64;
    let modified = httpdate::fmt_http_date(range::whole_seconds(opened.modified));
    let modified = HeaderValue::from_str(&modified).map_err(io::Error::other)?;

    let mut response = Response::new(Body::Empty);
    response
        .headers_mut()
        .insert(header::LAST_MODIFIED, modified);
    match range::condition(headers, opened.modified) {
        Condition::Send => {}
        Condition::NotModified => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Condition::Failed => {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            return Ok(response);
        }
    }
    if coding == Coding::Gzip {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = Body::stream(FileBody::gzip(&opened.head, opened.file)?);
        return Ok(response);
    }
    let part = if endless {
        Part::Whole
    } else {
        range::part(headers, size, opened.modified)
    };
    match part {
        Part::Whole if opened.complete => *response.body_mut() = opened.head.into(),
        Part::Whole => {
            let rest = (!endless).then(|| size - opened.head.len() as u64);
            *response.body_mut() = Body::stream(FileBody::new(opened.head, opened.file, rest));
        }
        Part::Some { start, length } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            content_range(
                &mut response,
                format!("bytes {start}-{}/{size}", start + length - 1),
            )?;
            opened.file.seek(SeekFrom::Start(start))?;
            *response.body_mut() =
                Body::stream(FileBody::new(Vec::new(), opened.file, Some(length)));
        }
        Part::Outside => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            content_range(&mut response, format!("bytes */{size}"))?;
        }
    }
    Ok(response)
}

fn content_range(response: &mut Response<Body>, text: String) -> io::Result<()> {
    let value = HeaderValue::try_from(text).map_err(io::Error::other)?;
    response.headers_mut().insert(header::CONTENT_RANGE, value);
    Ok(())
}

/// By the name's ending. What a browser would run is plain text: several sandboxes may share an origin.
fn content_type(path: &Path) -> &'static str {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or("");
    match ending.to_ascii_lowercase().as_str() {
        "txt" | "log" | "md" | "py" | "rs" | "sh" | "ts" | "js" | "mjs" | "html" | "htm"
        | "xml" | "svg" | "xhtml" | "yaml" | "yml" | "toml" | "ini" => "text/plain; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "gz" | "tgz" => "application/gzip",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

/// `inline; filename=…`, in the extended form where the name needs it (RFC 6266).
fn disposition(path: &Path) -> HeaderValue {
    let name = path.file_name().map_or_else(PathBuf::new, PathBuf::from);
    let name = name.to_string_lossy();
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte));
    let text = if plain && !name.is_empty() {
        format!("inline; filename={name}")
    } else {
        format!("inline; filename*=utf-8''{}", query::encode(&name))
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("inline"))
}
