"""Create, connect, look at, prolong, end."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from e2b import (
    AuthenticationException,
    NotFoundException,
    Sandbox,
    SandboxException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)


def listed(mark):
    return [item.sandbox_id for item in Sandbox.list(query=of(mark)).next_items()]


def of(mark):
    return SandboxQuery(metadata=mark)


def test_a_new_sandbox_answers_and_describes_itself(make, mark):
    sandbox = make(timeout=90, metadata=mark)
    assert re.fullmatch("i[a-z0-9]{20}", sandbox.sandbox_id)
    assert sandbox.commands.run("echo ready").stdout == "ready\n"
    info = sandbox.get_info()
    assert info.sandbox_id == sandbox.sandbox_id
    assert info.state == SandboxState.RUNNING
    assert info.metadata == mark
    assert info.envd_version == "0.6.13"
    assert info.cpu_count >= 1 and info.memory_mb >= 64
    assert abs((info.end_at - info.started_at).total_seconds() - 90) <= 1


def test_the_default_template_is_base(make):
    named, default = make("base"), make()
    assert named.get_info().template_id == default.get_info().template_id


def test_the_class_answers_by_id_too(make):
    sandbox = make()
    assert Sandbox.get_info(sandbox.sandbox_id).sandbox_id == sandbox.sandbox_id
    assert Sandbox.kill(sandbox.sandbox_id) is True
    assert Sandbox.kill(sandbox.sandbox_id) is False


def test_a_killed_sandbox_is_gone_everywhere(make, mark):
    sandbox = make(metadata=mark)
    assert sandbox.is_running() is True
    assert listed(mark) == [sandbox.sandbox_id]
    assert sandbox.kill() is True
    assert sandbox.is_running() is False
    assert listed(mark) == []
    with pytest.raises(NotFoundException):
        sandbox.get_info()
    with pytest.raises(TimeoutException):
        sandbox.commands.run("true")
    with pytest.raises(SandboxException):
        sandbox.files.read("/etc/passwd")
    with pytest.raises(NotFoundException):
        Sandbox.connect(sandbox.sandbox_id)
    assert sandbox.kill() is False


def test_a_with_block_kills_at_its_end():
    with Sandbox.create(timeout=60) as sandbox:
        assert sandbox.is_running()
    assert not sandbox.is_running()


def test_connect_reaches_the_same_sandbox(make):
    first = make()
    first.files.write("/tmp/note", "left by the first")
    second = Sandbox.connect(first.sandbox_id)
    assert second.sandbox_id == first.sandbox_id
    assert second.files.read("/tmp/note") == "left by the first"
    second.files.write("/tmp/answer", "left by the second")
    assert first.files.read("/tmp/answer") == "left by the second"


def test_connect_prolongs_and_never_shortens(make):
    sandbox = make(timeout=200)
    before = sandbox.get_info().end_at
    Sandbox.connect(sandbox.sandbox_id, timeout=10)
    assert sandbox.get_info().end_at == before
    Sandbox.connect(sandbox.sandbox_id, timeout=1000)
    assert (sandbox.get_info().end_at - before).total_seconds() > 700


def test_connect_to_an_id_that_never_was():
    with pytest.raises(NotFoundException):
        Sandbox.connect("i" + "0" * 20)


def test_set_timeout_prolongs_and_shortens(make):
    sandbox = make(timeout=100)
    start = sandbox.get_info().end_at
    sandbox.set_timeout(500)
    longer = sandbox.get_info().end_at
    assert 300 < (longer - start).total_seconds() < 500
    Sandbox.set_timeout(sandbox.sandbox_id, 50)
    assert sandbox.get_info().end_at < start
    assert sandbox.is_running()


def test_set_timeout_of_an_unknown_sandbox():
    with pytest.raises(NotFoundException):
        Sandbox.set_timeout("i" + "0" * 20, 30)


def test_a_timeout_of_zero_ends_it_now(make, mark, until):
    sandbox = make(metadata=mark)
    sandbox.set_timeout(0)
    until(lambda: not sandbox.is_running(), "the end of the sandbox")
    until(lambda: listed(mark) == [], "its end in the list")


def test_it_ends_when_its_time_is_up(make, mark, until):
    sandbox = make(timeout=2, metadata=mark)
    until(lambda: not sandbox.is_running(), "the end of the sandbox")
    until(lambda: listed(mark) == [], "its end in the list")
    with pytest.raises(NotFoundException):
        sandbox.get_info()


def test_envs_reach_every_command(make):
    sandbox = make(envs={"COLOUR": "green", "SPACED": "a b  c", "QUOTE": "it's \"so\" $HOME"})
    show = 'printf "%s|%s|%s" "$COLOUR" "$SPACED" "$QUOTE"'
    assert sandbox.commands.run(show).stdout == "green|a b  c|it's \"so\" $HOME"
    assert sandbox.commands.run(show, envs={"COLOUR": "red"}).stdout.startswith("red|")
    assert sandbox.commands.run(show).stdout.startswith("green|")


def test_an_unknown_template_makes_nothing(mark):
    with pytest.raises((SandboxException, NotFoundException)):
        Sandbox.create("no-such-template", metadata=mark, timeout=60)
    assert listed(mark) == []


def test_many_at_once_are_all_different(make):
    with ThreadPoolExecutor(8) as pool:
        sandboxes = list(pool.map(lambda n: make(envs={"N": str(n)}), range(8)))
        assert len({sandbox.sandbox_id for sandbox in sandboxes}) == 8
        outputs = list(pool.map(lambda s: s.commands.run("echo $N; hostname").stdout, sandboxes))
    assert [output.split()[0] for output in outputs] == [str(n) for n in range(8)]


def test_host_names_carry_port_and_id(sandbox):
    label, _, domain = sandbox.get_host(3000).partition(".")
    assert label == f"3000-{sandbox.sandbox_id}"
    # `http://` + host is a whole URL: the port of the server is in it.
    assert domain == f"localhost:{urlsplit(os.environ['E2B_SANDBOX_URL']).port}"
    assert Sandbox.connect(sandbox.sandbox_id).get_host(3000) == sandbox.get_host(3000)


def test_a_wrong_key_is_told_so():
    with pytest.raises(AuthenticationException):
        Sandbox.create(api_key="e2b_" + "0" * 40, timeout=30)
    with pytest.raises(AuthenticationException):
        Sandbox.list(api_key="e2b_" + "0" * 40).next_items()
