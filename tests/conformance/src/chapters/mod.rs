//! Every check there is, by chapter, in the order in which they are made.

mod cost;
mod crash;
mod end;
mod files;
mod isolation;
pub(crate) mod kit;
mod leaks;
mod lifecycle;
mod limits;
mod network;
mod state;

use crate::backend::Backend;
use crate::check::Check;

/// All checks of a backend.
pub(crate) fn all(backend: Backend) -> Vec<Check> {
    let chapters = [
        kit::checks(),
        lifecycle::checks(),
        files::checks(),
        isolation::checks(backend),
        leaks::checks(backend),
        network::checks(),
        limits::checks(backend),
        state::checks(),
        cost::checks(),
        crash::checks(),
        end::checks(),
    ];
    chapters.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_differ_and_every_check_says_what_it_does() {
        for backend in [Backend::Namespace, Backend::Jail, Backend::Bhyve] {
            let mut ids = BTreeSet::new();
            for check in all(backend) {
                let plain = check
                    .id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
                assert!(plain, "{}", check.id);
                assert!(
                    !check.tries.is_empty() && !check.expects.is_empty(),
                    "{}",
                    check.id
                );
                assert!(ids.insert(check.id.clone()), "{} is there twice", check.id);
            }
            assert!(ids.len() >= 100, "{} checks", ids.len());
        }
    }
}
