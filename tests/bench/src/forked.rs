//! Snapshots and forks of a sandbox that has changed 10 MB in 200 files of a tree of 1 GB in 20,000 files.

use std::io;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::http::Connection;
use crate::stats::Samples;
use crate::warder::Server;

const ROUNDS: usize = 20;
/// Times 100 forks.
const CROWDS: usize = 3;
const CROWD: usize = 100;

/// 20,000 files of 52 kB in the home of the user.
const TREE: &str = "import os
block = os.urandom(52000)
for d in range(200):
    os.makedirs(f'/home/user/tree/{d}')
    for n in range(100): open(f'/home/user/tree/{d}/{n}', 'wb').write(block)
print('hello')";
/// One file in each directory anew.
const CHANGE: &str = "import os
block = os.urandom(52000)
for d in range(200): open(f'/home/user/tree/{d}/7', 'wb').write(block)
print('hello')";

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let mut api = server.connect()?;
    let mut edge = server.connect_edge()?;
    let python = |text| ("/usr/bin/python3", ["-c", text]);
    let first = server.create(&mut api)?;
    let (program, tree) = python(TREE);
    first.run(&mut edge, (program, &tree))?;
    let template = snapshot(server, &mut api, &first.id)?;
    server.kill(&mut api, &first)?;

    let source = server.create_from(&mut api, &template)?;
    let (program, change) = python(CHANGE);
    for _ in 0..ROUNDS {
        source.run(&mut edge, (program, &change))?;
        let begun = Instant::now();
        let made = snapshot(server, &mut api, &source.id)?;
        samples.time("warder snapshot", begun.elapsed());
        remove(server, &mut api, &made)?;
        // Nothing was changed since: the disk has it all.
        let begun = Instant::now();
        let made = snapshot(server, &mut api, &source.id)?;
        samples.time("warder snapshot synced", begun.elapsed());
        remove(server, &mut api, &made)?;
        let begun = Instant::now();
        let forks = fork(server, &mut api, &source.id, 1)?;
        samples.time("warder fork", begun.elapsed());
        end(server, &mut api, &forks)?;
    }
    for _ in 0..CROWDS {
        source.run(&mut edge, (program, &change))?;
        let begun = Instant::now();
        let forks = fork(server, &mut api, &source.id, CROWD)?;
        samples.time("warder 100 forks", begun.elapsed());
        end(server, &mut api, &forks)?;
    }
    server.kill(&mut api, &source)?;
    remove(server, &mut api, &template)?;
    Ok(())
}

fn snapshot(server: &Server, api: &mut Connection, id: &str) -> io::Result<String> {
    let path = format!("/sandboxes/{id}/snapshots");
    let made = server.ask(api, "POST", &path, &json!({}), 201)?;
    Ok(made["snapshotID"].as_str().unwrap_or_default().to_owned())
}

fn remove(server: &Server, api: &mut Connection, template: &str) -> io::Result<()> {
    let path = format!("/templates/{template}");
    server
        .ask(api, "DELETE", &path, &Value::Null, 204)
        .map(drop)
}

fn fork(server: &Server, api: &mut Connection, id: &str, count: usize) -> io::Result<Vec<String>> {
    let path = format!("/sandboxes/{id}/fork");
    let asked = json!({ "count": count, "timeout": 900 });
    let made = server.ask(api, "POST", &path, &asked, 201)?;
    let forks = made.as_array().into_iter().flatten();
    let ids = forks.filter_map(|fork| fork["sandbox"]["sandboxID"].as_str());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    if ids.len() == count {
        return Ok(ids);
    }
    Err(crate::http::bad(format!(
        "{} forks of {count}: {made}",
        ids.len()
    )))
}

fn end(server: &Server, api: &mut Connection, ids: &[String]) -> io::Result<()> {
    for id in ids {
        let path = format!("/sandboxes/{id}");
        server.ask(api, "DELETE", &path, &Value::Null, 204)?;
    }
    Ok(())
}
