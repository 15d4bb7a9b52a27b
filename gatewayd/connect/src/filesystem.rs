//! `filesystem.Filesystem`: files, directories and watches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    json::{int64, is_default, or_default, proto_enum, read_int},
};

/// Path prefix of the service's methods.
pub const SERVICE: &str = "filesystem.Filesystem";

proto_enum! {
    /// What a name stands for.
    pub enum FileType {
        /// A broken link, a device, a pipe or a socket.
        #[default]
        Unspecified = 0 "FILE_TYPE_UNSPECIFIED",
        /// A regular file.
        File = 1 "FILE_TYPE_FILE",
        /// A directory.
        Directory = 2 "FILE_TYPE_DIRECTORY",
        /// A symbolic link (only from agents that do not follow it).
        Symlink = 3 "FILE_TYPE_SYMLINK",
    }
}

proto_enum! {
    /// What happened to a file.
    pub enum EventType {
        /// Not said.
        #[default]
        Unspecified = 0 "EVENT_TYPE_UNSPECIFIED",
        /// It appeared, or was moved here.
        Create = 1 "EVENT_TYPE_CREATE",
        /// Its content changed.
        Write = 2 "EVENT_TYPE_WRITE",
        /// It is gone.
        Remove = 3 "EVENT_TYPE_REMOVE",
        /// It was moved away.
        Rename = 4 "EVENT_TYPE_RENAME",
        /// Its owner, mode, times or attributes changed.
        Chmod = 5 "EVENT_TYPE_CHMOD",
    }
}

/// One file or directory.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntryInfo {
    /// Last part of the path.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub name: String,
    /// What it is; of a link, what it leads to.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub file_type: FileType,
    /// Absolute.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub path: String,
    /// In bytes; of a link, the link's own.
    #[serde(with = "int64", skip_serializing_if = "is_default")]
    pub size: i64,
    /// Permission bits, 0 to 0o777; of a link, the target's.
    #[serde(deserialize_with = "read_int", skip_serializing_if = "is_default")]
    pub mode: u32,
    /// Like `-rw-r--r--`, in Go's notation; of a link, the link's own.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub permissions: String,
    /// User name, or the number where there is no name.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub owner: String,
    /// Group name, or the number where there is no name.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub group: String,
    /// Last change of the content.
    #[serde(alias = "modified_time", skip_serializing_if = "Option::is_none")]
    pub modified_time: Option<Timestamp>,
    /// Of a link: what it leads to in the end, or its own path if it leads nowhere.
    #[serde(alias = "symlink_target", skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
    /// What uploads kept with the file.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub metadata: BTreeMap<String, String>,
    /// Newest SDKs report a link's own type when this is set.
    #[serde(
        alias = "is_symlink",
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub is_symlink: bool,
}

macro_rules! path_request {
    ($($(#[$meta:meta])* $name:ident)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            /// Absolute, with `~`, or relative to the user's directory.
            #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
            pub path: String,
        }
    )*};
}

path_request! {
    /// Asks what a path is.
    StatRequest
    /// Makes a directory and its parents.
    MakeDirRequest
    /// Removes a file or a whole directory.
    RemoveRequest
}

macro_rules! entry_response {
    ($($(#[$meta:meta])* $name:ident)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(default)]
        pub struct $name {
            /// The entry.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub entry: Option<EntryInfo>,
        }
    )*};
}

entry_response! {
    /// What a path is.
    StatResponse
    /// The new directory.
    MakeDirResponse
    /// The entry in its new place.
    MoveResponse
}

/// Renames.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct MoveRequest {
    /// What to move.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub source: String,
    /// Where to.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub destination: String,
}

/// Lists a directory.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ListDirRequest {
    /// The directory.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub path: String,
    /// Levels below it; 0 means 1.
    #[serde(deserialize_with = "read_int", skip_serializing_if = "is_default")]
    pub depth: u32,
}

/// What a directory holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ListDirResponse {
    /// In the order of a sorted walk.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub entries: Vec<EntryInfo>,
}

/// An answer without content.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Empty {}

/// Watches a directory: `WatchDir` and `CreateWatcher` take the same.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WatchDirRequest {
    /// The directory.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub path: String,
    /// Directories below too, also those made later.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub recursive: bool,
    /// Send the entry with create, write and chmod.
    #[serde(
        alias = "include_entry",
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub include_entry: bool,
    /// Watch even where a server elsewhere can change files unseen.
    #[serde(
        alias = "allow_network_mounts",
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub allow_network_mounts: bool,
}

/// One change in a watched directory.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct FilesystemEvent {
    /// Relative to the watched directory.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub name: String,
    /// What happened.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub event_type: EventType,
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryInfo>,
}

/// One message of the `WatchDir` stream: exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct WatchDirResponse {
    /// The first message: the watch is in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Empty>,
    /// A change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<FilesystemEvent>,
    /// Nothing happened for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Empty>,
}

/// A watch that keeps its events until they are asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WatcherRef {
    /// Names the watch: the answer to `CreateWatcher`, the request of `GetWatcherEvents` and `RemoveWatcher`.
    #[serde(
        alias = "watcher_id",
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub watcher_id: String,
}

/// What happened since the last question.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct GetWatcherEventsResponse {
    /// In order.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub events: Vec<FilesystemEvent>,
}
