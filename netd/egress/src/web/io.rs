//! Bytes from one connection to the other, with no buffer for those that are idle.

use std::cell::RefCell;
use std::io;

use rustix::net::Shutdown;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

use super::held::{Held, Share};
use crate::connection::Connection;

/// Most bytes that are read at once.
pub(super) const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Where every read of this thread goes. What the other side does not take at once is copied from here.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Waits until there is something, and hands at most `most` bytes of it to `take`; none at all at the end.
pub(super) async fn read_some<T>(
    stream: &TcpStream,
    most: usize,
    mut take: impl FnMut(&[u8]) -> T,
) -> io::Result<T> {
    loop {
        stream.readable().await?;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let count = stream.try_read(&mut scratch[..most.min(CHUNK)])?;
            Ok(take(&scratch[..count]))
        });
        match read {
            Err(error) if again(&error) => {}
            read => return read,
        }
    }
}

fn again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Writes all of it, however long the other side takes.
pub(super) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells the other side that nothing follows.
pub(super) fn end(stream: &TcpStream) -> io::Result<()> {
    Ok(rustix::net::shutdown(stream, Shutdown::Write)?)
}

/// Copies until the end, which is passed on. `sent` sees what the other side's kernel has taken.
pub(super) async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    share: &Share,
    mut sent: impl FnMut(&[u8]),
) -> io::Result<()> {
    loop {
        // Two fast sides must not keep all others waiting.
        consume_budget().await;
        let read = read_some(from, share.most(), |bytes| {
            if bytes.is_empty() {
                return Ok(None);
            }
            let taken = match to.try_write(bytes) {
                Ok(count) => count,
                Err(error) if again(&error) => 0,
                Err(error) => return Err(error),
            };
            if taken == bytes.len() {
                sent(bytes);
                return Ok(Some((Vec::new(), 0)));
            }
            Ok(Some((bytes.to_vec(), taken)))
        });
        match read.await?? {
            None => return end(to),
            Some((left, taken)) if !left.is_empty() => {
                let _held = Held::new(share, left.len());
                write_all(to, &left[taken..]).await?;
                sent(&left);
            }
            Some(_) => {}
        }
    }
}

/// Both ways, until both have ended. What came from the client before goes first. If one side is reset, so is the other.
pub(super) async fn relay(client: Connection, server: Connection, share: &Share, first: Vec<u8>) {
    let up = async {
        let held = Held::new(share, first.len());
        write_all(&server, &first).await?;
        drop((first, held));
        copy(&client, &server, share, |_| {}).await
    };
    let both = tokio::try_join!(up, copy(&server, &client, share, |_| {}));
    if both.is_ok() {
        tokio::join!(client.finish_taken(), server.finish_taken());
    }
}
