//! The messages of the `Start` and `Connect` streams, encoded once for all who listen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustix::process::WaitStatus;
use warder_connect::envelope;
use warder_connect::process::{EndEvent, EventResponse, ProcessEvent, StartEvent};

/// Which output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Output {
    Stdout,
    Stderr,
    Pty,
}

fn event(event: ProcessEvent) -> Bytes {
    envelope::message(&EventResponse { event: Some(event) })
}

pub(super) fn start(pid: u32) -> Bytes {
    event(ProcessEvent {
        start: Some(StartEvent { pid }),
        ..ProcessEvent::default()
    })
}

pub(super) fn keepalive() -> Bytes {
    event(ProcessEvent {
        keepalive: Some(warder_connect::process::Empty {}),
        ..ProcessEvent::default()
    })
}

/// `DataEvent`, written straight into the envelope: this is the path of all output.
pub(super) fn data(output: Output, bytes: &[u8]) -> Bytes {
    let head: &[u8] = match output {
        Output::Stdout => br#"{"event":{"data":{"stdout":""#,
        Output::Stderr => br#"{"event":{"data":{"stderr":""#,
        Output::Pty => br#"{"event":{"data":{"pty":""#,
    };
    let tail: &[u8] = br#""}}}"#;
    let encoded = bytes.len().div_ceil(3) * 4;
    let length = head.len() + encoded + tail.len();
    let mut out = vec![0_u8; envelope::HEADER + length];
    out[1..envelope::HEADER]
        .copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    let body = &mut out[envelope::HEADER..];
    body[..head.len()].copy_from_slice(head);
    let written = STANDARD
        .encode_slice(bytes, &mut body[head.len()..head.len() + encoded])
        .expect("the slice is as long as the encoding");
    body[head.len() + written..].copy_from_slice(tail);
    out.into()
}

pub(super) fn end(status: WaitStatus) -> Bytes {
    event(ProcessEvent {
        end: Some(describe(status)),
        ..ProcessEvent::default()
    })
}

/// In the words of Go's `os.ProcessState`, which clients read.
fn describe(status: WaitStatus) -> EndEvent {
    if let Some(code) = status.exit_status() {
        let text = format!("exit status {code}");
        return EndEvent {
            exit_code: code,
            exited: true,
            error: (code != 0).then(|| text.clone()),
            status: text,
        };
    }
    let signal = status.terminating_signal().unwrap_or(0);
    // WCOREDUMP (waitpid(2)).
    let core = if status.as_raw() & 0x80 == 0 {
        ""
    } else {
        " (core dumped)"
    };
    let text = format!("signal: {}{core}", signal_name(signal));
    EndEvent {
        exit_code: -1,
        exited: false,
        error: Some(text.clone()),
        status: text,
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use warder_connect::json::parse;

    use super::*;

    #[test]
    fn data_is_what_the_messages_would_give() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", &[0xff; 1000]] {
            let envelope = data(Output::Stderr, bytes);
            let length = u32::from_be_bytes(envelope[1..5].try_into().expect("four"));
            assert_eq!(usize::try_from(length).expect("small"), envelope.len() - 5);
            let message: EventResponse = parse(&envelope[5..]).expect("json");
            let data = message.event.and_then(|event| event.data).expect("data");
            assert_eq!((data.stdout, data.stderr.as_deref()), (None, Some(bytes)));
        }
    }
}
