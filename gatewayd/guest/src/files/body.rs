//! File contents on their way through, on the helper threads.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes read from a file at a time.
pub(super) const CHUNK: usize = 128 * 1024;

/// Runs `work` on a helper thread, where it may wait for a disk.
pub(crate) async fn on_helper<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// What one step of a helper gives: the reader back, and the next bytes (none at the end).
type Step = io::Result<(Reader, Vec<u8>)>;

/// Reads a file in chunks, compressing if asked to.
struct Reader {
    file: File,
    /// Bytes still to read; `None` is to the end, whatever the size says.
    left: Option<u64>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    ended: bool,
}

impl Reader {
    fn step(mut self) -> Step {
        loop {
            if self.ended {
                return Ok((self, Vec::new()));
            }
            let want = self.left.map_or(CHUNK, |left| {
                usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)
            });
            let mut chunk = vec![0; want];
            let n = read_some(&mut self.file, &mut chunk)?;
            chunk.truncate(n);
            if let Some(left) = &mut self.left {
                *left -= n as u64;
                if n == 0 && *left > 0 {
                    // A length was promised.
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file became shorter",
                    ));
                }
            }
            self.ended = n == 0 || self.left == Some(0);
            let out = self.encode(chunk)?;
            if !out.is_empty() {
                return Ok((self, out));
            }
        }
    }

    fn encode(&mut self, chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        use io::Write as _;
        let Some(mut gzip) = self.gzip.take() else {
            return Ok(chunk);
        };
        gzip.write_all(&chunk)?;
        if self.ended {
            return gzip.finish();
        }
        let out = std::mem::take(gzip.get_mut());
        self.gzip = Some(gzip);
        Ok(out)
    }
}

/// One read that fills `buffer` as far as the file allows.
pub(super) fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file as a response body.
pub(super) struct FileBody {
    /// Bytes read already.
    head: Option<Bytes>,
    reader: Option<Reader>,
    running: Option<JoinHandle<Step>>,
    length: Option<u64>,
}

impl FileBody {
    /// `head`, then what follows in `file`: `rest` bytes, or all there is.
    pub(super) fn new(head: Vec<u8>, file: File, rest: Option<u64>) -> Self {
        Self {
            length: rest.map(|rest| rest + head.len() as u64),
            head: Some(head.into()),
            reader: Some(Reader {
                file,
                left: rest,
                gzip: None,
                ended: rest == Some(0),
            }),
            running: None,
        }
    }

    /// The same, compressed.
    pub(super) fn gzip(head: &[u8], file: File) -> io::Result<Self> {
        use io::Write as _;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(head)?;
        Ok(Self {
            length: None,
            head: None,
            reader: Some(Reader {
                file,
                left: None,
                gzip: Some(encoder),
                ended: false,
            }),
            running: None,
        })
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(head) = this.head.take().filter(|head| !head.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        if let Some(reader) = this.reader.take() {
            this.running = Some(spawn_blocking(move || reader.step()));
        }
        let Some(running) = &mut this.running else {
            return Poll::Ready(None);
        };
        let step = ready!(Pin::new(running).poll(cx));
        this.running = None;
        Poll::Ready(
            match step.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok((_, bytes)) if bytes.is_empty() => None,
                Ok((reader, bytes)) => {
                    if !reader.ended {
                        this.reader = Some(reader);
                    }
                    Some(Ok(Frame::data(bytes.into())))
                }
                Err(error) => Some(Err(error)),
            },
        )
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
