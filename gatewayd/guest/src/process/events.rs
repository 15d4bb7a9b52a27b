//! The messages of the `Start` and `Connect` streams, encoded once for all who listen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustix::process::{Signal, WaitStatus};
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
    // Systems have their own numbers.
    let name = match Signal::from_named_raw(signal) {
        Some(Signal::HUP) => "hangup",
        Some(Signal::INT) => "interrupt",
        Some(Signal::QUIT) => "quit",
        Some(Signal::ILL) => "illegal instruction",
        Some(Signal::TRAP) => "trace/breakpoint trap",
        Some(Signal::ABORT) => "aborted",
        Some(Signal::BUS) => "bus error",
        Some(Signal::FPE) => "floating point exception",
        Some(Signal::KILL) => "killed",
        Some(Signal::USR1) => "user defined signal 1",
        Some(Signal::SEGV) => "segmentation fault",
        Some(Signal::USR2) => "user defined signal 2",
        Some(Signal::PIPE) => "broken pipe",
        Some(Signal::ALARM) => "alarm clock",
        Some(Signal::TERM) => "terminated",
        Some(Signal::XCPU) => "CPU time limit exceeded",
        Some(Signal::XFSZ) => "file size limit exceeded",
        Some(Signal::SYS) => "bad system call",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use warder_connect::json::parse;

    use super::*;

    #[test]
    fn signals_have_the_names_that_clients_know() {
        for (signal, name) in [
            (Signal::KILL, "killed"),
            (Signal::BUS, "bus error"),
            (Signal::USR1, "user defined signal 1"),
            (Signal::SYS, "bad system call"),
        ] {
            assert_eq!(signal_name(signal.as_raw()), name);
        }
        assert_eq!(signal_name(99), "signal 99");
    }

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
