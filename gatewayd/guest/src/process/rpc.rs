//! The methods of the service.

use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::time::Instant;
use warder_connect::process::{
    Empty, ProcessRequest, SendInputRequest, SendSignalRequest, StartRequest, StreamInputRequest,
    UpdateRequest,
};
use warder_connect::{ConnectError, process as messages};

use super::{events, start};
use crate::agent::Agent;
use crate::http::rpc::{Answer, Call, Caller, EventStream, Reader};

/// Serves one call; `None` when there is no such method.
pub(crate) async fn call(agent: &Agent, method: &str, call: Call) -> Option<Answer> {
    Some(match method {
        "List" => {
            call.unary(|_, _: Empty| async { Ok(agent.processes.list()) })
                .await
        }
        "Start" => {
            call.stream(|caller, request| async move { begin(agent, &caller, request) })
                .await
        }
        "Connect" => {
            call.stream(|caller, request: ProcessRequest| async move {
                connect(agent, &caller, &request)
            })
            .await
        }
        "Update" => {
            call.unary(|_, request: UpdateRequest| async move {
                let process = agent.processes.running(request.process.as_ref())?;
                process.input.resize(request.pty)?;
                Ok(Empty {})
            })
            .await
        }
        "SendInput" => {
            call.unary(|_, request: SendInputRequest| async move {
                let process = agent.processes.running(request.process.as_ref())?;
                process.input.write(request.input.as_ref()).await?;
                Ok(Empty {})
            })
            .await
        }
        "StreamInput" => {
            call.client_stream(|reader| stream_input(agent, reader))
                .await
        }
        "SendSignal" => {
            call.unary(|_, request: SendSignalRequest| async move { send_signal(agent, &request) })
                .await
        }
        "CloseStdin" => {
            call.unary(|_, request: ProcessRequest| async move {
                let process = agent.processes.running(request.process.as_ref())?;
                process.input.close_stdin()?;
                Ok(Empty {})
            })
            .await
        }
        _ => return None,
    })
}

fn begin(
    agent: &Agent,
    caller: &Caller,
    request: StartRequest,
) -> Result<EventStream, ConnectError> {
    let user = caller.user(agent)?;
    let process = start::start(agent, &user, request)?;
    let receiver = process.subscribe();
    if let Some(timeout) = caller.timeout {
        // Whether or not the client still listens: the limit is the command's.
        let process = std::rc::Rc::downgrade(&process);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(timeout).await;
            if let Some(process) = process.upgrade() {
                // It may have ended meanwhile.
                let _ = process.signal(Signal::KILL);
            }
        });
    }
    Ok(stream(caller, receiver))
}

fn connect(
    agent: &Agent,
    caller: &Caller,
    request: &ProcessRequest,
) -> Result<EventStream, ConnectError> {
    let process = agent.processes.running_or_ended(request.process.as_ref())?;
    Ok(stream(caller, process.subscribe()))
}

fn stream(caller: &Caller, receiver: tokio::sync::mpsc::Receiver<Bytes>) -> EventStream {
    let deadline = caller
        .timeout
        .map(|timeout: Duration| Instant::now() + timeout);
    EventStream::new(receiver, caller.keepalive, events::keepalive(), deadline)
}

fn send_signal(agent: &Agent, request: &SendSignalRequest) -> Result<Empty, ConnectError> {
    let signal = match request.signal {
        messages::Signal::Sigkill => Signal::KILL,
        messages::Signal::Sigterm => Signal::TERM,
        messages::Signal::Unspecified => {
            return Err(ConnectError::invalid(
                "name the signal: SIGNAL_SIGTERM or SIGNAL_SIGKILL",
            ));
        }
    };
    let process = agent.processes.running(request.process.as_ref())?;
    process.signal(signal)?;
    Ok(Empty {})
}

async fn stream_input(agent: &Agent, mut reader: Reader) -> Result<Empty, ConnectError> {
    let mut process = None;
    while let Some(message) = reader.next::<StreamInputRequest>().await? {
        if let Some(start) = message.start {
            process = Some(agent.processes.running(start.process.as_ref())?);
        } else if let Some(data) = message.data {
            let process = process
                .as_ref()
                .ok_or_else(|| ConnectError::invalid("the first message must name the process"))?;
            process.input.write(data.input.as_ref()).await?;
        }
    }
    Ok(Empty {})
}
