//! The last words to a client.

use std::time::Duration;

use tokio::time::timeout;

use super::io::{CHUNK, end, read_some, write_all};
use crate::connection::Connection;

/// How long a client may take to read them and to end its side.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What it may send meanwhile.
const UNREAD: usize = 1024 * 1024;

/// Says them and closes. What the client still sends is read and forgotten: unread, it would make the kernel reset the
/// connection, and the client's kernel forget what it was told.
pub(super) async fn say(client: Connection, words: &[u8]) {
    let said = async {
        write_all(&client, words).await?;
        end(&client)?;
        let mut unread = 0;
        while unread < UNREAD {
            match read_some(&client, CHUNK, <[u8]>::len).await? {
                0 => return Ok(true),
                count => unread += count,
            }
        }
        std::io::Result::Ok(false)
    };
    // A client that goes on sending is reset.
    if let Ok(Ok(true)) = timeout(LAST_WORDS, said).await {
        client.finish();
    }
}
