//! Creates that are sent twice and done once, by the key the client chose. They are written down, so that a
//! restart of this process forgets none; of one that was under way then it is not known what came of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use warder_wire::SandboxId;

use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::limits;
use crate::registry::Store;
use crate::registry::record::{Change, IdempotencyRecord};

/// What came of a create.
#[derive(Clone, Debug)]
enum Outcome {
    /// It is under way.
    None,
    /// This sandbox.
    Made(SandboxId),
    /// The process that did it died.
    Unknown,
}

#[derive(Debug)]
struct Entry {
    body: [u8; 32],
    outcome: Outcome,
    since: Instant,
}

impl Entry {
    fn is_over(&self) -> bool {
        !matches!(self.outcome, Outcome::None)
    }
}

/// What is remembered, by caller and key.
#[derive(Debug, Default)]
pub(crate) struct Idempotency {
    all: Mutex<HashMap<(String, String), Entry>>,
    /// Where it is written down.
    store: Option<Store>,
}

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
    /// With what was on disk.
    pub(crate) fn new(store: Store, stored: Vec<IdempotencyRecord>) -> Self {
        let now = Micros::now();
        let all = stored.into_iter().filter_map(|record| {
            let age = now.0.saturating_sub(Micros::from(record.since).0);
            let age = Duration::from_micros(age);
            let entry = Entry {
                body: record.body,
                outcome: record.made.map_or(Outcome::Unknown, Outcome::Made),
                // A host that was started a moment ago knows no earlier moment: then it is kept for longer.
                since: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            };
            (age < limits::IDEMPOTENCY_LIFE).then_some(((record.caller, record.key), entry))
        });
        Self {
            all: Mutex::new(all.collect()),
            store: Some(store),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key that is not written down is forgotten at a restart: that harms less than a create that fails.
    fn write(&self, change: Change) {
        if let Some(store) = &self.store
            && let Err(error) = store.write(change)
        {
            eprintln!("gatewayd: idempotency key not written down: {error}");
        }
    }

    fn write_gone(&self, (caller, key): &(String, String)) {
        self.write(Change::IdempotencyGone(caller.clone(), key.clone()));
    }

    fn write_entry(
        &self,
        (caller, key): &(String, String),
        body: [u8; 32],
        made: Option<&SandboxId>,
    ) {
        self.write(Change::Idempotency(IdempotencyRecord {
            caller: caller.clone(),
            key: key.clone(),
            body,
            since: Micros::now().into(),
            made: made.cloned(),
        }));
    }

    /// Begins a create with the client's key and the hash of its body.
    ///
    /// # Errors
    /// 400 for a key of another form, 422 when it came with another body, 409 while the first is under way or
    /// when nobody knows what came of it.
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
        all.retain(|key, entry| {
            let kept = !entry.is_over() || entry.since.elapsed() < limits::IDEMPOTENCY_LIFE;
            if !kept {
                self.write_gone(key);
            }
            kept
        });
        if let Some(entry) = all.get(&key) {
            if entry.body != body {
                let text = "this Idempotency-Key was used with another request body";
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text)
                    .code("idempotency_request_mismatch"));
            }
            let conflict = |text: &str| ApiError::new(StatusCode::CONFLICT, text);
            return match &entry.outcome {
                Outcome::Made(id) => Ok(Begun::Done(id.clone())),
                Outcome::None => Err(conflict(
                    "the first request with this Idempotency-Key is still running",
                )
                .code("idempotency_in_progress")),
                Outcome::Unknown => Err(conflict(
                    "the server was restarted during the first request with this Idempotency-Key; \
                     look whether the sandbox is there, and use another key",
                )
                .code("idempotency_outcome_unknown")
                .retry(false)),
            };
        }
        let full = all.len() >= limits::IDEMPOTENCY_KEYS;
        let forgotten = full.then(|| forget_one(&mut all, &key.0));
        if let Some(Some(forgotten)) = &forgotten {
            self.write_gone(forgotten);
        }
        if forgotten == Some(None) {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many creates with an Idempotency-Key are under way",
            ));
        }
        all.insert(
            key.clone(),
            Entry {
                body,
                outcome: Outcome::None,
                since: Instant::now(),
            },
        );
        self.write_entry(&key, body, None);
        Ok(Begun::New(Claim {
            all: self,
            key,
            made: false,
        }))
    }
}

/// Forgets the oldest create that was done: the caller's own, or, when it has none, anybody's. So a caller with
/// many keys pays for them itself, and nobody can keep the others from creating. `None` when none was done.
fn forget_one(
    all: &mut HashMap<(String, String), Entry>,
    caller: &str,
) -> Option<(String, String)> {
    let oldest = all
        .iter()
        .filter(|(_, entry)| entry.is_over())
        .min_by_key(|((whose, _), entry)| (whose != caller, entry.since))
        .map(|(key, _)| key.clone())?;
    all.remove(&oldest);
    Some(oldest)
}

impl Claim<'_> {
    /// It was done.
    pub(crate) fn made(mut self, sandbox: &SandboxId) {
        self.made = true;
        if let Some(entry) = self.all.lock().get_mut(&self.key) {
            entry.outcome = Outcome::Made(sandbox.clone());
            self.all.write_entry(&self.key, entry.body, Some(sandbox));
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.all.lock().remove(&self.key);
            self.all.write_gone(&self.key);
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
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(create(&busy, &n.to_string()));
        }
        assert!(!create(&other, "first"), "others' keys are not forgotten");
        assert!(create(&other, "second"), "and there is room for new ones");
        assert!(all.lock().len() <= limits::IDEMPOTENCY_KEYS);
    }
}
