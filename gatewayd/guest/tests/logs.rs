//! What the agent tells the gateway about itself.

mod common;

use common::{Envd, shell};
use serde_json::{Value, json};

fn entries(envd: &Envd) -> Vec<Value> {
    let whole = envd.control("GET", "/logs", &[], b"").json();
    assert_eq!(whole["dropped"], 0);
    whole["entries"].as_array().expect("a list").clone()
}

#[test]
fn processes_leave_their_name_and_end_and_nothing_else() {
    let envd = Envd::start();
    let mut script = shell("echo $SECRET; exit 3");
    script["process"]["envs"] = json!({"SECRET": "s3cr3t"});
    let method = "process.Process/Start";
    envd.events(method, &script, &[]).ran();
    let missing = json!({"process": {"cmd": "/no/such", "args": ["s3cr3t"]}});
    envd.events(method, &missing, &[]).ran();
    let all = entries(&envd);
    let text = json!(all).to_string();
    assert!(!text.contains("s3cr3t") && !text.contains("echo"), "{text}");
    assert_eq!(all[0]["message"], "agent started");
    assert_eq!(all[1]["message"], "settings received");
    let of = |message: &str| {
        let found = all.iter().find(|e| e["message"] == message);
        found.unwrap_or_else(|| panic!("{message}: {text}")).clone()
    };
    let (started, ended) = (of("process started"), of("process ended"));
    assert_eq!(started["process"]["user"], "root");
    assert_eq!(started["process"]["pid"], ended["process"]["pid"]);
    assert_eq!(ended["process"]["exit_code"], 3);
    assert_eq!(
        (&ended["level"], &ended["logger"]),
        (&json!("info"), &json!("process"))
    );
    let refused = of("process not started: InvalidArgument");
    assert_eq!(
        refused["process"],
        json!({"cmd": "/no/such", "user": "root"})
    );
    assert!(ended["at"].as_u64() >= started["at"].as_u64());
}

#[test]
fn clients_do_not_get_them() {
    let envd = Envd::start();
    assert_eq!(envd.get("/logs").status, 404);
}
