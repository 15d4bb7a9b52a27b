//! What the gateway is made of, under its filter: a tokio runtime with workers, and a redb database.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, TableDefinition};
use rustix::fs::{Mode, OFlags, openat};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("things");

/// Made before the filter.
pub(crate) struct Server {
    runtime: Runtime,
    database: Database,
}

impl Server {
    pub(crate) fn new(directory: BorrowedFd<'_>) -> Self {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(openat(directory, "things", flags, mode).expect("state"));
        let backend = FileBackend::new(file).expect("flock");
        let database = Database::builder()
            .create_with_backend(backend)
            .expect("a database");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_io()
            .enable_time()
            .build()
            .expect("a runtime");
        Self { runtime, database }
    }

    /// Serves one connection, with timers, tasks and transactions.
    pub(crate) fn serve(self, listener: TcpListener, mut client: &TcpStream) {
        client.write_all(b"ping").expect("send");
        listener.set_nonblocking(true).expect("FIONBIO");
        let database = self.database;
        self.runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("epoll_ctl");
            let (mut server, _) = listener.accept().await.expect("accept4");
            server.set_nodelay(true).expect("TCP_NODELAY");
            let mut heard = [0; 4];
            server.read_exact(&mut heard).await.expect("receive");
            tokio::time::sleep(Duration::from_millis(3)).await;
            let task = tokio::spawn(async move { heard.len() });
            assert_eq!(task.await.expect("a task"), 4);
            for round in 0..20_u32 {
                let bytes = vec![u8::try_from(round).expect("small"); 100_000];
                let write = database.begin_write().expect("a transaction");
                let mut table = write.open_table(TABLE).expect("a table");
                table
                    .insert(round.to_string().as_str(), bytes.as_slice())
                    .expect("a row");
                drop(table);
                write.commit().expect("on disk");
            }
            let read = database.begin_read().expect("a transaction");
            let table = read.open_table(TABLE).expect("a table");
            assert!(table.get("7").expect("reads").is_some());
            let (mut near, mut far) = tokio::net::UnixStream::pair().expect("socketpair");
            near.write_all(b"x").await.expect("send");
            far.read_exact(&mut [0]).await.expect("receive");
            server.write_all(b"pong").await.expect("send");
            server.shutdown().await.expect("shutdown");
            drop((read, table));
            drop(database);
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("receive");
        assert_eq!(answer, b"pong");
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
