//! What this program does inside a sandbox: one attempt, one line of JSON.

mod files;
mod ipc;
mod net;
mod process;

use std::process::ExitCode;

use serde_json::{Value, json};
use warder_probe::Said;

/// Makes the attempt that `words` name and says what came of it.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = attempt(&words);
    println!("{}", json!({ "holds": said.holds, "seen": said.seen }));
    // The caller reads the line; a probe that was killed writes none.
    ExitCode::SUCCESS
}

/// What a probe wrote.
pub(crate) fn read(line: &str) -> Option<Said> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(Said {
        holds: value["holds"].as_bool()?,
        seen: value["seen"].as_str()?.to_owned(),
    })
}

fn attempt(words: &[&str]) -> Said {
    match words {
        ["attempt", name] => {
            warder_probe::make(name).unwrap_or_else(|| Said::broke("no such attempt"))
        }
        ["trace", pid] => pid
            .parse()
            .map_or_else(|_| Said::broke("not a number"), warder_probe::trace),
        ["touch", pid] => pid
            .parse()
            .map_or_else(|_| Said::broke("not a number"), warder_probe::touch),
        ["signal", pid] => process::signal(pid),
        ["spawn", most] => process::spawn(most),
        ["threads", most] => process::threads(most),
        ["eat", mib] => process::eat(mib),
        ["spin", threads, ms] => process::spin(threads, ms),
        ["find", mark] => files::find(mark),
        ["closed", paths @ ..] => files::closed(paths),
        ["unix", path] => files::unix(path),
        ["abstract", name] => warder_probe::connect_abstract(name),
        ["sysv", kind, key] => ipc::sysv(kind, key),
        ["sysv-make", key] => ipc::make(key),
        ["posix", name] => ipc::posix(name),
        ["queue", name] => warder_probe::queue_is_seen(name),
        ["tcp", address, port] => net::tcp(address, port),
        ["udp", address, port] => net::udp(address, port),
        ["dns", server, name] => net::dns(server, name),
        ["six"] => net::six(),
        ["bind", address] => net::bind(address),
        ["address"] => net::own_address(),
        ["serve", address, port] => net::serve(address, port),
        ["hold", address, port] => net::hold(address, port),
        _ => Said::broke(format!("no such probe: {}", words.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let said = Said::held("EPERM \"as root\"");
        let line = json!({ "holds": said.holds, "seen": said.seen }).to_string();
        assert_eq!(read(&line), Some(said));
        assert_eq!(read("segmentation fault"), None);
        assert!(!attempt(&["nothing"]).holds);
    }
}
