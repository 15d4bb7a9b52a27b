//! `process.Process`: commands, terminals and their input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::filesystem::Empty;
use crate::json::{bytes, is_default, or_default, proto_enum, read_int, read_opt_int};

/// Path prefix of the service's methods.
pub const SERVICE: &str = "process.Process";

proto_enum! {
    /// The signals a client may send.
    pub enum Signal {
        /// None named.
        #[default]
        Unspecified = 0 "SIGNAL_UNSPECIFIED",
        /// Ask it to end.
        Sigterm = 15 "SIGNAL_SIGTERM",
        /// End it.
        Sigkill = 9 "SIGNAL_SIGKILL",
    }
}

/// What to run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// A path, or a name to look up in `PATH`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub cmd: String,
    /// Without the name itself.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub args: Vec<String>,
    /// On top of the sandbox's variables.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub envs: BTreeMap<String, String>,
    /// Absent: the user's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// A terminal.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Pty {
    /// Absent: 0 by 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<PtySize>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct PtySize {
    /// Width.
    #[serde(deserialize_with = "read_int", skip_serializing_if = "is_default")]
    pub cols: u32,
    /// Height.
    #[serde(deserialize_with = "read_int", skip_serializing_if = "is_default")]
    pub rows: u32,
}

/// Starts a process and streams what it does.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct StartRequest {
    /// What to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessConfig>,
    /// Run it on a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pty: Option<Pty>,
    /// A name of the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Absent or true: a pipe. False: `/dev/null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<bool>,
}

/// Names a process: exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessSelector {
    /// By number.
    #[serde(
        deserialize_with = "read_opt_int",
        skip_serializing_if = "Option::is_none"
    )]
    pub pid: Option<u32>,
    /// By the client's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// A request that only names a process: `Connect` and `CloseStdin`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessRequest {
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSelector>,
}

/// Resizes a terminal.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct UpdateRequest {
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSelector>,
    /// The new size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pty: Option<Pty>,
}

/// Input: exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessInput {
    /// For a pipe.
    #[serde(with = "bytes", skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Vec<u8>>,
    /// For a terminal.
    #[serde(with = "bytes", skip_serializing_if = "Option::is_none")]
    pub pty: Option<Vec<u8>>,
}

/// Sends input once.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SendInputRequest {
    /// To which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSelector>,
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<ProcessInput>,
}

/// One message of `StreamInput`: exactly one field is set, `start` in the first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct StreamInputRequest {
    /// To which process all that follows goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<ProcessRequest>,
    /// Input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<StreamInputData>,
    /// Nothing to send for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Empty>,
}

/// Input within a stream.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct StreamInputData {
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<ProcessInput>,
}

/// Sends a signal.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SendSignalRequest {
    /// To which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSelector>,
    /// Which signal.
    #[serde(skip_serializing_if = "is_default")]
    pub signal: Signal,
}

/// A running process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessInfo {
    /// As it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ProcessConfig>,
    /// Its number inside the sandbox.
    #[serde(deserialize_with = "read_int", skip_serializing_if = "is_default")]
    pub pid: u32,
    /// The client's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// All running processes that clients started.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ListResponse {
    /// By rising number.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub processes: Vec<ProcessInfo>,
}

/// One message of the `Start` and `Connect` streams.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct EventResponse {
    /// Always set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<ProcessEvent>,
}

/// What a process did: exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ProcessEvent {
    /// Always the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartEvent>,
    /// Output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataEvent>,
    /// Always the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndEvent>,
    /// Nothing happened for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Empty>,
}

/// It runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct StartEvent {
    /// Its number inside the sandbox.
    #[serde(deserialize_with = "read_int", skip_serializing_if = "is_default")]
    pub pid: u32,
}

/// Output: exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct DataEvent {
    /// Descriptor 1.
    #[serde(with = "bytes", skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Vec<u8>>,
    /// Descriptor 2.
    #[serde(with = "bytes", skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Vec<u8>>,
    /// The terminal.
    #[serde(with = "bytes", skip_serializing_if = "Option::is_none")]
    pub pty: Option<Vec<u8>>,
}

/// It ended.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndEvent {
    /// -1 when a signal ended it.
    #[serde(
        alias = "exit_code",
        deserialize_with = "read_int",
        skip_serializing_if = "is_default"
    )]
    pub exit_code: i32,
    /// False when a signal ended it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub exited: bool,
    /// `exit status 3` or `signal: killed`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub status: String,
    /// The same when it did not exit with 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{filesystem as fs, json::parse};

    #[test]
    fn only_an_object_is_a_message() {
        assert_eq!(
            parse::<fs::StatRequest>(b"").expect("empty"),
            fs::StatRequest::default()
        );
        for no_message in [&b"[\"/etc\"]"[..], b" []", b"\"/etc\"", b"null", b"1"] {
            assert!(parse::<fs::StatRequest>(no_message).is_err());
        }
    }

    #[test]
    fn both_spellings_and_loose_numbers_are_read() {
        let end: EndEvent =
            parse(br#"{"exit_code":"3","exited":true,"new_field":[1]}"#).expect("ok");
        assert_eq!((end.exit_code, end.exited), (3, true));
        let end: EndEvent = parse(br#"{"exitCode":-1.0,"status":null}"#).expect("ok");
        assert_eq!(end.exit_code, -1);
        let watch: fs::WatchDirRequest =
            parse(br#"{"path":"/a","include_entry":true,"allowNetworkMounts":true}"#).expect("ok");
        assert!(watch.include_entry && watch.allow_network_mounts);
        let entry: fs::EntryInfo =
            parse(br#"{"type":"FILE_TYPE_DIRECTORY","size":"9007199254740993","modified_time":"1970-01-01T00:00:01Z"}"#)
                .expect("ok");
        assert_eq!(entry.size, 9_007_199_254_740_993);
        assert_eq!(entry.file_type, fs::FileType::Directory);
        assert_eq!(entry.modified_time.expect("set").seconds, 1);
    }

    #[test]
    fn signals_by_name_or_number() {
        for text in [r#"{"signal":"SIGNAL_SIGKILL"}"#, r#"{"signal":9}"#] {
            let request: SendSignalRequest = parse(text.as_bytes()).expect("ok");
            assert_eq!(request.signal, Signal::Sigkill);
        }
        assert!(parse::<SendSignalRequest>(br#"{"signal":"SIGNAL_SIGHUP"}"#).is_err());
    }

    #[test]
    fn written_form() {
        let event = EventResponse {
            event: Some(ProcessEvent {
                data: Some(DataEvent {
                    stdout: Some(b"a\n".to_vec()),
                    ..DataEvent::default()
                }),
                ..ProcessEvent::default()
            }),
        };
        assert_eq!(
            serde_json::to_string(&event).expect("json"),
            r#"{"event":{"data":{"stdout":"YQo="}}}"#
        );
        let entry = fs::EntryInfo {
            size: 12,
            symlink_target: Some("/x".into()),
            ..fs::EntryInfo::default()
        };
        assert_eq!(
            serde_json::to_string(&entry).expect("json"),
            r#"{"size":"12","symlinkTarget":"/x"}"#
        );
    }

    #[test]
    fn absent_is_not_empty() {
        let start: StartRequest = parse(br#"{"process":{"cmd":"a"},"stdin":false}"#).expect("ok");
        assert_eq!(
            (start.stdin, start.process.expect("set").cwd),
            (Some(false), None)
        );
        let input: ProcessInput = parse(br#"{"stdin":""}"#).expect("ok");
        assert_eq!((input.stdin, input.pty), (Some(Vec::new()), None));
        let selector: ProcessSelector = parse(br#"{"pid":null,"tag":"x"}"#).expect("ok");
        assert_eq!(selector.pid, None);
    }

    proptest! {
        #[test]
        fn bytes_survive_either_alphabet(data in proptest::collection::vec(any::<u8>(), 0..60), url in any::<bool>(), pad in any::<bool>()) {
            use base64::Engine as _;
            use base64::engine::general_purpose::{STANDARD, URL_SAFE};
            let mut text = if url { URL_SAFE.encode(&data) } else { STANDARD.encode(&data) };
            if !pad { text = text.trim_end_matches('=').to_owned(); }
            let input: ProcessInput = parse(format!(r#"{{"stdin":"{text}"}}"#).as_bytes()).expect("base64");
            prop_assert_eq!(input.stdin, Some(data));
        }

        #[test]
        fn messages_read_back(cmd in "\\PC{0,20}", args in proptest::collection::vec("\\PC{0,8}", 0..4), tag in proptest::option::of("[a-z]{0,5}")) {
            let start = StartRequest {
                process: Some(ProcessConfig { cmd, args, ..ProcessConfig::default() }),
                tag,
                ..StartRequest::default()
            };
            let json = serde_json::to_vec(&start).expect("json");
            prop_assert_eq!(parse::<StartRequest>(&json).expect("reads"), start);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            let _ = parse::<StartRequest>(text.as_bytes());
            let _ = parse::<StreamInputRequest>(text.as_bytes());
            let _ = parse::<fs::EntryInfo>(text.as_bytes());
        }
    }
}
