//! `/files`: whole files over plain HTTP.

mod access;
mod body;
mod compose;
mod download;
mod encoding;
mod metadata;
mod multipart;
mod query;
mod range;
mod target;
mod upload;

pub(crate) use body::on_helper;
pub(crate) use compose::post as compose;
pub(crate) use download::{get, plain};
pub(crate) use metadata::{PREFIX as METADATA_PREFIX, read as read_metadata};
pub(crate) use query::decode;
pub(crate) use target::make_dirs;
pub(crate) use upload::{Sink, Source, post};
