//! `filesystem.Filesystem`: files and directories by name.

mod change;
pub(crate) mod entry;
mod list;
mod transfer;

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tokio::time::Instant;
use warder_connect::filesystem::{
    Empty, GetWatcherEventsResponse, ListDirRequest, ListDirResponse, MakeDirRequest,
    MakeDirResponse, MoveRequest, MoveResponse, RemoveRequest, StatRequest, StatResponse,
    WatchDirRequest, WatcherRef,
};
use warder_connect::{Code, ConnectError};

use crate::agent::Agent;
use crate::files::on_helper;
use crate::http::rpc::{Answer, Call, Caller, EventStream};
use crate::users::{Names, User};
use crate::{paths, watch};

/// Serves one call; `None` when there is no such method.
pub(crate) async fn call(agent: &Agent, method: &str, call: Call) -> Option<Answer> {
    Some(match method {
        "Stat" => {
            call.unary(|caller, request: StatRequest| async move {
                let (_, path) = locate(agent, &caller, &request.path)?;
                let entry = entry::info(&path, &Names::load())
                    .map_err(|error| failed("getting info of", &path, &error))?;
                Ok(StatResponse { entry: Some(entry) })
            })
            .await
        }
        "MakeDir" => {
            call.unary(|caller, request: MakeDirRequest| async move {
                let (user, path) = locate(agent, &caller, &request.path)?;
                let entry = change::make_dir(&path, &user)?;
                Ok(MakeDirResponse { entry: Some(entry) })
            })
            .await
        }
        "Move" => {
            call.unary(|caller, request: MoveRequest| async move {
                let (user, source) = locate(agent, &caller, &request.source)?;
                let (_, destination) = locate(agent, &caller, &request.destination)?;
                let entry = helped(move || change::rename(&source, &destination, &user)).await?;
                Ok(MoveResponse { entry: Some(entry) })
            })
            .await
        }
        "ListDir" => {
            call.unary(|caller, request: ListDirRequest| async move {
                let (_, path) = locate(agent, &caller, &request.path)?;
                let entries = helped(move || list::dir(&path, request.depth.max(1))).await?;
                Ok(ListDirResponse { entries })
            })
            .await
        }
        "Remove" => {
            call.unary(|caller, request: RemoveRequest| async move {
                let (_, path) = locate(agent, &caller, &request.path)?;
                helped(move || change::remove(&path)).await?;
                Ok(Empty {})
            })
            .await
        }
        "WatchDir" => {
            call.stream(|caller, request: WatchDirRequest| async move {
                let (_, path) = locate(agent, &caller, &request.path)?;
                let (events, guard) = agent.watches.stream(path, &request).await?;
                let limit = caller.timeout.map(|timeout| Instant::now() + timeout);
                Ok(
                    EventStream::new(events, caller.keepalive, watch::keepalive(), limit)
                        .guarded(guard),
                )
            })
            .await
        }
        "CreateWatcher" => {
            call.unary(|caller, request: WatchDirRequest| async move {
                let (_, path) = locate(agent, &caller, &request.path)?;
                let watcher_id = agent.watches.create(path, &request).await?;
                Ok(WatcherRef { watcher_id })
            })
            .await
        }
        "GetWatcherEvents" => {
            call.unary(|_, request: WatcherRef| async move {
                let events = agent.watches.take(&request.watcher_id)?;
                Ok(GetWatcherEventsResponse { events })
            })
            .await
        }
        "RemoveWatcher" => {
            call.unary(|_, request: WatcherRef| async move {
                agent.watches.remove(&request.watcher_id)?;
                Ok(Empty {})
            })
            .await
        }
        _ => return None,
    })
}

/// The caller and the path it means.
fn locate(agent: &Agent, caller: &Caller, path: &str) -> Result<(User, PathBuf), ConnectError> {
    let user = caller.user(agent)?;
    let settings = agent.settings.borrow();
    let path =
        paths::resolve(path, &user, settings.workdir.as_deref()).map_err(ConnectError::invalid)?;
    Ok((user, path))
}

/// Runs what may take long on a helper thread.
async fn helped<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConnectError> + Send + 'static,
) -> Result<T, ConnectError> {
    on_helper(move || Ok(work()))
        .await
        .unwrap_or_else(|error| Err(ConnectError::internal(error)))
}

/// A failed system call, as the code that clients act on.
pub(crate) fn failed(doing: &str, path: &Path, error: &io::Error) -> ConnectError {
    let path = path.display();
    let code = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => {
            return ConnectError::not_found(format_args!("path '{path}' does not exist"));
        }
        // Something in front of the last part is a file: so there is nothing there.
        Some(Errno::NOTDIR) => Code::NotFound,
        Some(Errno::LOOP) => Code::FailedPrecondition,
        Some(Errno::NAMETOOLONG | Errno::INVAL | Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
            Code::InvalidArgument
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Code::PermissionDenied,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Code::ResourceExhausted,
        _ => Code::Internal,
    };
    ConnectError::new(code, format_args!("error {doing} '{path}': {error}"))
}
