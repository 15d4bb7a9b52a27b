//! The same probes on FreeBSD, where capability mode and the rights of descriptors refuse.

mod attempts;
mod cases;
mod child;
mod outside;

pub(crate) use child::run;
pub(crate) use outside::run_all;
