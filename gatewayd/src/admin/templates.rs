//! Templates: listed, made from a tar stream, removed.

use http::StatusCode;
use http_body_util::BodyExt;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json as value};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use warder_wire::TemplateName;

use crate::client_body::ClientBody;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty, json};
use crate::warm;

pub(super) async fn list(gateway: &Gateway) -> Result<Answer, ApiError> {
    let all = gateway.peers.templates().await?;
    let shown: Vec<Value> = all
        .iter()
        .filter(|template| !gateway.registry.snapshots.is_one(&template.name))
        .map(|template| {
            let made = Micros(template.created_unix.saturating_mul(1_000_000));
            value!({ "name": template.name.as_str(), "createdAt": made })
        })
        .collect();
    Ok(json(StatusCode::OK, &shown))
}

fn name_of(text: &str) -> Result<TemplateName, ApiError> {
    TemplateName::new(text).map_err(|_| {
        ApiError::bad("a template's name has 1 to 63 of a-z, 0-9, '-' and '_' and begins with a letter or digit")
    })
}

fn conflict(name: &TemplateName, what: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, format!("'{name}' {what}"))
}

pub(super) async fn remove(gateway: &Gateway, name: &str) -> Result<Answer, ApiError> {
    let name = name_of(name)?;
    if gateway.registry.snapshots.is_one(&name) {
        return Err(conflict(&name, "is a snapshot: it is deleted as one"));
    }
    let removed = gateway.peers.template_remove(name.clone()).await;
    // Whatever came of it: what is made from now on is made of what is there now.
    warm::changed(gateway, &name).await;
    removed?;
    gateway
        .registry
        .audit("operator", "template.remove", name.as_str(), "");
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The body goes into a pipe whose other end privd hands to a worker without privilege.
pub(super) async fn import(
    gateway: &Gateway,
    name: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let name = name_of(name)?;
    if gateway.registry.snapshots.is_one(&name)
        || !gateway
            .registry
            .snapshots
            .named(name.as_str(), None)
            .is_empty()
    {
        return Err(conflict(&name, "names a snapshot"));
    }
    let (reading, writing) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|_| ApiError::internal("no pipe could be made"))?;
    let writing = Sender::from_owned_fd(writing)
        .map_err(|_| ApiError::internal("the pipe cannot be watched"))?;
    let import = gateway.peers.template_import(name.clone(), reading);
    let copy = copy(request.into_body(), writing);
    let (import, copied) = tokio::join!(import, copy);
    warm::changed(gateway, &name).await;
    match (import, copied) {
        (Ok(()), Ok(())) => {}
        // The worker may stop reading at the end of the archive; its own word is what counts.
        (Ok(()), Err(Copy::Pipe)) => {}
        (Err(error), _) => return Err(error.into()),
        (Ok(()), Err(Copy::Client)) => {
            // A stream cut off can still look like a whole archive.
            let _ = gateway.peers.template_remove(name).await;
            return Err(ApiError::bad("the tar stream broke off"));
        }
    }
    gateway
        .registry
        .audit("operator", "template.import", name.as_str(), "");
    Ok(json(
        StatusCode::CREATED,
        &value!({ "name": name.as_str() }),
    ))
}

/// Which end failed.
#[derive(Debug)]
enum Copy {
    Client,
    Pipe,
}

async fn copy(mut body: ClientBody, mut pipe: Sender) -> Result<(), Copy> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Copy::Client)?.into_data() {
            pipe.write_all(&data).await.map_err(|_| Copy::Pipe)?;
        }
    }
    Ok(())
}
