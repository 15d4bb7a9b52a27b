"""Pausing and resuming: asked for, at the end of its time, and by traffic."""

import inspect
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import e2b
import pytest
from e2b import NotFoundException, Sandbox, SandboxException, SandboxQuery, SandboxState, TimeoutException

SANDBOX_GONE = (TimeoutException, SandboxException)
COUNTER = "setsid sh -c 'n=0; while :; do n=$((n+1)); echo $n >/tmp/n; sleep 0.01; done' >/dev/null 2>&1 & echo $!"


def boot_id(sandbox):
    return sandbox.files.read("/proc/sys/kernel/random/boot_id")


def state(sandbox):
    return Sandbox.get_info(sandbox.sandbox_id).state


def listed(mark, *states):
    query = SandboxQuery(metadata=mark, state=list(states) or None)
    return [item.sandbox_id for item in Sandbox.list(query=query).next_items()]


@pytest.fixture
def counted(make):
    """A sandbox with a process that counts, and a way to read how far it is."""
    sandbox = make(envs={"COLOUR": "green"})
    pid = sandbox.commands.run(COUNTER).stdout.strip()

    def read():
        text = sandbox.commands.run("until n=$(cat /tmp/n 2>/dev/null) && [ -n \"$n\" ]; do :; done; echo $n").stdout.strip()
        return int(text or 0)

    return sandbox, pid, read


def test_with_memory_processes_go_on_where_they_were(counted):
    sandbox, pid, read = counted
    boot, before = boot_id(sandbox), read()
    end = sandbox.get_info().end_at
    assert sandbox.pause() is True
    info = Sandbox.get_info(sandbox.sandbox_id)
    assert (info.state, info.end_at < end) == (SandboxState.PAUSED, True)
    assert sandbox.pause() is False, "it is paused already"
    assert sandbox.is_running() is False
    with pytest.raises(SANDBOX_GONE):
        sandbox.commands.run("true")
    with pytest.raises(NotFoundException):
        sandbox.set_timeout(60)
    again = Sandbox.connect(sandbox.sandbox_id, timeout=60)
    assert again.sandbox_id == sandbox.sandbox_id
    assert boot_id(again) == boot, "it was not started anew"
    assert again.commands.run(f"kill -0 {pid} && echo lives").stdout == "lives\n"
    assert read() >= before, "the old handle works too"
    assert state(sandbox) == SandboxState.RUNNING


def test_of_the_disk_only_the_files_stay(counted):
    sandbox, _, _ = counted
    boot = boot_id(sandbox)
    sandbox.files.write("/home/user/kept.txt", "kept")
    assert sandbox.pause(keep_memory=False) is True
    sandbox.connect()
    assert boot_id(sandbox) != boot
    assert sandbox.files.read("/home/user/kept.txt") == "kept"
    assert sandbox.commands.run("pgrep -x sleep || echo gone").stdout == "gone\n"
    assert sandbox.commands.run("echo $COLOUR").stdout == "green\n", "its variables are told again"


def test_a_reboot_can_be_asked_for(counted):
    if "on_resume" not in inspect.signature(Sandbox._cls_connect_sandbox).parameters:
        pytest.skip("this SDK cannot ask for it")
    sandbox, _, _ = counted
    boot = boot_id(sandbox)
    sandbox.pause()
    sandbox.connect(on_resume="reboot")
    assert boot_id(sandbox) != boot


def test_a_strict_pause_wants_an_agent_that_answers(make):
    if "strict" not in inspect.signature(Sandbox._cls_pause).parameters:
        pytest.skip("this SDK has no strict pause")
    sandbox = make()
    assert sandbox.pause(strict=True) is True
    sandbox.connect()
    assert sandbox.commands.run("echo awake").stdout == "awake\n"


def parents(name):
    """Of the processes of this host that have this name, which ones started them."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        # Others end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{entry}/cmdline").read_bytes().startswith(name.encode() + b"\0"):
                found += numbers(entry, "PPid")
    return found


def numbers(pid, name):
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return [int(word) for word in line.split()[1:]]


@pytest.mark.skipif(not os.environ.get("WARDER_E2E_WARDER"), reason="only the server's own host can stop an agent")
def test_a_strict_pause_of_a_silent_agent_is_refused(make, api, until):
    sandbox = make()
    name = f"child-of-{sandbox.sandbox_id}"
    sandbox.commands.run(f"exec -a {name} sleep 1000", background=True)
    (agent,) = until(lambda: parents(name), "a command of the agent's")
    assert numbers(agent, "NSpid")[-1] == 1, "inside it is the first process"
    os.kill(agent, signal.SIGSTOP)
    try:
        answer = api.post(f"/sandboxes/{sandbox.sandbox_id}/pause", json={"requireHealthyGuest": True})
        assert answer.error(503)["error_code"] == "sandbox_snapshot_guest_agent_unresponsive"
        assert answer.headers["Should-Retry"] == "false"
        if "strict" in inspect.signature(Sandbox._cls_pause).parameters:
            with pytest.raises(e2b.GuestUnresponsiveException):
                sandbox.pause(strict=True)
        assert state(sandbox) == SandboxState.RUNNING
    finally:
        os.kill(agent, signal.SIGCONT)
    assert sandbox.commands.run("echo runs on").stdout == "runs on\n"
    assert api.post(f"/sandboxes/{sandbox.sandbox_id}/pause", json={"requireHealthyGuest": True}).status == 204


def test_a_running_commands_stream_ends_and_the_command_does_not(make):
    sandbox = make()
    script = "until [ -e /tmp/go ]; do sleep 0.02; done; echo done"
    command = sandbox.commands.run(script, background=True)
    sandbox.pause()
    with pytest.raises(SANDBOX_GONE):
        command.wait()
    sandbox.connect()
    again = sandbox.commands.connect(command.pid)
    sandbox.files.write("/tmp/go", "")
    assert again.wait().stdout == "done\n"


def test_many_times_over(counted):
    sandbox, _, read = counted
    seen = [read()]
    for _ in range(5):
        assert sandbox.pause() is True
        sandbox.connect()
        seen.append(read())
    assert seen == sorted(seen)


def test_lists_tell_the_paused_from_the_running(make, mark):
    sleeper, runner = make(metadata=mark), make(metadata=mark)
    sleeper.pause()
    both = {sleeper.sandbox_id, runner.sandbox_id}
    assert set(listed(mark)) == both
    assert set(listed(mark, SandboxState.RUNNING, SandboxState.PAUSED)) == both
    assert listed(mark, SandboxState.PAUSED) == [sleeper.sandbox_id]
    assert listed(mark, SandboxState.RUNNING) == [runner.sandbox_id]


def test_a_paused_one_can_be_killed(make, mark):
    sandbox = make(metadata=mark)
    sandbox.pause()
    assert sandbox.kill() is True
    assert sandbox.kill() is False
    assert listed(mark) == []
    with pytest.raises(NotFoundException):
        Sandbox.connect(sandbox.sandbox_id)
    with pytest.raises(NotFoundException):
        Sandbox.pause(sandbox.sandbox_id)


def test_at_its_end_it_is_paused(make, until):
    sandbox = make(timeout=3, lifecycle={"on_timeout": "pause"})
    boot = boot_id(sandbox)
    assert sandbox.get_info().lifecycle == {"auto_resume": False, "on_timeout": "pause"}
    until(lambda: state(sandbox) == SandboxState.PAUSED, "the pause")
    # Without auto_resume nobody gets in.
    assert sandbox.is_running() is False
    sandbox.connect(timeout=60)
    assert boot_id(sandbox) == boot


def test_at_its_end_only_its_disk_is_kept(make, until):
    sandbox = make(timeout=60, lifecycle={"on_timeout": {"action": "pause", "keep_memory": False}})
    boot = boot_id(sandbox)
    sandbox.set_timeout(0)
    until(lambda: state(sandbox) == SandboxState.PAUSED, "the pause")
    sandbox.connect()
    assert boot_id(sandbox) != boot


def test_traffic_wakes_it_once_for_all_who_wait(make, serve, edge):
    sandbox = make(lifecycle={"on_timeout": "pause", "auto_resume": True})
    serve(sandbox)
    client = edge.having({"Host": sandbox.get_host(8000)})
    boot = boot_id(sandbox)
    for _ in range(3):
        assert sandbox.pause() is True
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: client.get("/hello"), range(20)))
        assert {(a.status, a.body) for a in answers} == {(200, b"hello from inside\n")}
    assert state(sandbox) == SandboxState.RUNNING
    assert boot_id(sandbox) == boot
    # The SDK's own requests wake it too.
    sandbox.pause()
    assert sandbox.commands.run("echo awake").stdout == "awake\n"
    # It lives for five minutes from there.
    info = sandbox.get_info()
    assert 250 < (info.end_at - info.started_at).total_seconds() <= 300


def test_traffic_does_not_wake_what_lost_its_memory(make):
    sandbox = make(lifecycle={"on_timeout": "pause", "auto_resume": True})
    sandbox.pause(keep_memory=False)
    assert sandbox.is_running() is False
    assert state(sandbox) == SandboxState.PAUSED


def test_what_makes_no_sense_is_refused(make, api):
    for body in (
        {"autoPauseMemory": False},
        {"autoPause": True, "autoPauseMemory": False, "autoResume": {"enabled": True}},
        {"autoPause": "yes"},
    ):
        api.post("/v2/sandboxes", json={"templateID": "base", **body}).error(400)
    sandbox = make()
    api.post(f"/sandboxes/{sandbox.sandbox_id}/resume", json={"timeout": 60}).error(409)
    api.post(f"/sandboxes/i{'0' * 20}/pause", json={}).error(404)


def test_of_many_who_pause_and_resume_one_wins(make, api):
    sandbox = make()
    path = f"/sandboxes/{sandbox.sandbox_id}"
    for what, winner in (("pause", 204), ("resume", 201)) * 3:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: api.post(f"{path}/{what}", json={}), range(6)))
        assert sorted(a.status for a in answers) == [winner] + [409] * 5
    assert sandbox.commands.run("echo fine").stdout == "fine\n"


def test_sent_twice_it_is_made_once(api, mark):
    body = {"templateID": "base", "timeout": 60, "metadata": mark}
    keyed = api.having({"Idempotency-Key": mark["mark"]})
    first, second = keyed.post("/v2/sandboxes", json=body), keyed.post("/v2/sandboxes", json=body)
    assert (first.status, second.status) == (201, 201)
    assert first.json == second.json
    assert len(listed(mark)) == 1
    other = keyed.post("/v2/sandboxes", json={**body, "timeout": 61})
    assert other.error(422)["error_code"] == "idempotency_request_mismatch"
    api.having({"Idempotency-Key": "A b"}).post("/v2/sandboxes", json=body).error(400)
    Sandbox.kill(first.json["sandboxID"])
