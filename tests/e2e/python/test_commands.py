"""Commands: foreground, background, input, signals, streams, time limits, surroundings."""

import hashlib
import threading

import pytest
from e2b import (
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotFoundException,
    SandboxException,
    TimeoutException,
)

from plain import envelope, envelopes

HELD = "until [ -e /tmp/go ]; do sleep 0.02; done; "


def test_output_and_exit_code(sandbox):
    result = sandbox.commands.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)
    assert not result.error


def test_a_failure_carries_everything(sandbox):
    with pytest.raises(CommandExitException) as failure:
        sandbox.commands.run("echo out; echo err >&2; exit 7")
    assert failure.value.exit_code == 7
    assert (failure.value.stdout, failure.value.stderr) == ("out\n", "err\n")


def test_an_unknown_command_is_a_shell_error(sandbox):
    with pytest.raises(CommandExitException) as failure:
        sandbox.commands.run("no-such-command-anywhere")
    assert failure.value.exit_code == 127
    assert "no-such-command-anywhere" in failure.value.stderr


def test_output_streams_while_the_command_runs(sandbox):
    """The command waits for what only the callback does, so output kept back would never end."""
    heard = []

    def on_stdout(text):
        heard.append(text)
        if "one" in text:
            sandbox.files.write("/tmp/go", "")

    result = sandbox.commands.run(f"echo one; {HELD}echo two", on_stdout=on_stdout, timeout=20)
    assert "".join(heard) == result.stdout == "one\ntwo\n"


def test_both_callbacks_hear_their_own_stream(sandbox):
    out, err = [], []
    sandbox.commands.run(
        "for i in 1 2 3; do echo out$i; echo err$i >&2; done", on_stdout=out.append, on_stderr=err.append
    )
    assert "".join(out) == "out1\nout2\nout3\n"
    assert "".join(err) == "err1\nerr2\nerr3\n"


def test_large_output_is_whole(sandbox):
    lines = sandbox.commands.run("seq 1 200000").stdout.splitlines()
    assert len(lines) == 200000 and lines[0] == "1" and lines[-1] == "200000"


def test_characters_survive_the_cuts_between_chunks(sandbox):
    text = sandbox.commands.run("for i in $(seq 20000); do printf 'ž☃🚀'; done").stdout
    assert text == "ž☃🚀" * 20000


def test_surroundings(sandbox):
    show = 'echo "$(whoami) $(pwd) $HOME $USER $LOGNAME $E2B_SANDBOX"'
    assert sandbox.commands.run(show).stdout == "user /home/user /home/user user user true\n"
    assert sandbox.commands.run(show, user="root").stdout.split()[:3] == ["root", "/root", "/root"]


def test_envs_of_one_command_stay_with_it(sandbox):
    assert sandbox.commands.run("echo $ONCE", envs={"ONCE": "here"}).stdout == "here\n"
    assert sandbox.commands.run("echo $ONCE").stdout == "\n"


def test_cwd(sandbox):
    sandbox.files.make_dir("/tmp/deep/er")
    assert sandbox.commands.run("pwd", cwd="/tmp/deep/er").stdout == "/tmp/deep/er\n"
    with pytest.raises(InvalidArgumentException) as failure:
        sandbox.commands.run("pwd", cwd="/no/such/place")
    assert "/no/such/place" in str(failure.value)


def test_users(sandbox):
    assert sandbox.commands.run("id -u", user="root").stdout == "0\n"
    assert sandbox.commands.run("sudo -n id -u").stdout == "0\n"
    assert sandbox.commands.run("id -u", user="user").stdout != "0\n"
    with pytest.raises(AuthenticationException) as failure:
        sandbox.commands.run("true", user="nobody-of-that-name")
    assert "nobody-of-that-name" in str(failure.value)


def test_what_a_developer_expects_is_inside(sandbox):
    for tool in ("bash --version", "curl --version", "git --version", "python3 --version", "node --version"):
        assert sandbox.commands.run(tool).exit_code == 0


def test_the_time_limit_kills_the_command(sandbox, until):
    with pytest.raises(TimeoutException):
        sandbox.commands.run("echo $$ >/tmp/pid; exec sleep 1000", timeout=1)
    alive = "kill -0 $(cat /tmp/pid) 2>/dev/null && echo alive || echo gone"
    until(lambda: sandbox.commands.run(alive).stdout == "gone\n", "the end of the command")


def test_no_time_limit(sandbox):
    assert sandbox.commands.run("sleep 0.1; echo done", timeout=0).stdout == "done\n"


def test_background(sandbox):
    handle = sandbox.commands.run(f"echo early; {HELD}echo late; exit 3", background=True)
    found = {process.pid: process for process in sandbox.commands.list()}
    assert handle.pid in found
    process = found[handle.pid]
    assert process.cmd == "/bin/bash" and process.args[:2] == ["-l", "-c"]
    sandbox.files.write("/tmp/go", "")
    with pytest.raises(CommandExitException) as end:
        handle.wait()
    assert (end.value.exit_code, end.value.stdout) == (3, "early\nlate\n")
    assert handle.pid not in [process.pid for process in sandbox.commands.list()]


def test_list_shows_surroundings(sandbox):
    handle = sandbox.commands.run("sleep 1000", background=True, cwd="/tmp", envs={"SHOWN": "yes"})
    (process,) = [p for p in sandbox.commands.list() if p.pid == handle.pid]
    assert process.cwd == "/tmp"
    assert process.envs.get("SHOWN") == "yes"
    assert process.args[-1] == "sleep 1000"


def test_kill(sandbox):
    handle = sandbox.commands.run("exec sleep 1000", background=True)
    assert handle.kill() is True
    with pytest.raises(CommandExitException) as end:
        handle.wait()
    assert end.value.exit_code == -1
    assert end.value.error == "signal: killed"
    assert handle.kill() is False
    assert sandbox.commands.kill(handle.pid) is False
    assert sandbox.commands.kill(999999) is False


def test_a_dropped_connection_kills_nothing(sandbox):
    handle = sandbox.commands.run(f"{HELD}echo late; exit 4", background=True)
    handle.disconnect()
    again = sandbox.commands.connect(handle.pid)
    sandbox.files.write("/tmp/go", "")
    with pytest.raises(CommandExitException) as end:
        again.wait()
    assert (end.value.exit_code, end.value.stdout) == (4, "late\n")


def test_two_listeners_hear_the_same(sandbox):
    first = sandbox.commands.run(f"{HELD}echo both", background=True)
    second = sandbox.commands.connect(first.pid)
    sandbox.files.write("/tmp/go", "")
    assert first.wait().stdout == second.wait().stdout == "both\n"


def test_a_late_connect_still_hears_the_end(sandbox, until):
    handle = sandbox.commands.run("exit 5", background=True)
    with pytest.raises(CommandExitException):
        handle.wait()
    with pytest.raises(CommandExitException) as end:
        sandbox.commands.connect(handle.pid).wait()
    assert end.value.exit_code == 5


def test_connect_to_a_process_that_never_was(sandbox):
    with pytest.raises(NotFoundException):
        sandbox.commands.connect(999999)


def test_input(sandbox):
    handle = sandbox.commands.run("cat; echo end", background=True, stdin=True)
    sandbox.commands.send_stdin(handle.pid, "first\n")
    sandbox.commands.send_stdin(handle.pid, "zweitens ☃\n")
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "first\nzweitens ☃\nend\n"


def test_large_input(sandbox):
    handle = sandbox.commands.run("sha256sum | cut -c-64; exit 0", background=True, stdin=True)
    block, digest = b"0123456789abcdef" * 2048, hashlib.sha256()
    for _ in range(20):
        sandbox.commands.send_stdin(handle.pid, block.decode())
        digest.update(block)
    handle.close_stdin()
    assert handle.wait().stdout.strip() == digest.hexdigest()


def test_without_input_there_is_an_end_of_file(sandbox):
    assert sandbox.commands.run("cat; echo end", timeout=20).stdout == "end\n"


def test_input_to_a_command_that_takes_none(sandbox):
    handle = sandbox.commands.run("sleep 1000", background=True, stdin=False)
    with pytest.raises(SandboxException):
        sandbox.commands.send_stdin(handle.pid, "x")
    with pytest.raises(NotFoundException):
        sandbox.commands.send_stdin(999999, "x")


def test_a_polite_signal(sandbox, agent):
    """The SDK only kills; other clients send SIGTERM."""
    script = 'trap "echo asked to stop; exit 9" TERM; echo ready; while :; do sleep 0.02; done'
    handle = sandbox.commands.run(script, background=True, timeout=20)
    events = iter(handle)
    assert next(events)[0] == "ready\n"
    body = {"process": {"pid": handle.pid}, "signal": "SIGNAL_SIGTERM"}
    assert agent(sandbox).post("/process.Process/SendSignal", json=body).status == 200
    with pytest.raises(CommandExitException) as end:
        handle.wait()
    assert end.value.exit_code == 9
    assert "asked to stop\n" in end.value.stdout


def test_many_at_once_do_not_mix(sandbox):
    handles = [sandbox.commands.run(f"{HELD}seq {n} {n + 99}", background=True) for n in range(0, 1000, 100)]
    sandbox.files.write("/tmp/go", "")
    for n, handle in enumerate(handles):
        assert handle.wait().stdout.split() == [str(i) for i in range(n * 100, n * 100 + 100)]


def test_a_sandbox_killed_meanwhile_ends_its_commands(make):
    sandbox = make()
    handle = sandbox.commands.run("echo up; sleep 1000", background=True, timeout=0)
    killer = threading.Thread(target=sandbox.kill)
    with pytest.raises(SandboxException):
        handle.wait(on_stdout=lambda _: killer.start())
    killer.join()
    assert not sandbox.is_running()


def test_a_command_leaves_no_zombies(sandbox, until):
    sandbox.commands.run("for i in $(seq 20); do (sleep 0.01 &) ; done")
    # Those that run still and those that nobody reaps.
    look = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep)'; true"
    until(lambda: sandbox.commands.run(look).stdout == "0\n", "the end of the orphans")


def test_the_stream_on_the_wire(sandbox, agent):
    """Start first, the end event, then the envelope that closes the stream: HTTP 200 throughout."""
    start = {"process": {"cmd": "/bin/echo", "args": ["plain"]}, "stdin": False}
    headers = {"Content-Type": "application/connect+json", "Connect-Protocol-Version": "1"}
    answer = agent(sandbox).post("/process.Process/Start", body=envelope(start), headers=headers)
    assert answer.status == 200
    messages = envelopes(answer.body)
    events = [message["event"] for flags, message in messages if flags == 0]
    assert int(events[0]["start"]["pid"]) > 1
    assert events[1]["data"]["stdout"] == "cGxhaW4K"
    assert events[-1]["end"]["status"] == "exit status 0" and events[-1]["end"]["exited"] is True
    assert messages[-1] == (2, {})


def test_an_error_of_a_stream_on_the_wire(sandbox, agent):
    start = {"process": {"cmd": "/bin/echo", "cwd": "/no/such/place"}}
    headers = {"Content-Type": "application/connect+json", "Connect-Protocol-Version": "1"}
    answer = agent(sandbox).post("/process.Process/Start", body=envelope(start), headers=headers)
    assert answer.status == 200
    flags, end = envelopes(answer.body)[-1]
    assert flags == 2 and end["error"]["code"] == "invalid_argument"
