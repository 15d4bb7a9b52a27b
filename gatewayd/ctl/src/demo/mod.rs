//! `demo`: a server of its own, the whole job as an SDK does it, and proof that nothing is left.

mod freebsd;
mod job;
mod keep;
mod leaks;
mod server;
mod steps;
mod who;

use serde_json::json;

use crate::args;
use crate::doctor::on_freebsd;
use crate::error::Error;
use crate::output::Output;
use crate::up;

use self::leaks::Traces;
use self::server::Server;
use self::steps::Steps;

pub(crate) async fn run(options: args::Demo, output: Output) -> Result<u8, Error> {
    up::need_root_for(std::env::args_os())?;
    let mut stop = up::Stop::new()?;
    let mut steps = Steps::new();
    let before = leaks::Before::look();
    let dir = tempfile::Builder::new().prefix("warder-demo-").tempdir();
    let dir = dir.map_err(|e| Error::io("make a temporary directory", e))?;

    eprintln!(
        "warder demo: a server of its own in {}",
        dir.path().display()
    );
    let mut server = Server::new(dir.path());
    let mut traces = Traces::default();
    let mut table = None;
    let failure = tokio::select! {
        result = async {
            let started = steps.step("start the server", server.start()).await?;
            job::run(&started, &mut steps, &server, &mut traces, &mut table).await
        } => result.err(),
        () = stop.wished() => Some(Error::Failed("interrupted".to_owned())),
    };
    let stopped = steps.step("end the server", server.stop()).await;
    let gone = steps
        .step("look for anything left", async {
            before.compare(&traces, &server)
        })
        .await;
    if let Some(error) = &failure {
        output.error(error);
    }
    let failed = failure.is_some() || stopped.is_err() || gone.is_err();
    if failed {
        eprintln!("\nthe end of the log:\n{}", server.log());
    }
    if let Some(who) = &table {
        eprintln!("\nwho ran as what:\n{}", who::text(who));
    }
    if failed || options.keep_logs {
        eprintln!("logs are kept in {}", dir.keep().display());
    } else {
        if on_freebsd()
            && let Err(why) = freebsd::forget(&server.place().tag().to_string())
        {
            // What is still mounted below the directory must not be removed with it.
            let kept = dir.keep();
            return Err(Error::Failed(format!("{why}; {} is kept", kept.display())));
        }
        let shown = dir.path().display().to_string();
        dir.close()
            .map_err(|e| Error::io(format!("remove {shown}"), e))?;
    }
    let value =
        json!({ "ok": !failed, "steps": steps.json(), "processes": table.unwrap_or_default() });
    let verdict = if failed {
        "demo FAILED"
    } else {
        "demo done: every step worked and nothing is left"
    };
    output.result(&value, verdict);
    Ok(u8::from(failed))
}
