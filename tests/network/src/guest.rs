//! What a sandbox says of its network: commands in it, through the API.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::Stage;

/// What every probe begins with: functions that try something and say in a word what came of it.
const PROBE: &str = include_str!("probe.py");
const MINUTE: u32 = 60_000;
const PATIENCE: Duration = Duration::from_secs(20);

impl Stage {
    /// Runs lines of Python in a sandbox, as its user, after the functions of `probe.py`; the value of the last line, an
    /// expression.
    ///
    /// # Panics
    /// When they fail.
    #[must_use]
    pub fn probe(&self, sandbox: &Value, code: &str) -> Value {
        let (before, last) = code.trim().rsplit_once('\n').unwrap_or(("", code.trim()));
        let script = format!("{PROBE}\n{before}\nprint(json.dumps({last}))\n");
        let command = format!("/usr/bin/python3 - <<'PROBE'\n{script}\nPROBE");
        let ran = self.run(sandbox, "user", &command, MINUTE);
        let value = ran.stdout.lines().last().map(serde_json::from_str);
        match value {
            Some(Ok(value)) if ran.exit == Some(0) => value,
            _ => panic!("{code}: {ran:?}\n{}", self.log_text()),
        }
    }

    /// One probe; its word.
    #[must_use]
    pub fn word(&self, sandbox: &Value, code: &str) -> String {
        match self.probe(sandbox, code) {
            Value::String(word) => word,
            other => other.to_string(),
        }
    }

    /// Begins a flow in a sandbox that says something every few milliseconds and writes down what becomes of it. It has
    /// an answer when this returns.
    ///
    /// # Panics
    /// When it never has.
    #[must_use]
    pub fn flow(&self, sandbox: &Value, name: &str, code: &str) -> Flow {
        let script = format!("{PROBE}\nfollow('{name}', lambda: {code})\n");
        let command = format!(
            "cat > /tmp/{name}.py <<'PROBE'\n{script}\nPROBE\nsetsid /usr/bin/python3 /tmp/{name}.py </dev/null >/tmp/{name}.out 2>&1 &"
        );
        let ran = self.run(sandbox, "user", &command, MINUTE);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        let flow = Flow {
            name: name.to_owned(),
        };
        self.await_flow(sandbox, &flow, "is answered", |answers, end| {
            answers > 0 || !end.is_empty()
        });
        flow
    }

    /// How many answers a flow has had, and how it has ended, if it has.
    #[must_use]
    pub fn state(&self, sandbox: &Value, flow: &Flow) -> (u64, String) {
        let read = format!("cat /tmp/{}.state; cat /tmp/{0}.out >&2", flow.name);
        let ran = self.run(sandbox, "user", &read, MINUTE);
        let mut words = ran.stdout.split_whitespace();
        let answers = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        (answers, words.next().unwrap_or_default().to_owned())
    }

    /// Waits until a flow has had more answers.
    ///
    /// # Panics
    /// When it has ended.
    pub fn goes_on(&self, sandbox: &Value, flow: &Flow) {
        let (before, _) = self.state(sandbox, flow);
        let (_, end) = self.await_flow(sandbox, flow, "goes on", |answers, end| {
            answers > before + 2 || !end.is_empty()
        });
        assert!(end.is_empty(), "{}: {end}", flow.name);
    }

    /// Waits until a flow has ended; how.
    ///
    /// # Panics
    /// When it never does.
    #[must_use]
    pub fn ends(&self, sandbox: &Value, flow: &Flow) -> String {
        self.await_flow(sandbox, flow, "ends", |_, end| !end.is_empty())
            .1
    }

    fn await_flow(
        &self,
        sandbox: &Value,
        flow: &Flow,
        what: &str,
        done: impl Fn(u64, &str) -> bool,
    ) -> (u64, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.state(sandbox, flow);
            if done(state.0, &state.1) {
                return state;
            }
            assert!(
                Instant::now() < end,
                "{} never {what}: {state:?}\n{}",
                flow.name,
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A flow in a sandbox.
#[derive(Clone, Debug)]
pub struct Flow {
    name: String,
}
