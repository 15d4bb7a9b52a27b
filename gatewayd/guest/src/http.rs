//! HTTP/1.1 on a stream from the gateway: routes, access, errors.

pub(crate) mod auth;
pub(crate) mod body;
mod cors;
mod error;
mod init;
mod metrics;
pub(crate) mod rpc;

use std::convert::Infallible;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use warder_wire::link::Role;

use crate::agent::Agent;
use crate::{files, filesystem, process, volume};
pub(crate) use body::{Body, RequestBody};
pub(crate) use error::ApiError;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Serves a stream until the gateway closes it.
pub(crate) async fn serve(agent: Agent, stream: UnixStream, role: Role) {
    let service = service_fn(move |request: Request<Incoming>| {
        let agent = agent.clone();
        let request = request.map(RequestBody::from);
        async move { Ok::<_, Infallible>(respond(&agent, role, request).await) }
    });
    let served = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A client that goes away in the middle is no event, and there is nobody to tell.
    drop(served);
}

async fn respond(agent: &Agent, role: Role, request: Request<RequestBody>) -> Response<Body> {
    let origin = request.headers().contains_key(header::ORIGIN);
    if let Some(answer) = cors::preflight(&request) {
        return answer;
    }
    let mut response = route(agent, role, request).await;
    if origin {
        cors::expose(response.headers_mut());
    }
    response
}

async fn route(agent: &Agent, role: Role, request: Request<RequestBody>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if volume::is_one(role, &path) {
        return volume::serve(request).await;
    }
    let method = request.method().clone();
    if let Err(error) = auth::check_token(agent, role, &method, &path, request.headers()) {
        return error.into_response();
    }
    let answer = match (&method, path.as_str()) {
        (&Method::GET, "/health") => Ok(no_content()),
        (&Method::GET, "/metrics") => metrics::get(agent),
        (&Method::GET, "/envs") => Ok(json(&agent.settings.borrow().env)),
        (&Method::POST, "/init") if role == Role::Control => init::post(agent, request).await,
        (&Method::GET, "/logs") if role == Role::Control => Ok(json(&agent.log.whole())),
        (&Method::GET, "/files") => files::get(agent, request).await,
        (&Method::POST, "/files") => files::post(agent, request).await,
        (&Method::POST, "/files/compose") => files::compose(agent, request).await,
        (_, "/health" | "/metrics" | "/envs" | "/files" | "/files/compose") => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
        )),
        (&Method::POST, _) => return call(agent, &path, request).await,
        _ => Err(not_found()),
    };
    answer.unwrap_or_else(ApiError::into_response)
}

/// `/<service>/<Method>`.
async fn call(agent: &Agent, path: &str, request: Request<RequestBody>) -> Response<Body> {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
    else {
        return not_found().into_response();
    };
    let known = [
        warder_connect::process::SERVICE,
        warder_connect::filesystem::SERVICE,
    ];
    if !known.contains(&service) {
        return not_found().into_response();
    }
    let call = match rpc::Call::new(request) {
        Ok(call) => call,
        Err(answer) => return *answer,
    };
    let answer = if service == warder_connect::process::SERVICE {
        process::call(agent, method, call).await
    } else {
        filesystem::call(agent, method, call).await
    };
    answer.unwrap_or_else(|| not_found().into_response())
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not found")
}

pub(crate) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Response<Body> {
    // Plain structs and maps with string keys: serde_json cannot refuse them.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
