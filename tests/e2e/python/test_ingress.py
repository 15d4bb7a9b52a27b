"""Who is let in to the ports of a sandbox: E2B's own steps, and what becomes of those who no longer are.

Clients are told apart by `X-Forwarded-For`, as behind E2B's edge: the last element but one is the client.
"""

import os
import socket
import subprocess
import time
from urllib.parse import urlsplit

import pytest
from e2b.sandbox.sandbox_api import SandboxNetworkOpts
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

# Set by tests/e2e/run when it has told its server to believe so many proxies.
HOPS = os.environ.get("WARDER_E2E_TRUSTED_HOPS")
needs_hops = pytest.mark.skipif(HOPS != "2", reason="the server does not believe two proxies (trusted_hops 2)")

ALL = "0.0.0.0/0"
WE = "203.0.113.99"


def forwarded(client):
    return {"X-Forwarded-For": f"{client}, 0.0.0.0"}


@pytest.fixture
def put(api):
    """Replaces the rules of a sandbox: E2B's SDK has no word for those of ingress."""

    def rules(sandbox, **body):
        answer = api.ask("PUT", f"/sandboxes/{sandbox.sandbox_id}/network", json=body)
        assert answer.status == 204, answer.body

    return rules


@pytest.fixture
def reach(edge):
    def status(sandbox, port, client=WE):
        headers = {"Host": sandbox.get_host(port), **forwarded(client)}
        return edge.get("/hello", headers=headers).status

    return status


@needs_hops
def test_filters_step_by_step(make, serve, put, reach, agent):
    sandbox = make()
    for port in (8000, 8001):
        serve(sandbox, port)
    for name, allow, deny, statuses in [
        ("a port is denied", [], [f"{ALL}:8000"], {8000: 403, 8001: 200}),
        ("a port is allowed, all is denied", [f"{ALL}:8000"], [ALL], {8000: 200, 8001: 403}),
        ("all is denied", [], [ALL], {8000: 403, 8001: 403}),
        ("all is allowed over it", [ALL], [ALL], {8000: 200, 8001: 200}),
        ("somebody else is denied", [], ["198.51.100.0/24"], {8000: 200}),
        ("a range of ports is denied", [], [f"{ALL}:8000-8001"], {8000: 403, 8001: 403}),
        ("a range of ports is allowed", [f"{ALL}:8000-8001"], [ALL], {8000: 200, 8001: 200}),
    ]:
        put(sandbox, allowIn=allow, denyIn=deny)
        for port, status in statuses.items():
            assert reach(sandbox, port) == status, (name, port)
    put(sandbox, denyIn=["203.0.113.0/24"])
    assert (reach(sandbox, 8000, "203.0.113.42"), reach(sandbox, 8000, "198.51.100.1")) == (403, 200)
    put(sandbox, allowIn=["203.0.113.42"], denyIn=[ALL, "203.0.113.0/24"])
    assert (reach(sandbox, 8000, "203.0.113.42"), reach(sandbox, 8000, WE)) == (200, 403)
    put(sandbox, denyIn=["198.51.100.0/24"])
    assert reach(sandbox, 8000, "not an address") == 403
    put(sandbox, denyIn=[ALL])
    assert agent(sandbox).get("/health").status == 204
    assert sandbox.commands.run("echo still here").stdout == "still here\n"
    put(sandbox)
    assert (reach(sandbox, 8000), reach(sandbox, 8000, "not an address")) == (200, 200)


@needs_hops
def test_egress_and_ingress_in_one(make, serve, put, reach):
    sandbox = make()
    for port in (8000, 8001):
        serve(sandbox, port)
    put(sandbox, denyOut=[ALL], denyIn=[f"{ALL}:8000"])
    assert (reach(sandbox, 8000), reach(sandbox, 8001)) == (403, 200)
    put(sandbox)
    assert (reach(sandbox, 8000), reach(sandbox, 8001)) == (200, 200)
    put(sandbox, allowOut=["8.8.8.8"], denyOut=[ALL], denyIn=[ALL])
    assert (reach(sandbox, 8000), reach(sandbox, 8001)) == (403, 403)
    put(sandbox)
    assert reach(sandbox, 8000) == 200


def test_who_is_refused_is_told(make, serve, edge, put):
    sandbox = make()
    serve(sandbox)
    put(sandbox, denyIn=[ALL])
    host = {"Host": sandbox.get_host(8000)}
    told = edge.get("/hello", headers=host).error(403)
    assert told["sandboxId"] == sandbox.sandbox_id and told["port"] == 8000
    wanted = f"Access denied: client {told['clientIp']} is not allowed to reach port 8000 on this sandbox"
    assert told["message"] == wanted
    browser = {"User-Agent": "Mozilla/5.0 Firefox/140.0", "Accept": "text/html"}
    page = edge.get("/hello", headers={**host, **browser})
    assert page.status == 403 and page.body.startswith(b"<!DOCTYPE html>") and page.body.endswith(b"</html>")
    assert sandbox.sandbox_id.encode() in page.body


def test_a_client_cannot_say_who_it_is(make, serve, edge, put):
    sandbox = make()
    serve(sandbox)
    put(sandbox, allowIn=["192.0.2.7"], denyIn=[ALL])
    for forged in (
        {"X-E2B-Client-IP": "192.0.2.7"},
        {"X-Real-IP": "192.0.2.7"},
        {"Forwarded": "for=192.0.2.7"},
        {"X-Forwarded-For": f"192.0.2.7, {WE}, 0.0.0.0"},
    ):
        headers = {"Host": sandbox.get_host(8000), **forged}
        assert edge.get("/hello", headers=headers).status == 403, forged
    put(sandbox)
    headers = {"Host": sandbox.get_host(8000), "X-E2B-Client-IP": "192.0.2.7"}
    seen = edge.get("/request", headers=headers).json
    assert "x-e2b-client-ip" not in dict(map(tuple, seen["headers"]))


def test_the_masked_host(make, serve, edge, put):
    sandbox = make(network={"mask_request_host": "${PORT}-myapp.example.com"})
    serve(sandbox, 8002)

    def told():
        seen = edge.get("/request", headers={"Host": sandbox.get_host(8002)}).json
        headers = dict(map(tuple, seen["headers"]))
        return headers["host"], headers["x-forwarded-host"]

    own = sandbox.get_host(8002)
    assert told() == ("8002-myapp.example.com", own)
    put(sandbox)
    assert told() == (own, own)
    for mask, host in [
        ("masked-host:${PORT}", "masked-host:8002"),
        ("masked-host:{port}", "masked-host:8002"),
        ("other-host:9999", "other-host:9999"),
    ]:
        put(sandbox, maskRequestHost=mask)
        assert told() == (host, own)
    put(sandbox)
    assert told() == (own, own)
    put(sandbox, maskRequestHost="again")
    assert told() == ("again", own)


@needs_hops
def test_rules_outlive_a_pause(make, serve, put, reach, edge):
    sandbox = make()
    serve(sandbox)
    put(sandbox, allowIn=["203.0.113.42"], denyIn=[ALL], denyOut=[ALL], maskRequestHost="masked:{port}")
    for _ in range(2):
        assert (reach(sandbox, 8000), reach(sandbox, 8000, "203.0.113.42")) == (403, 200)
        headers = {"Host": sandbox.get_host(8000), **forwarded("203.0.113.42")}
        seen = dict(map(tuple, edge.get("/request", headers=headers).json["headers"]))
        assert seen["host"] == "masked:8000"
        sandbox.pause()
        sandbox.connect()


@needs_hops
def test_new_rules_close_websockets_that_they_forbid(make, serve, put, edge):
    sandbox = make()
    serve(sandbox)
    url = urlsplit(edge.base)

    def websocket(client):
        link = socket.create_connection((url.hostname, url.port), timeout=30)
        host = sandbox.get_host(8000).partition(":")[0]
        return connect(f"ws://{host}:{url.port}/ws", sock=link, additional_headers=forwarded(client))

    with websocket(WE) as bad, websocket("198.51.100.1") as good:
        for one in (bad, good):
            one.send("before")
            assert one.recv(timeout=30) == "before"
        put(sandbox, denyIn=["203.0.113.0/24"])
        with pytest.raises(ConnectionClosed):
            bad.recv(timeout=30)
        good.send("after")
        assert good.recv(timeout=30) == "after"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """One that nobody trusts, and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody.example", "-days", "2"]
    subprocess.run([*made, "-keyout", "key", "-out", "chain"], cwd=directory, check=True, capture_output=True)
    return (directory / "chain").read_bytes() + (directory / "key").read_bytes()


def test_ports_that_speak_https(make, serve, edge, certificate):
    sandbox = make(network={"https_ports": [8443]})
    if "https_ports" not in (sandbox.get_info().network or {}):
        assert "https_ports" not in SandboxNetworkOpts.__annotations__
        pytest.skip("this SDK has no https_ports")
    serve(sandbox, 8443, certificate=certificate)
    answer = edge.get("/hello", headers={"Host": sandbox.get_host(8443)})
    assert (answer.status, answer.body) == (200, b"hello from inside\n")
    serve(sandbox, 8000)
    assert edge.get("/hello", headers={"Host": sandbox.get_host(8000)}).status == 200


@pytest.mark.parametrize(
    "rules",
    [
        {"denyIn": ["example.com"]},
        {"allowIn": ["example.com"], "denyIn": [ALL]},
        {"allowIn": ["8.8.8.8"]},
        {"allowIn": ["8.8.8.8"], "denyIn": ["10.0.0.0/8"]},
        {"denyIn": ["8.8.8.8:0"]},
        {"denyIn": ["8.8.8.8:443-80"]},
        {"denyIn": ["8.8.8.8"] * 10_000},
        {"maskRequestHost": "-https://abcd"},
    ],
    ids=str,
)
def test_bad_rules(sandbox, api, rules):
    api.ask("PUT", f"/sandboxes/{sandbox.sandbox_id}/network", json=rules).error(400)


@pytest.mark.parametrize(
    "rules",
    [
        {"denyIn": [ALL]},
        {"denyIn": ["10.0.0.0/8"]},
        {"denyIn": ["8.8.8.8"]},
        {"denyIn": [f"{ALL}:80"]},
        {"denyIn": [f"{ALL}:80-443"]},
        {"allowIn": ["10.0.0.0/8"], "denyIn": [ALL]},
        {"allowIn": ["8.8.8.8"], "denyIn": [ALL]},
    ],
    ids=str,
)
def test_good_rules(sandbox, put, rules):
    put(sandbox, **rules)


@needs_hops
def test_who_guesses_signatures_is_told_when_to_come_back(edge):
    """By client: nobody else's URLs are slowed down by it."""
    guess = "/files?path=/etc/passwd&signature=v1_" + "A" * 43

    def status(client):
        return edge.get(guess, headers=forwarded(client))

    client = "192.0.2.77"
    answers = (status(client) for _ in range(5000))
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.error(429)
    assert status("192.0.2.200").status == 401
    time.sleep(int(refused.headers["retry-after"]))
    assert status(client).status == 401
