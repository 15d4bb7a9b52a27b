//! Against programs that any system has; none of them is a shell.

use std::os::fd::AsRawFd;

use super::*;
use crate::Tool;

fn call(path: &'static str, args: &[&str]) -> Call {
    Call::new(Tool::Sample(path), args.iter().copied())
}

fn text(call: &Call) -> String {
    run(call).expect("runs").text().into_owned()
}

#[test]
fn arguments_go_as_they_are() {
    let odd = ["$(id)", "a b", ";", "*", "", "'\""];
    assert_eq!(text(&call("/bin/echo", &odd)), "$(id) a b ; *  '\"\n");
    assert_eq!(
        call("/bin/echo", &["a b", "c=d", ""]).to_string(),
        "/bin/echo \"a b\" c=d \"\""
    );
}

#[test]
fn the_environment_holds_a_locale_only() {
    assert_eq!(text(&call("/usr/bin/env", &[])), "LC_ALL=C\n");
}

#[test]
fn it_starts_at_the_root_with_standard_descriptors_only() {
    assert_eq!(text(&call("/bin/pwd", &["-P"])), "/\n");
    // Inherited by everything, were it not for this crate.
    let open = File::open("/").expect("opens");
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).expect("sets");
    let listed = text(&call("/bin/ls", &["/dev/fd/"]));
    // 3 is ls's own, which reads the directory; a system without fdescfs has the first three only.
    let numbers: Vec<i32> = listed.lines().filter_map(|l| l.parse().ok()).collect();
    assert!(numbers.starts_with(&[0, 1, 2]), "{listed}");
    assert!(numbers.len() <= 4, "{listed}");
    assert!(open.as_raw_fd() > 2);
}

#[test]
fn standard_input_is_empty_or_what_was_given() {
    assert_eq!(text(&call("/bin/cat", &[])), "");
    let lines = "block drop all\n".repeat(20_000);
    assert_eq!(text(&call("/bin/cat", &[]).input(lines.clone())), lines);
    // One that does not read it.
    assert_eq!(text(&call("/bin/echo", &["hi"]).input(lines)), "hi\n");
}

#[test]
fn a_failure_says_what_was_run_and_what_the_tool_said() {
    let error = run(&call("/bin/ls", &["/no such place"])).expect_err("fails");
    assert!(matches!(error.code(), Some(1 | 2)), "{error}");
    let said = error.to_string();
    assert!(
        said.starts_with("`/bin/ls \"/no such place\"` exited with code "),
        "{said}"
    );
    assert!(said.ends_with("No such file or directory"), "{said}");
    assert!(error.words().contains("/no such place"), "{said}");

    let error = run(&call("/usr/bin/env", &["/usr/bin/false"])).expect_err("fails");
    assert_eq!(
        error.to_string(),
        "`/usr/bin/env /usr/bin/false` exited with code 1"
    );
}

#[test]
fn one_that_is_not_there_is_named() {
    let error = run(&call("/sbin/no-such-tool", &[])).expect_err("fails");
    assert!(matches!(
        error,
        ToolError::Missing {
            path: "/sbin/no-such-tool"
        }
    ));
    let error = run(&call("/dev/null", &[])).expect_err("fails");
    assert!(matches!(error, ToolError::Start { .. }), "{error}");
    let error = run(&call("/bin/echo", &["a\0b"])).expect_err("fails");
    assert!(matches!(error, ToolError::Start { .. }), "{error}");
}

#[test]
fn one_that_takes_too_long_is_killed() {
    let started = Instant::now();
    let slow = call("/bin/sleep", &["60"]).within(Duration::from_millis(100));
    let error = run(&slow).expect_err("fails");
    assert_eq!(
        error.to_string(),
        "`/bin/sleep 60` took more than 100 ms and was killed"
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn one_that_prints_too_much_is_killed() {
    let error = run(&call("/usr/bin/yes", &[]).most(100_000)).expect_err("fails");
    assert!(
        matches!(error, ToolError::TooMuch { most: 100_000, .. }),
        "{error}"
    );
    let much = text(
        &call("/bin/cat", &[])
            .input(vec![b'x'; 500_000])
            .most(500_000),
    );
    assert_eq!(much.len(), 500_000);
}

#[test]
fn words_are_one_plain_line() {
    assert_eq!(plain(b"one\n\ntwo\x1b[31m\r\n"), "one; two [31m");
    assert_eq!(plain(&[b'a'; 9000]).len(), 2048);
    let failed = ToolError::failed(&call("/bin/echo", &["x"]), 1, "no\nway\n");
    assert_eq!(
        failed.to_string(),
        "`/bin/echo x` exited with code 1: no; way"
    );
    assert_eq!(failed.words(), "no; way");
}
