//! `POST /files`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::Serialize;

use super::access::{self, Operation};
use super::body::on_helper;
use super::multipart::{Event, Parser};
use super::query::Query;
use super::{metadata, target};
use crate::agent::Agent;
use crate::http::{ApiError, Body, RequestBody, json};
use crate::paths;
use crate::users::User;

/// Bytes gathered before a helper thread writes them.
const BATCH: usize = 256 * 1024;
/// Compressed bytes decoded at a time: a bomb grows to about a thousand times this, not more.
const GZIP_SLICE: usize = 4096;

/// What was written.
#[derive(Serialize)]
pub(super) struct Written {
    pub(super) path: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

pub(crate) async fn post(
    agent: &Agent,
    request: Request<RequestBody>,
) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(request.uri().query())?;
    let headers = request.headers();
    access::check(agent, headers, &query, Operation::Write)?;
    let user = access::user(agent, query.username.as_deref())?;
    let workdir = agent.settings.borrow().workdir.clone();
    let resolve =
        |text: &str| paths::resolve(text, &user, workdir.as_deref()).map_err(ApiError::bad_request);
    let metadata = metadata::from_headers(headers)?;
    let content_type = text(headers, header::CONTENT_TYPE).to_owned();
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let given = query.path.as_deref().filter(|path| !path.is_empty());
    let mut source = Source::new(request)?;

    let written = match essence.as_str() {
        "multipart/form-data" => {
            let fixed = given.map(resolve).transpose()?;
            form(&mut source, &content_type, fixed, resolve, &user, &metadata).await?
        }
        "application/octet-stream" => {
            let path = given.ok_or_else(|| {
                ApiError::bad_request("path is required for octet-stream uploads")
            })?;
            let path = resolve(path)?;
            let mut sink = Sink::open(&path, &user, &metadata, source.size).await?;
            while let Some(chunk) = source.chunk().await? {
                sink.write(chunk).await?;
            }
            sink.close().await?;
            vec![path]
        }
        _ => {
            return Err(ApiError::bad_request(
                "Content-Type must be multipart/form-data or application/octet-stream",
            ));
        }
    };
    let metadata: BTreeMap<_, _> = metadata.into_iter().collect();
    let answer: Vec<Written> = written
        .iter()
        .map(|path| Written {
            path: paths::text(path),
            name: paths::text(&target::name_of(path)),
            kind: "file",
            metadata: metadata.clone(),
        })
        .collect();
    Ok(json(&answer))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
        .trim()
}

/// The parts named `file`; all others are passed over.
async fn form(
    source: &mut Source,
    content_type: &str,
    fixed: Option<PathBuf>,
    resolve: impl Fn(&str) -> Result<PathBuf, ApiError>,
    user: &User,
    metadata: &[(String, String)],
) -> Result<Vec<PathBuf>, ApiError> {
    let mut parser = Parser::new(content_type).map_err(ApiError::bad_request)?;
    let mut written: Vec<PathBuf> = Vec::new();
    let mut sink: Option<Sink> = None;
    while let Some(chunk) = source.chunk().await? {
        parser.push(&chunk);
        while let Some(event) = parser.next_event().map_err(ApiError::bad_request)? {
            match event {
                Event::Part { name, filename } if name == "file" => {
                    let path = match (&fixed, filename.filter(|name| !name.is_empty())) {
                        (Some(path), _) => path.clone(),
                        (None, Some(filename)) => resolve(&filename)?,
                        (None, None) => {
                            return Err(ApiError::bad_request("a file needs a path or a filename"));
                        }
                    };
                    if written.contains(&path) {
                        return Err(ApiError::bad_request(format_args!(
                            "you cannot upload multiple files to the same path '{}'; use each path once",
                            path.display()
                        )));
                    }
                    sink = Some(Sink::open(&path, user, metadata, None).await?);
                    written.push(path);
                }
                Event::Part { .. } => sink = None,
                Event::Data(data) => {
                    if let Some(sink) = &mut sink {
                        sink.write(data).await?;
                    }
                }
                Event::EndOfPart => {
                    if let Some(sink) = sink.take() {
                        sink.close().await?;
                    }
                }
                Event::End => {}
            }
        }
    }
    parser.finish().map_err(ApiError::bad_request)?;
    Ok(written)
}

/// The request's body, decoded.
pub(crate) struct Source {
    body: RequestBody,
    gzip: Option<MultiGzDecoder<Vec<u8>>>,
    /// Compressed bytes that wait.
    waiting: Bytes,
    /// How much content will come, if known.
    size: Option<u64>,
}

impl Source {
    /// # Errors
    /// 400 for an encoding that is not known.
    pub(crate) fn new(request: Request<RequestBody>) -> Result<Self, ApiError> {
        let encoding = text(request.headers(), header::CONTENT_ENCODING);
        let gzip = match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => None,
            "gzip" | "x-gzip" => Some(MultiGzDecoder::new(Vec::new())),
            _ => {
                return Err(ApiError::bad_request(
                    "Content-Encoding must be gzip or identity",
                ));
            }
        };
        let body = request.into_body();
        let size = if gzip.is_none() {
            body.size_hint().exact()
        } else {
            None
        };
        Ok(Self {
            body,
            gzip,
            waiting: Bytes::new(),
            size,
        })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// 400 when it breaks off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if !self.waiting.is_empty() {
                let slice = self.waiting.split_to(self.waiting.len().min(GZIP_SLICE));
                let decoded = self.decode(|decoder| decoder.write_all(&slice))?;
                if decoded.is_empty() {
                    continue;
                }
                return Ok(Some(decoded));
            }
            match self.body.frame().await {
                Some(frame) => {
                    let Ok(data) = frame.map_err(ApiError::bad_request)?.into_data() else {
                        continue;
                    };
                    if self.gzip.is_none() {
                        return Ok(Some(data));
                    }
                    self.waiting = data;
                }
                None => {
                    let rest = self.decode(MultiGzDecoder::try_finish)?;
                    self.gzip = None;
                    return Ok((!rest.is_empty()).then_some(rest));
                }
            }
        }
    }

    fn decode(
        &mut self,
        step: impl FnOnce(&mut MultiGzDecoder<Vec<u8>>) -> io::Result<()>,
    ) -> Result<Bytes, ApiError> {
        let Some(decoder) = &mut self.gzip else {
            return Ok(Bytes::new());
        };
        step(decoder)
            .map_err(|error| ApiError::bad_request(format_args!("invalid gzip body: {error}")))?;
        Ok(std::mem::take(decoder.get_mut()).into())
    }
}

/// A file being written on helper threads.
pub(crate) struct Sink {
    path: PathBuf,
    /// Absent while a helper has it.
    file: Option<File>,
    batch: Vec<Bytes>,
    size: usize,
}

impl Sink {
    /// Into a file that is open; `path` is for errors.
    pub(crate) fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file: Some(file),
            batch: Vec::new(),
            size: 0,
        }
    }

    async fn open(
        path: &Path,
        user: &User,
        metadata: &[(String, String)],
        size: Option<u64>,
    ) -> Result<Self, ApiError> {
        let (owned, user, metadata) = (path.to_owned(), user.clone(), metadata.to_vec());
        let file = on_helper(move || Ok(target::open(&owned, &user, &metadata, size)))
            .await
            .unwrap_or_else(|error| Err(ApiError::io("error opening file", &error)))?;
        Ok(Self::new(path.to_owned(), file))
    }

    /// # Errors
    /// What the file system says.
    pub(crate) async fn write(&mut self, data: Bytes) -> Result<(), ApiError> {
        self.size += data.len();
        self.batch.push(data);
        if self.size >= BATCH {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> Result<(), ApiError> {
        let (batch, Some(mut file)) = (std::mem::take(&mut self.batch), self.file.take()) else {
            return Ok(());
        };
        self.size = 0;
        let write = move || {
            for part in batch {
                file.write_all(&part)?;
            }
            Ok(file)
        };
        let file = on_helper(write).await.map_err(|error| {
            ApiError::io(
                format_args!("error writing file '{}'", self.path.display()),
                &error,
            )
        })?;
        self.file = Some(file);
        Ok(())
    }

    /// # Errors
    /// What the file system says.
    pub(crate) async fn close(mut self) -> Result<(), ApiError> {
        if self.batch.is_empty() {
            Ok(())
        } else {
            self.flush().await
        }
    }
}
