//! Pausing and waking: with processes, of the disk only, and by a request to a port.

use std::io;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::http::Connection;
use crate::stats::Samples;
use crate::warder::Server;

const ROUNDS: usize = 100;
const HELLO: (&str, &[&str]) = ("/bin/echo", &["hello"]);

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let mut api = server.connect()?;
    let mut edge = server.connect_edge()?;
    let sandbox = server.create(&mut api)?;
    for (memory, pause, resume, first) in [
        (
            true,
            "warder pause memory",
            "warder resume memory",
            "warder resume memory first output",
        ),
        (
            false,
            "warder pause disk",
            "warder resume disk",
            "warder resume disk first output",
        ),
    ] {
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            ask(
                server,
                &mut api,
                &sandbox.id,
                "pause",
                &json!({ "memory": memory }),
                204,
            )?;
            samples.time(pause, begun.elapsed());
            let begun = Instant::now();
            ask(
                server,
                &mut api,
                &sandbox.id,
                "connect",
                &json!({ "timeout": 300 }),
                201,
            )?;
            samples.time(resume, begun.elapsed());
            sandbox.run(&mut edge, (HELLO.0, HELLO.1))?;
            samples.time(first, begun.elapsed());
        }
    }
    server.kill(&mut api, &sandbox)?;
    Ok(())
}

fn ask(
    server: &Server,
    api: &mut Connection,
    id: &str,
    what: &str,
    body: &Value,
    status: u16,
) -> io::Result<()> {
    let path = format!("/sandboxes/{id}/{what}");
    server.ask(api, "POST", &path, body, status).map(drop)
}
