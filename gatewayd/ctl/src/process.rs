//! Processes in a sandbox, over the agent's Connect API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use warder_connect::error::EndStream;
use warder_connect::process::{
    EventResponse, ProcessConfig, ProcessEvent, ProcessInput, ProcessRequest, ProcessSelector, Pty,
    PtySize, SendInputRequest, SendSignalRequest, Signal, StartRequest, UpdateRequest,
};
use warder_connect::{Decoder, END_STREAM, STREAM_JSON, UNARY_JSON, envelope};

use crate::api::Sandbox;
use crate::error::Error;
use crate::http::{Body, Connection, Target, full, good, whole};

/// The agent's port.
pub(crate) const AGENT_PORT: u16 = 49983;
/// Largest message taken from a sandbox in bytes; envd sends 32 KiB of output at once.
const MOST: usize = 4 * 1024 * 1024;

/// The agent of one sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    target: Target,
    headers: Vec<(&'static str, String)>,
}

/// What to start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    pub(crate) command: Vec<String>,
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
    pub(crate) stdin: bool,
    /// Columns and rows of a terminal.
    pub(crate) terminal: Option<(u16, u16)>,
    /// The agent kills it after so many milliseconds.
    pub(crate) timeout_ms: Option<u64>,
}

impl Agent {
    pub(crate) fn new(target: &Target, sandbox: &Sandbox, user: Option<&str>) -> Self {
        let mut headers = vec![
            ("e2b-sandbox-id", sandbox.id.clone()),
            ("e2b-sandbox-port", AGENT_PORT.to_string()),
            ("connect-protocol-version", "1".to_owned()),
        ];
        if let Some(token) = &sandbox.token {
            headers.push(("x-access-token", token.clone()));
        }
        if let Some(user) = user {
            let basic = STANDARD.encode(format!("{user}:"));
            headers.push(("authorization", format!("Basic {basic}")));
        }
        Self {
            target: target.clone(),
            headers,
        }
    }

    /// Starts a process; its events follow.
    pub(crate) async fn start(&self, start: &Start) -> Result<Events, Error> {
        let (command, arguments) = start
            .command
            .split_first()
            .ok_or_else(|| Error::Usage("no command".to_owned()))?;
        let request = StartRequest {
            process: Some(ProcessConfig {
                cmd: command.clone(),
                args: arguments.to_vec(),
                envs: start.envs.iter().cloned().collect(),
                cwd: start.cwd.clone(),
            }),
            pty: start.terminal.map(pty),
            tag: None,
            stdin: Some(start.stdin),
        };
        let mut extra = vec![
            ("content-type", STREAM_JSON.to_owned()),
            ("keepalive-ping-interval", "50".to_owned()),
        ];
        if let Some(timeout) = start.timeout_ms {
            extra.push(("connect-timeout-ms", timeout.to_string()));
        }
        let mut connection = self.target.connect().await?;
        let body = full(envelope::message(&request));
        let response = self
            .post(&mut connection, "/process.Process/Start", &extra, body)
            .await?;
        Ok(Events {
            body: response.into_body(),
            decoder: Decoder::new(MOST),
            _connection: connection,
        })
    }

    /// A connection for many small calls in order: what is typed.
    pub(crate) async fn line(&self) -> Result<Line, Error> {
        let connection = self.target.connect().await?;
        Ok(Line {
            agent: self.clone(),
            connection,
        })
    }

    /// `GET path` on any port of the sandbox: status and body.
    pub(crate) async fn get(&self, port: u16, path: &str) -> Result<(u16, Bytes), Error> {
        let mut connection = self.target.connect().await?;
        let port = port.to_string();
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(n, v)| {
                (
                    *n,
                    if *n == "e2b-sandbox-port" {
                        port.as_str()
                    } else {
                        v.as_str()
                    },
                )
            })
            .collect();
        let response = connection
            .send(Method::GET, path, &headers, full(""))
            .await?;
        let status = response.status().as_u16();
        Ok((status, whole(response).await?))
    }

    /// Writes a file.
    pub(crate) async fn write_file(
        &self,
        path: &str,
        user: Option<&str>,
        body: Body,
    ) -> Result<(), Error> {
        let mut connection = self.target.connect().await?;
        let extra = [("content-type", "application/octet-stream".to_owned())];
        let response = self
            .post(&mut connection, &files(path, user), &extra, body)
            .await?;
        whole(response).await.map(|_| ())
    }

    /// Reads a file as a stream.
    pub(crate) async fn read_file(
        &self,
        path: &str,
        user: Option<&str>,
    ) -> Result<(Connection, Incoming), Error> {
        let mut connection = self.target.connect().await?;
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let response = connection
            .send(Method::GET, &files(path, user), &headers, full(""))
            .await?;
        let response = good(response).await?;
        Ok((connection, response.into_body()))
    }

    async fn post(
        &self,
        connection: &mut Connection,
        path: &str,
        extra: &[(&'static str, String)],
        body: Body,
    ) -> Result<http::Response<Incoming>, Error> {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .chain(extra)
            .map(|(n, v)| (*n, v.as_str()))
            .collect();
        let response = connection.send(Method::POST, path, &headers, body).await?;
        good(response).await
    }
}

fn files(path: &str, user: Option<&str>) -> String {
    let user = user
        .map(|u| format!("&username={}", crate::http::encode(u)))
        .unwrap_or_default();
    format!("/files?path={}{user}", crate::http::encode(path))
}

fn pty((cols, rows): (u16, u16)) -> Pty {
    Pty {
        size: Some(PtySize {
            cols: cols.into(),
            rows: rows.into(),
        }),
    }
}

/// Calls to one process, in order, on one connection.
#[derive(Debug)]
pub(crate) struct Line {
    agent: Agent,
    connection: Connection,
}

impl Line {
    /// Sends input to the pipe, or to the terminal.
    pub(crate) async fn input(
        &mut self,
        pid: u32,
        bytes: &[u8],
        terminal: bool,
    ) -> Result<(), Error> {
        let data = Some(bytes.to_vec());
        let input = if terminal {
            ProcessInput {
                stdin: None,
                pty: data,
            }
        } else {
            ProcessInput {
                stdin: data,
                pty: None,
            }
        };
        let request = SendInputRequest {
            process: by_pid(pid),
            input: Some(input),
        };
        self.unary("SendInput", &json!(request)).await
    }

    /// Ends the pipe's input.
    pub(crate) async fn close_stdin(&mut self, pid: u32) -> Result<(), Error> {
        let request = ProcessRequest {
            process: by_pid(pid),
        };
        self.unary("CloseStdin", &json!(request)).await
    }

    /// Changes the terminal's size.
    pub(crate) async fn resize(&mut self, pid: u32, size: (u16, u16)) -> Result<(), Error> {
        let request = UpdateRequest {
            process: by_pid(pid),
            pty: Some(pty(size)),
        };
        self.unary("Update", &json!(request)).await
    }

    /// Sends a signal.
    pub(crate) async fn signal(&mut self, pid: u32, signal: Signal) -> Result<(), Error> {
        let request = SendSignalRequest {
            process: by_pid(pid),
            signal,
        };
        self.unary("SendSignal", &json!(request)).await
    }

    async fn unary(&mut self, method: &str, request: &Value) -> Result<(), Error> {
        let path = format!("/process.Process/{method}");
        let extra = [("content-type", UNARY_JSON.to_owned())];
        let body = full(request.to_string());
        let response = self
            .agent
            .post(&mut self.connection, &path, &extra, body)
            .await?;
        // Read to its end, so that the connection can be used again.
        whole(response).await.map(|_| ())
    }
}

fn by_pid(pid: u32) -> Option<ProcessSelector> {
    Some(ProcessSelector {
        pid: Some(pid),
        tag: None,
    })
}

/// What a process does.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    decoder: Decoder,
    _connection: Connection,
}

impl Events {
    /// The next event, or `None` after a good end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<ProcessEvent>, Error> {
        loop {
            let message = self
                .decoder
                .next_message()
                .map_err(|e| Error::Answer(e.to_string()))?;
            if let Some((flags, bytes)) = message {
                if flags & END_STREAM != 0 {
                    let end: EndStream = warder_connect::json::parse(&bytes)?;
                    return end.error.map_or(Ok(None), |error| Err(error.into()));
                }
                let event: EventResponse = warder_connect::json::parse(&bytes)?;
                match event.event {
                    Some(event) if event.keepalive.is_none() => return Ok(Some(event)),
                    _ => continue,
                }
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.decoder.push(&data);
                    }
                }
                None => {
                    return Err(Error::Answer(
                        "the stream ended early: the sandbox is gone".to_owned(),
                    ));
                }
            }
        }
    }

    /// Waits for the process to run; its number in the sandbox.
    pub(crate) async fn started(&mut self) -> Result<u32, Error> {
        match self.next().await? {
            Some(ProcessEvent {
                start: Some(start), ..
            }) => Ok(start.pid),
            _ => Err(Error::Answer(
                "the process did not say that it started".to_owned(),
            )),
        }
    }
}

/// The exit code as a shell would show it: 128 + number for a signal, which the agent only names.
pub(crate) fn exit_code(end: &warder_connect::process::EndEvent) -> u8 {
    const SIGNALS: [(&str, u8); 8] = [
        ("hangup", 1),
        ("interrupt", 2),
        ("quit", 3),
        ("aborted", 6),
        ("killed", 9),
        ("segmentation fault", 11),
        ("broken pipe", 13),
        ("terminated", 15),
    ];
    if end.exited {
        return u8::try_from(end.exit_code).unwrap_or(255);
    }
    let name = end.status.strip_prefix("signal: ").unwrap_or_default();
    SIGNALS
        .iter()
        .find(|(n, _)| name.starts_with(n))
        .map_or(255, |(_, number)| 128 + number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use warder_connect::process::EndEvent;

    #[test]
    fn exit_codes_are_a_shells() {
        let end = |exit_code, exited, status: &str| EndEvent {
            exit_code,
            exited,
            status: status.to_owned(),
            error: None,
        };
        assert_eq!(exit_code(&end(3, true, "exit status 3")), 3);
        assert_eq!(exit_code(&end(-1, false, "signal: killed")), 137);
        assert_eq!(exit_code(&end(-1, false, "signal: 64")), 255);
    }
}
