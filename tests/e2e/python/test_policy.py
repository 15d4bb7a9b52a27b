"""Network policies, given when a sandbox is made and changed while it runs. No packet leaves the machine: the
"internet" is tests/e2e/internet.py."""

import json
import os

import pytest
from e2b import ALL_TRAFFIC, PtySize, Sandbox
from e2b.exceptions import SandboxException

ONE, TWO = "6.6.6.6", "7.7.7.7"
internet = pytest.mark.skipif(
    not os.environ.get("WARDER_E2E_INTERNET"), reason="the server has no internet of its own to try"
)

REACH = """
import socket, sys
for address in sys.argv[1:]:
    try:
        with socket.create_connection((address, 8080), timeout=3) as link:
            print(address, "reached" if link.recv(100) else "closed")
    except OSError as error:
        print(address, "failed")
"""

HOLD = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 8081), timeout=5) as link:
    print(link.recv(100).decode(), flush=True)
    try:
        while True:
            link.sendall(b".")
            time.sleep(0.05)
    except OSError as error:
        print("ended", error, flush=True)
"""

ASK = """
import socket, struct, sys
name, server = sys.argv[1:]
query = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0\\0\\1\\0\\1"
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(3)
asking.sendto(query, (server, 53))
try:
    answer = asking.recv(512)
    print("answers", struct.unpack("!H", answer[6:8])[0], "code", answer[3] & 15)
except OSError:
    print("silence")
"""


def reached(sandbox, *addresses):
    sandbox.files.write("/tmp/reach.py", REACH)
    lines = sandbox.commands.run("python3 /tmp/reach.py " + " ".join(addresses)).stdout.splitlines()
    return {line.split()[0] for line in lines if line.endswith(" reached")}


def page(sandbox, name, at=None):
    """Status and text of http://NAME/, which the guest takes to be at this address."""
    known = f"--resolve {name}:80:{at}" if at else ""
    got = sandbox.commands.run(f"curl -s -m 5 -w '\\n%{{http_code}}' {known} http://{name}/; true").stdout
    text, _, status = got.rpartition("\n")
    return int(status), text


def resolve(sandbox, name, server="8.8.8.8"):
    sandbox.files.write("/tmp/ask.py", ASK)
    return sandbox.commands.run(f"python3 /tmp/ask.py {name} {server}").stdout.strip()


def state(api, sandbox):
    return api.get(f"/sandboxes/{sandbox.sandbox_id}").json["networkState"]


def put(api, sandbox, what, body):
    return api.ask("PUT", f"/sandboxes/{sandbox.sandbox_id}/{what}", json=body)


@internet
def test_what_is_allowed_when_it_is_made(make):
    only = make(network={"allow_out": [ONE], "deny_out": [ALL_TRAFFIC]})
    assert reached(only, ONE, TWO) == {ONE}
    assert reached(make(network={"deny_out": [ONE]}), ONE, TWO) == {TWO}
    # Allowed wins; an empty list restricts nothing; private ranges stay closed.
    both = make(network={"allow_out": [ONE, "10.0.0.0/8"], "deny_out": [ONE, TWO]})
    assert reached(both, ONE, TWO, "10.0.0.1") == {ONE}
    assert reached(make(network={"allow_out": []}), ONE, TWO) == {ONE, TWO}
    assert reached(make(allow_internet_access=False, network={"allow_out": [ONE]}), ONE, TWO) == {ONE}


def test_it_is_shown_as_it_was_given(make, api):
    network = {"allow_out": [ONE, "2001:db8::/32", "A.Example"], "deny_out": [ALL_TRAFFIC]}
    sandbox = make(network={**network, "egress_proxy": {"address": f"{TWO}:1", "username": "u", "password": "p"}})
    shown = sandbox.get_info().network
    assert (shown["allow_out"], shown["deny_out"]) == (network["allow_out"], network["deny_out"])
    assert shown["egress_proxy"] == {"address": f"{TWO}:1", "username": "u"}
    assert state(api, sandbox)["notEffective"] == ["2001:db8::/32"]
    sandbox.update_network({})
    assert not (sandbox.get_info().network or {}).get("allow_out")
    assert state(api, sandbox)["generation"] == state(api, sandbox)["inForce"] == 2


def test_what_cannot_be_meant_is_refused(make, api):
    sandbox = make()
    for network, text in (
        ({"deny_out": ["example.com"]}, "invalid denied CIDR example.com"),
        ({"allow_out": ["example.com"]}, "ALL_TRAFFIC"),
        ({"allow_out": ["8.8.8.8:80"]}, "port-specific rules are not supported"),
        ({"allow_out": ["0.0.0.0"]}, "invalid allowed address 0.0.0.0"),
        ({"egress_proxy": {"address": "127.0.0.1:1"}}, "Invalid egress proxy config: "),
        ({"rules": {"a.example": [{"transform": {"headers": {"a": "b"}}}]}}, "rules"),
        ({"deny_out": ["9.9.9.9"] * 1001}, "denyOut has 1001 addresses; the limit is 1000"),
    ):
        for attempt in (lambda: sandbox.update_network(network), lambda: Sandbox.create(network=network)):
            with pytest.raises(SandboxException) as refused:
                attempt()
            assert text in str(refused.value)
    proxy = {"address": "9.9.9.9:1", "tls": {"enabled": True}}
    message = put(api, sandbox, "network", {"egressProxy": proxy}).error(400)["message"]
    assert message.startswith("Invalid egress proxy config: tls is not supported")
    assert state(api, sandbox)["generation"] == 1
    with pytest.raises(SandboxException) as refused:
        Sandbox.update_network("i" + "0" * 20, {})
    assert "not found" in str(refused.value) or "doesn't exist" in str(refused.value)


@internet
def test_twelve_updates_one_after_another(sandbox):
    """Each is whole and holds when the call returns."""
    every = [ALL_TRAFFIC]
    for network, wanted in (
        ({"deny_out": every}, set()),
        ({"allow_out": [ONE], "deny_out": every}, {ONE}),
        ({"allow_out": [TWO], "deny_out": every}, {TWO}),
        ({"allow_out": [ONE, TWO], "deny_out": every}, {ONE, TWO}),
        ({"allow_out": ["6.6.6.0/24"], "deny_out": every}, {ONE}),
        ({"allow_out": ["one.example"], "deny_out": every}, set()),
        ({"allow_out": ["one.example", TWO], "deny_out": every}, {TWO}),
        ({"deny_out": every}, set()),
        ({}, {ONE, TWO}),
        ({"allow_out": [TWO], "deny_out": every}, {TWO}),
        ({"allow_out": [ONE]}, {ONE, TWO}),
        ({}, {ONE, TWO}),
        ({"allow_internet_access": False}, set()),
        ({"allow_internet_access": True}, {ONE, TWO}),
        ({"allow_internet_access": False, "allow_out": [ONE]}, {ONE}),
        ({}, {ONE, TWO}),
    ):
        sandbox.update_network(network)
        assert reached(sandbox, ONE, TWO) == wanted, network


@internet
def test_names(make, api, until):
    sandbox = make(network={"allow_out": ["one.example", "*.two.example"], "deny_out": [ALL_TRAFFIC]})
    assert page(sandbox, "one.example") == (200, f"{ONE} one.example\n")
    assert page(sandbox, "WWW.Two.Example")[0] == 200
    # A name that is not in the policy is not even resolved; a guest that knows an address gains nothing by it.
    assert resolve(sandbox, "one.example").startswith("answers 1 ")
    assert not resolve(sandbox, "www.one.example").startswith("answers 1 ")
    for name in ("www.one.example", "two.example"):
        status, text = page(sandbox, name, at=ONE)
        assert status == 403, (name, text)
        json.loads(text)
    # The name is dialled, whatever address the guest says it has.
    assert page(sandbox, "one.example", at=TWO) == (200, f"{ONE} one.example\n")
    path = f"/sandboxes/{sandbox.sandbox_id}/network/log"
    until(lambda: "two.example" in {entry["name"] for entry in api.get(path).json}, "the refusal")


@internet
def test_a_connection_ends_with_the_policy_that_allowed_it(sandbox, until):
    sandbox.files.write("/tmp/hold.py", HOLD)

    def held(address):
        name = f"/tmp/held-{address}"
        sandbox.commands.run(f"setsid python3 /tmp/hold.py {address} >{name} 2>&1 </dev/null & true")
        until(lambda: sandbox.files.read(name) == "hello\n", "a connection")
        return name

    kept, cut = held(ONE), held(TWO)
    sandbox.update_network({"deny_out": [TWO]})
    until(lambda: "ended" in sandbox.files.read(cut), "its end")
    assert sandbox.files.read(kept) == "hello\n"
    assert reached(sandbox, ONE, TWO) == {ONE}


@internet
def test_the_air_gap(sandbox, api, edge, serve, until):
    serve(sandbox)
    sandbox.files.write("/tmp/hold.py", HOLD)
    sandbox.commands.run(f"setsid python3 /tmp/hold.py {ONE} >/tmp/held 2>&1 </dev/null & true")
    until(lambda: sandbox.files.read("/tmp/held") == "hello\n", "a connection")
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=60)
    answer = put(api, sandbox, "airgap", {"enabled": True})
    assert answer.status == 204 and answer.headers["ETag"] == '"2"'
    assert state(api, sandbox)["airGap"] is True
    assert reached(sandbox, ONE, TWO) == set()
    assert resolve(sandbox, "one.example") == "silence"
    until(lambda: "ended" in sandbox.files.read("/tmp/held"), "its end")
    # Everything that goes through the server goes on.
    assert sandbox.commands.run("echo runs").stdout == "runs\n"
    shown = []
    sandbox.pty.send_stdin(terminal.pid, b"echo sum-$((40 + 2)); exit\n")
    terminal.wait(on_pty=shown.append)
    assert b"sum-42" in b"".join(shown)
    assert edge.get("/hello", headers={"Host": sandbox.get_host(8000)}).body == b"hello from inside\n"
    # Options may change behind it.
    sandbox.update_network({"deny_out": [TWO]})
    assert reached(sandbox, ONE, TWO) == set()
    assert put(api, sandbox, "airgap", {"enabled": False}).status == 204
    assert reached(sandbox, ONE, TWO) == {ONE}


@internet
def test_pause_and_resume_keep_it(make):
    for memory in (True, False):
        sandbox = make(network={"allow_out": [ONE], "deny_out": [ALL_TRAFFIC]})
        before = sandbox.get_info().network
        sandbox.pause(keep_memory=memory)
        with pytest.raises(SandboxException):
            sandbox.update_network({})
        sandbox.connect()
        assert reached(sandbox, ONE, TWO) == {ONE}
        assert sandbox.get_info().network == before
        sandbox.update_network({"allow_internet_access": False})
        sandbox.pause(keep_memory=memory)
        sandbox.connect()
        assert reached(sandbox, ONE, TWO) == set()


@internet
def test_forks_have_it_and_what_is_made_of_a_snapshot_has_its_own(make, api):
    sandbox = make(network={"allow_out": [ONE], "deny_out": [ALL_TRAFFIC]})
    forks = api.post(f"/sandboxes/{sandbox.sandbox_id}/fork", json={"timeout": 60}).json
    fork = Sandbox.connect(forks[0]["sandbox"]["sandboxID"])
    try:
        assert reached(fork, ONE, TWO) == {ONE}
    finally:
        fork.kill()
    snapshot = sandbox.create_snapshot()
    try:
        assert reached(make(snapshot.snapshot_id, network={"deny_out": [ONE]}), ONE, TWO) == {TWO}
        assert reached(make(snapshot.snapshot_id), ONE, TWO) == {ONE, TWO}
    finally:
        Sandbox.delete_snapshot(snapshot.snapshot_id)


@internet
def test_what_was_refused_can_be_read(make, api, until):
    sandbox = make(network={"deny_out": [TWO]})
    assert reached(sandbox, TWO) == set()

    def entries():
        log = api.get(f"/sandboxes/{sandbox.sandbox_id}/network/log").json
        return [entry for entry in log if (entry["address"], entry["port"]) == (TWO, 8080)]

    (entry,) = until(entries, "the refusal")
    assert (entry["protocol"], entry["reason"], entry["rule"]) == ("tcp", "denied", f"denyOut {TWO}/32")
    assert entry["count"] >= 1 and entry["generation"] == 1
