//! The conformance kit finds what is wrong with backends that are wrong.
#![forbid(unsafe_code)]

use warder_sdk::{
    Backend, Call, Create, Description, Fault, FaultCode, Host, LimitsInForce, SandboxId, Usage,
    conformance, or_gone,
};

/// A backend with one thing wrong.
struct Wrong<const HOW: u8>;

const RIGHT: u8 = 0;
const NO_UNDO: u8 = 1;
const TAKES_FOREIGN: u8 = 2;
const DESTROY_NOT_IDEMPOTENT: u8 = 3;
const HIDES_FAULTS: u8 = 4;
const FORGETS: u8 = 5;
const STORAGE_FIRST: u8 = 6;

impl<const HOW: u8> Backend for Wrong<HOW> {
    fn new(_host: Host) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description {
            title: format!("wrong {HOW}"),
            ..Description::default()
        }
    }

    fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault> {
        let sandbox = &wanted.sandbox;
        let undo = || {
            if HOW != NO_UNDO {
                let _ = call.undo().cell_remove(sandbox);
                let _ = call.undo().storage_destroy(sandbox);
            }
        };
        let cloned = call.storage_clone(sandbox, &wanted.template);
        cloned.inspect_err(|fault| {
            if HOW == TAKES_FOREIGN || fault.code != FaultCode::Conflict {
                undo();
            }
        })?;
        call.cell_create(sandbox, wanted.limits)
            .inspect_err(|_| undo())
    }

    fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault> {
        match HOW {
            DESTROY_NOT_IDEMPOTENT => {
                call.cell_remove(sandbox)?;
                call.storage_destroy(sandbox)
            }
            HIDES_FAULTS => {
                let _ = call.cell_remove(sandbox);
                let _ = call.storage_destroy(sandbox);
                Ok(())
            }
            STORAGE_FIRST => {
                or_gone(call.storage_destroy(sandbox))?;
                or_gone(call.cell_remove(sandbox))
            }
            _ => {
                or_gone(call.cell_remove(sandbox))?;
                or_gone(call.storage_destroy(sandbox))
            }
        }
    }

    fn stats(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<Usage, Fault> {
        call.cell_stat(sandbox)
    }

    fn adopt(&self, call: &Call<'_>) -> Result<Vec<SandboxId>, Fault> {
        if HOW == FORGETS {
            return Ok(Vec::new());
        }
        call.cell_list()
    }
}

#[test]
fn a_right_backend_passes() {
    assert_eq!(conformance::of_backend::<Wrong<RIGHT>>().len(), 16);
}

#[test]
#[should_panic(expected = "what was made is undone")]
fn no_undo_is_found() {
    conformance::of_backend::<Wrong<NO_UNDO>>();
}

#[test]
#[should_panic(expected = "the first sandbox lives on")]
fn taking_what_is_there_is_found() {
    conformance::of_backend::<Wrong<TAKES_FOREIGN>>();
}

#[test]
#[should_panic(expected = "destroying twice succeeds")]
fn a_destroy_that_fails_the_second_time_is_found() {
    conformance::of_backend::<Wrong<DESTROY_NOT_IDEMPOTENT>>();
}

#[test]
#[should_panic(expected = "a failing step is not hidden")]
fn hidden_faults_are_found() {
    conformance::of_backend::<Wrong<HIDES_FAULTS>>();
}

#[test]
#[should_panic(expected = "it finds the five that were made")]
fn forgetting_sandboxes_is_found() {
    conformance::of_backend::<Wrong<FORGETS>>();
}

#[test]
#[should_panic(expected = "destroy succeeds")]
fn the_wrong_order_is_found() {
    conformance::of_backend::<Wrong<STORAGE_FIRST>>();
}
