//! Creates that are sent twice and done once, by the key the client chose. Remembered in memory: after a
//! restart of this process a key is free again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use tokio::time::Instant;
use warder_wire::SandboxId;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::limits;

#[derive(Debug)]
struct Entry {
    body: [u8; 32],
    made: Option<SandboxId>,
    since: Instant,
}

/// What is remembered, by caller and key.
#[derive(Debug, Default)]
pub(crate) struct Idempotency(Mutex<HashMap<(String, String), Entry>>);

/// What to do with a create.
#[derive(Debug)]
pub(crate) enum Begun<'a> {
    /// Do it, and say here what came of it.
    New(Claim<'a>),
    /// It was done: this is the sandbox.
    Done(SandboxId),
}

/// A create under way. Dropped without [`Claim::made`], its key is free again.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    all: &'a Idempotency,
    key: (String, String),
    made: bool,
}

impl Idempotency {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a create with the client's key and the hash of its body.
    ///
    /// # Errors
    /// 400 for a key of another form, 422 when it came with another body, 409 while the first is under way.
    pub(crate) fn begin(
        &self,
        caller: &Caller,
        key: &str,
        body: [u8; 32],
    ) -> Result<Begun<'_>, ApiError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if key.is_empty() || key.len() > 255 || !key.bytes().all(plain) {
            return Err(ApiError::bad(
                "Idempotency-Key must have 1 to 255 characters of [a-z0-9-]",
            ));
        }
        let key = (caller.name().to_owned(), key.to_owned());
        let mut all = self.lock();
        all.retain(|_, entry| {
            entry.made.is_none() || entry.since.elapsed() < limits::IDEMPOTENCY_LIFE
        });
        if let Some(entry) = all.get(&key) {
            if entry.body != body {
                let text = "this Idempotency-Key was used with another request body";
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text)
                    .code("idempotency_request_mismatch"));
            }
            return match &entry.made {
                Some(id) => Ok(Begun::Done(id.clone())),
                None => Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "the first request with this Idempotency-Key is still running",
                )
                .code("idempotency_in_progress")),
            };
        }
        if all.len() >= limits::IDEMPOTENCY_KEYS && !forget_one(&mut all, &key.0) {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many creates with an Idempotency-Key are under way",
            ));
        }
        all.insert(
            key.clone(),
            Entry {
                body,
                made: None,
                since: Instant::now(),
            },
        );
        Ok(Begun::New(Claim {
            all: self,
            key,
            made: false,
        }))
    }
}

/// Forgets the oldest create that was done: the caller's own, or, when it has none, anybody's. So a caller with
/// many keys pays for them itself, and nobody can keep the others from creating. False when none was done.
fn forget_one(all: &mut HashMap<(String, String), Entry>, caller: &str) -> bool {
    let oldest = all
        .iter()
        .filter(|(_, entry)| entry.made.is_some())
        .min_by_key(|((whose, _), entry)| (whose != caller, entry.since))
        .map(|(key, _)| key.clone());
    oldest.is_some_and(|key| all.remove(&key).is_some())
}

impl Claim<'_> {
    /// It was done.
    pub(crate) fn made(mut self, sandbox: &SandboxId) {
        self.made = true;
        if let Some(entry) = self.all.lock().get_mut(&self.key) {
            entry.made = Some(sandbox.clone());
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.all.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn once_and_only_with_the_same_body() {
        let (all, me, other) = (
            Idempotency::default(),
            Caller::Operator,
            Caller::Key("k".into()),
        );
        let id = SandboxId::from_random(&[0; 20]);
        let Ok(Begun::New(claim)) = all.begin(&me, "a", [1; 32]) else {
            panic!("new")
        };
        assert_eq!(all.begin(&me, "a", [1; 32]).expect_err("runs").status, 409);
        claim.made(&id);
        assert!(matches!(all.begin(&me, "a", [1; 32]), Ok(Begun::Done(made)) if made == id));
        assert_eq!(
            all.begin(&me, "a", [2; 32]).expect_err("other body").status,
            422
        );
        assert!(
            matches!(all.begin(&other, "a", [2; 32]), Ok(Begun::New(_))),
            "keys belong to callers"
        );
        assert!(
            matches!(all.begin(&other, "a", [2; 32]), Ok(Begun::New(_))),
            "a failed create frees its key"
        );
        assert_eq!(
            all.begin(&me, "A b", [1; 32]).expect_err("form").status,
            400
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_can_use_up_the_keys_of_others() {
        let (all, busy, other) = (
            Idempotency::default(),
            Caller::Key("busy".into()),
            Caller::Key("other".into()),
        );
        let id = SandboxId::from_random(&[0; 20]);
        let create = |who: &Caller, key: &str| match all.begin(who, key, [1; 32]) {
            Ok(Begun::New(claim)) => {
                claim.made(&id);
                true
            }
            Ok(Begun::Done(_)) => false,
            Err(error) => panic!("{}", error.message),
        };
        assert!(create(&other, "first"));
        for n in 0..2 * limits::IDEMPOTENCY_KEYS {
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
            assert!(create(&busy, &n.to_string()));
        }
        assert!(!create(&other, "first"), "others' keys are not forgotten");
        assert!(create(&other, "second"), "and there is room for new ones");
        assert!(all.lock().len() <= limits::IDEMPOTENCY_KEYS);
    }
}
