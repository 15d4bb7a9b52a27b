//! Plugins that are wrong or hostile: each costs one operation and a line in the log, or the process that
//! holds it, and reaches nothing else.
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Host, build, create, directory, hostile, id, namespace, plugins};
use warder_abi::message::kind;
use warder_abi::{Answer as Bytes, Head, Instance, Plugin, PluginCalls};
use warder_wire::gateway_plugin::{Answer, Ask};
use warder_wire::{FaultCode, SandboxId, plugin_priv};

fn start(behaviour: &str) -> (tempfile::TempDir, Host) {
    let scene = directory("hostile", &hostile(), behaviour);
    let host = Host::start(scene.path(), "hostile");
    (scene, host)
}

/// Ends without having served; what it logged.
fn refused(scene: &Path, backend: &str) -> String {
    let mut host = Host::start(scene, backend);
    let status = host.ended();
    assert!(!status.success(), "{status}");
    host.logs("pluginhost: ")
}

#[test]
fn a_panic_ends_this_process_only() {
    let (_scene, host) = start("panics");
    let mut host = host.ready();
    host.ask(create(1, 1, 10_000));
    assert!(host.hung_up(), "the gateway sees the channel end");
    assert!(!host.ended().success());
    host.logs("in create");
}

#[test]
fn an_exit_an_overflow_and_a_hoard_end_this_process_only() {
    for behaviour in ["exits", "overflows", "eats-memory"] {
        let (_scene, host) = start(behaviour);
        let mut host = host.ready();
        host.ask(create(1, 1, 20_000));
        assert!(host.hung_up(), "{behaviour}");
        host.ended();
    }
}

#[test]
fn a_hang_is_answered_in_time_and_ends_the_process_after_a_grace() {
    let (_scene, host) = start("hangs");
    let mut host = host.ready();
    let begin = Instant::now();
    let fault = host.call(create(1, 1, 400)).expect_err("it hangs");
    assert_eq!(fault.code, FaultCode::TimedOut);
    assert!((400..4_000).contains(&begin.elapsed().as_millis()));
    // Others are served meanwhile.
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
    // Asked again, it is not begun again.
    let again = host.call(create(1, 1, 400)).expect_err("still");
    assert_eq!(again.code, FaultCode::TimedOut);
    assert_eq!(host.ended().code(), Some(3));
    assert!(begin.elapsed() > Duration::from_secs(10));
    host.logs(&format!("audit: create of {}: the plugin hangs", id(1)));
}

#[test]
fn lies_are_faults_and_reach_nobody() {
    let (_scene, host) = start("lies");
    let mut host = host.ready();
    let asked = host.ask(create(1, 1, 10_000));
    // The only lie that is a well-formed question reaches privd, which knows whose sandbox it is.
    let (seq, foreign) = host.asked();
    let name = SandboxId::new("iforeignforeignforeig").expect("a name");
    assert!(matches!(foreign, plugin_priv::Ask::CellRemove { sandbox, .. } if sandbox == name));
    let fault = warder_wire::Fault::new(FaultCode::NotFound, "no such sandbox");
    host.reply(seq, Err(fault));
    let (seq, result) = host.answer();
    assert_eq!(
        (seq, result.expect_err("garbage").code),
        (asked, FaultCode::System)
    );
    assert!(host.refuse().is_empty(), "nothing else reached privd");
    for (lie, said) in [
        ("foreign", "NotFound"),
        ("path", "Refused"),
        ("template", "Refused"),
        ("limits", "Refused"),
        ("unknown", "Refused"),
        ("garbage", "Refused"),
    ] {
        host.logs(&format!("lie {lie}: {said}"));
    }
    host.logs("audit: the plugin named what is no sandbox or template");
    host.logs("audit: the plugin asked for limits out of bounds");
    host.logs("audit: the plugin sent an event that there is not");
    host.logs(&format!(
        "audit: create of {}: the plugin sent what is no message",
        id(1)
    ));
    host.logs("plugin: two?lines");
    let fault = host
        .call(Ask::Stats { sandbox: id(1) })
        .expect_err("garbage");
    assert_eq!(fault.code, FaultCode::System);
    let Ok(Answer::Described(said)) = host.call(Ask::Describe) else {
        panic!("a description");
    };
    assert!(
        said.title.len() <= 240 && said.title.starts_with("hostile?x"),
        "{}",
        said.title
    );
}

/// Every reported attempt failed, and all were made.
fn all_failed(host: &Host, when: &str) {
    host.logs(&format!("attack {when} over"));
    let lines = host.logged();
    let attacks: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with(&format!("attack {when} ")))
        .collect();
    assert_eq!(attacks.len(), 15, "{attacks:#?}");
    assert!(
        !attacks.iter().any(|line| line.contains("DONE")),
        "{attacks:#?}"
    );
}

#[test]
fn a_constructor_can_do_nothing() {
    let (scene, host) = start("constructor");
    let mut host = host.ready();
    all_failed(&host, "constructor");
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
    let secret = std::fs::read_to_string(scene.path().join("secret")).expect("there");
    assert_eq!(secret, "secret");
    let mut files: Vec<_> = std::fs::read_dir(scene.path().join("plugin"))
        .expect("there")
        .map(|f| f.expect("one").file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["behaviour", "libhostile.so"]);
}

#[test]
fn a_thread_of_a_constructor_is_filtered_with_the_rest() {
    let (_scene, host) = start("constructor-thread");
    let host = host.ready();
    all_failed(&host, "late");
    // What the first filter allowed, the last does not.
    host.logs("attack late write-plugin: 1");
}

#[test]
fn a_call_can_do_nothing_either() {
    let (_scene, host) = start("attacks");
    let mut host = host.ready();
    let fault = host.call(create(1, 1, 10_000)).expect_err("it says so");
    assert_eq!(fault.code, FaultCode::System);
    all_failed(&host, "call");
}

#[test]
fn the_worst_is_not_survived() {
    for behaviour in [
        "constructor-exec",
        "constructor-ptrace",
        "constructor-mount",
    ] {
        let (_scene, mut host) = start(behaviour);
        let status = host.ended();
        assert_eq!(
            status.signal(),
            Some(libc::SIGSYS),
            "{behaviour}: {:?}",
            host.logged()
        );
        assert!(!host.logged().iter().any(|line| line.contains("survived")));
    }
    let (_scene, host) = start("attacks-exec");
    let mut host = host.ready();
    host.ask(create(1, 1, 10_000));
    assert!(host.hung_up());
    assert_eq!(host.ended().signal(), Some(libc::SIGSYS));
}

#[test]
fn a_constructor_that_hangs_is_never_ready() {
    let (_scene, mut host) = start("constructor-hangs");
    let ready = host
        .privd
        .recv_timeout::<warder_wire::start::Ready>(Duration::from_secs(2));
    assert!(
        matches!(ready, Err(warder_ipc::IpcError::TimedOut)),
        "{ready:?}"
    );
}

#[test]
fn a_plugin_that_refuses_says_why_in_one_line() {
    let (scene, _host) = start("");
    std::fs::write(scene.path().join("plugin/behaviour"), "refuses").expect("write");
    let line = refused(scene.path(), "hostile");
    assert_eq!(
        line,
        "pluginhost: libhostile.so: refused to start: Unsupported: not?[2J today"
    );
    std::fs::write(scene.path().join("plugin/behaviour"), "panics-at-start").expect("write");
    let mut host = Host::start(scene.path(), "hostile");
    assert!(!host.ended().success());
}

#[test]
fn privd_is_not_asked_while_loading() {
    let (_scene, host) = start("asks-at-start");
    let host = host.ready();
    host.logs("asked at start: Unavailable");
}

#[test]
fn what_others_than_root_can_write_is_not_loaded() {
    let scene = directory("namespace", &namespace(), "");
    let plugin = scene.path().join("plugin");
    let library = plugin.join("libnamespace.so");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    };
    mode(&library, 0o775);
    assert!(refused(scene.path(), "namespace").contains("can be written by others"));
    mode(&library, 0o755);
    std::os::unix::fs::chown(&library, Some(64_331), None).expect("chown");
    assert!(refused(scene.path(), "namespace").contains("is not root's"));
    std::os::unix::fs::chown(&library, Some(0), None).expect("chown");
    mode(&plugin, 0o777);
    assert!(refused(scene.path(), "namespace").contains("can be written by others"));
    mode(&plugin, 0o755);
    std::fs::rename(&library, scene.path().join("elsewhere")).expect("rename");
    assert!(refused(scene.path(), "namespace").contains("there is no such plugin"));
    std::os::unix::fs::symlink("../elsewhere", &library).expect("link");
    assert!(!refused(scene.path(), "namespace").is_empty());
    std::fs::remove_file(&library).expect("remove");
    std::fs::rename(scene.path().join("elsewhere"), &library).expect("rename");
    Host::start(scene.path(), "namespace").ready();
}

#[test]
fn what_is_no_plugin_is_not_loaded() {
    let scene = directory("text", &plugins().join("host/Cargo.toml"), "");
    assert!(refused(scene.path(), "text").contains("cannot be opened"));
    // A library, but no plugin.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let libc = maps.lines().find_map(|line| {
        line.split_whitespace()
            .nth(5)
            .filter(|file| file.contains("/libgcc_s"))
    });
    let scene = directory(
        "other",
        Path::new(libc.expect("this test is linked to it")),
        "",
    );
    let line = refused(scene.path(), "other");
    assert_eq!(line, "pluginhost: libother.so: is no Warder plugin");
}

/// The same interface under another version: a copy of `plugins/abi` and of the hostile plugin.
#[test]
fn another_version_of_the_interface_is_refused_in_one_line() {
    let copy = tempfile::tempdir().expect("a directory");
    let root = plugins().parent().expect("the root").to_owned();
    let read = |path: &Path| std::fs::read_to_string(path).expect("there");
    let manifest = read(&root.join("Cargo.toml"));
    let (head, rest) = manifest.split_once("members = [").expect("a workspace");
    let (_, tail) = rest.split_once("\n]").expect("a list");
    let manifest = format!("{head}members = [\"abi\", \"plugin\"{tail}");
    let manifest = manifest.replacen("\"abi\", \"plugin\"", "\"abi\", \"plugin\"]", 1);
    let write = |name: &str, text: &str| {
        let path = copy.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    };
    write("Cargo.toml", &manifest);
    write("Cargo.lock", &read(&root.join("Cargo.lock")));
    let abi = read(&root.join("plugins/abi/Cargo.toml"));
    assert!(
        abi.contains("version = \"0.1.0\""),
        "the version this test changes"
    );
    write(
        "abi/Cargo.toml",
        &abi.replacen("version = \"0.1.0\"", "version = \"0.2.0\"", 1),
    );
    for file in std::fs::read_dir(root.join("plugins/abi/src")).expect("sources") {
        let file = file.expect("one");
        write(
            &format!("abi/src/{}", file.file_name().display()),
            &read(&file.path()),
        );
    }
    write(
        "plugin/Cargo.toml",
        "[package]\nname = \"newer\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\nwarder-abi = { path = \"../abi\" }\n",
    );
    write(
        "plugin/src/lib.rs",
        "struct Newer;\nimpl warder_abi::PluginCalls for Newer {\n    fn call(&self, _: warder_abi::Head, _: &[u8]) \
         -> warder_abi::Answer { Ok(Vec::new()) }\n}\nwarder_abi::export_plugin!(1, |_| Ok(Newer));\n",
    );
    let newer = build(
        &copy.path().join("Cargo.toml"),
        "newer",
        "libnewer.so",
        &["--offline"],
    );
    let scene = directory("newer", &newer, "");
    assert_eq!(
        refused(scene.path(), "newer"),
        "pluginhost: libnewer.so: was built for warder-abi 0.2.0, this host has 0.1.0; build it again"
    );
}

struct Loaded(Instance);

impl PluginCalls for Loaded {
    fn call(&self, head: Head, body: &[u8]) -> Bytes {
        self.0.call(head, body)
    }
}

/// The conformance kit against the libraries themselves, loaded as pluginhost loads them.
#[test]
fn the_shipped_libraries_conform() {
    for library in [namespace(), common::example()] {
        let plugin = Plugin::load(&library, kind::BACKEND).expect("it loads");
        warder_sdk::conformance::run(&|host| {
            Box::new(Loaded(plugin.instantiate(host).expect("it starts")))
        });
    }
    let wrong = Plugin::load(&namespace(), kind::CREDENTIAL).expect_err("another kind");
    assert_eq!(wrong.to_string(), "is a plugin of kind 1");
}
