"""Servers inside, reached from outside: by headers and by host name, on 127.0.0.1 and on every address."""

import hashlib
import socket
import subprocess
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


@pytest.fixture
def web(make, serve, edge):
    """A sandbox with a server on its 127.0.0.1:8000, and a client that reaches it by headers."""
    sandbox = make()
    serve(sandbox)
    return sandbox, edge.having({"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "8000"})


def test_by_headers(web):
    _, client = web
    answer = client.get("/hello")
    assert (answer.status, answer.body) == (200, b"hello from inside\n")


def test_by_host_name(web, edge):
    sandbox, _ = web
    answer = edge.get("/hello", headers={"Host": sandbox.get_host(8000)})
    assert (answer.status, answer.body) == (200, b"hello from inside\n")


def test_by_the_url_of_get_host(web):
    """As a user has it: curl knows that every name below localhost is this machine."""
    sandbox, _ = web
    url = f"http://{sandbox.get_host(8000)}/hello"
    done = subprocess.run(["curl", "-sf", "--max-time", "30", url], capture_output=True, check=True)
    assert done.stdout == b"hello from inside\n"


def test_by_an_old_host_name(web, edge):
    """Old ids carry a client id behind a dash; it is dropped."""
    sandbox, _ = web
    port, _, rest = sandbox.get_host(8000).partition("-")
    label, _, domain = rest.partition(".")
    answer = edge.get("/hello", headers={"Host": f"{port}-{label}-00000000.{domain}"})
    assert (answer.status, answer.body) == (200, b"hello from inside\n")


def test_on_every_address(make, serve, edge):
    sandbox = make()
    serve(sandbox, 9000, "0.0.0.0")
    answer = edge.get("/hello", headers={"Host": sandbox.get_host(9000)})
    assert (answer.status, answer.body) == (200, b"hello from inside\n")


def test_a_low_port_as_a_plain_user(make, serve, edge):
    sandbox = make()
    serve(sandbox, 80)
    answer = edge.get("/hello", headers={"Host": sandbox.get_host(80)})
    assert (answer.status, answer.body) == (200, b"hello from inside\n")


def test_the_request_arrives_as_it_was_sent(web):
    _, client = web
    path = "/request?a=1&b=%2Fx%20y&empty="
    seen = client.get(path, headers={"X-Mine": "kept", "Cookie": "a=b", "Authorization": "Bearer own"}).json
    headers = dict(map(tuple, seen["headers"]))
    assert (seen["method"], seen["path"]) == ("GET", path)
    assert (headers["x-mine"], headers["cookie"], headers["authorization"]) == ("kept", "a=b", "Bearer own")
    assert headers["host"]


@pytest.mark.parametrize("code", [201, 302, 404, 418, 500, 503])
def test_the_servers_own_statuses_pass(web, code):
    _, client = web
    answer = client.get(f"/status?code={code}")
    assert (answer.status, answer.body) == (code, b"as asked\n")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_methods_with_a_body(web, method):
    _, client = web
    seen = client.ask(method, "/body", body=b"some body").json
    assert (seen["method"], seen["length"]) == (method, 9)
    assert client.ask("DELETE", "/body").body == b"deleted\n"


def test_large_bodies_both_ways(web):
    _, client = web
    size = 8 << 20
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    seen = client.post("/digest", body=data).json
    assert (seen["length"], seen["sha256"]) == (size, hashlib.sha256(data).hexdigest())
    assert client.get(f"/bytes?n={size}").body == data


def test_a_chunked_body(web):
    _, client = web
    blocks = [b"x" * 1000, b"y" * 70000, b"z"]
    seen = client.ask("POST", "/digest", body=iter(blocks)).json
    assert seen["sha256"] == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_events_are_not_held_back(web):
    """The second event is sent only after the first was heard: a buffering proxy would never get there."""
    _, client = web
    connection = client.connection()
    connection.request("GET", "/events", headers=client.headers)
    stream = connection.getresponse()
    assert stream.getheader("Content-Type") == "text/event-stream"
    assert stream.readline() == b"data: one\n"
    assert client.get("/release").status == 200
    assert stream.read() == b"\ndata: two\n\n"
    connection.close()


def test_request_bodies_are_not_held_back(web, until):
    """The rest is sent only after the server has said that the first part arrived."""
    _, client = web
    connection = client.connection()
    connection.putrequest("POST", "/digest")
    for name, value in {**client.headers, "Content-Length": "20000"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"a" * 10000)
    until(lambda: client.get("/progress").body == b"10000", "the first half inside")
    connection.send(b"b" * 10000)
    answer = connection.getresponse()
    assert answer.status == 200
    assert hashlib.sha256(b"a" * 10000 + b"b" * 10000).hexdigest().encode() in answer.read()
    connection.close()


def test_one_connection_serves_many_requests(web):
    _, client = web
    connection = client.connection()
    for n in range(20):
        connection.request("GET", f"/bytes?n={n}", headers=client.headers)
        answer = connection.getresponse()
        assert (answer.status, len(answer.read())) == (200, n)
    connection.close()


@pytest.mark.parametrize("by", ["headers", "host"])
def test_websocket(web, by):
    sandbox, client = web
    url = urlsplit(client.base)
    link = socket.create_connection((url.hostname, url.port), timeout=30)
    if by == "headers":
        target, headers = f"ws://{url.netloc}/ws", client.headers
    else:
        host = sandbox.get_host(8000).partition(":")[0]
        target, headers = f"ws://{host}:{url.port}/ws", {}
    with connect(target, sock=link, additional_headers=headers, compression=None) as echo:
        for message in ("hello", "☃" * 1000, b"\x00\xff" * 50000):
            echo.send(message)
            assert echo.recv(timeout=30) == message


def test_websocket_to_a_closed_port(sandbox, edge):
    url = urlsplit(edge.base)
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "8001"}
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{url.netloc}/ws", additional_headers=headers)
    assert refused.value.response.status_code == 502


def test_a_port_nobody_listens_on(sandbox, edge):
    answer = edge.get("/", headers={"Host": sandbox.get_host(8001)}).error(502)
    assert answer == {
        "sandboxId": sandbox.sandbox_id,
        "message": "The sandbox is running but port is not open",
        "port": 8001,
        "code": 502,
    }


def test_a_server_that_is_just_starting(sandbox, edge):
    """The request comes first; it waits for the port."""
    start = "(sleep 0.3; exec python3 -m http.server 8010 --bind 127.0.0.1) >/dev/null 2>&1 </dev/null &"
    sandbox.commands.run(start)
    assert edge.get("/", headers={"Host": sandbox.get_host(8010)}).status == 200


def test_traffic_does_not_extend_the_timeout(web):
    sandbox, client = web
    before = sandbox.get_info().end_at
    for _ in range(3):
        assert client.get("/hello").status == 200
    sandbox.commands.run("true")
    assert sandbox.get_info().end_at == before


def test_a_page_for_a_browser(sandbox, edge):
    headers = {
        "Host": sandbox.get_host(8001),
        "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Sec-Fetch-Mode": "navigate",
    }
    page = edge.get("/", headers=headers)
    assert page.status == 502
    assert page.body.startswith(b"<!DOCTYPE html>") and page.body.endswith(b"</html>")
    assert sandbox.sandbox_id.encode() in page.body and b"8001" in page.body
    # A script of the same browser reads JSON.
    assert edge.get("/", headers={**headers, "Sec-Fetch-Mode": "cors"}).json["port"] == 8001


def test_preflights(web, edge):
    """Of a live port they are the server's to answer; where there is none, the gateway lets the script read why."""
    sandbox, _ = web
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-mine",
    }
    nobody = edge.ask("OPTIONS", "/", headers={**asked, "Host": sandbox.get_host(8001)})
    assert nobody.status == 204
    assert nobody.headers["access-control-allow-headers"] == "authorization,x-mine"
    inside = edge.ask("OPTIONS", "/", headers={**asked, "Host": sandbox.get_host(8000)})
    assert "access-control-allow-headers" not in inside.headers


def test_a_sandbox_that_never_was(edge):
    unknown = "i" + "0" * 20
    wanted = {"sandboxId": unknown, "message": "The sandbox was not found", "code": 502}
    by_headers = {"E2b-Sandbox-Id": unknown, "E2b-Sandbox-Port": "8000"}
    assert edge.get("/", headers=by_headers).error(502) == wanted
    assert edge.get("/", headers={"Host": f"8000-{unknown}.localhost"}).error(502) == wanted


def test_the_agent_wants_its_token(make, edge, agent):
    first, second = make(), make()
    body = {"path": "/home/user"}
    assert agent(first).post("/filesystem.Filesystem/Stat", json=body).status == 200
    crossed = agent(first).having({"E2b-Sandbox-Id": second.sandbox_id})
    crossed.post("/filesystem.Filesystem/Stat", json=body).error(401)
    named = edge.having({"E2b-Sandbox-Id": first.sandbox_id, "E2b-Sandbox-Port": "49983"})
    named.post("/filesystem.Filesystem/Stat", json=body).error(401)
    assert named.get("/health").status in (200, 204)


@pytest.mark.parametrize("path", ["/init", "/freeze", "/upgrade"])
def test_the_agents_control_routes_are_closed(sandbox, agent, path):
    assert agent(sandbox).post(path, json={"accessToken": "taken-over"}).status == 404
    assert sandbox.commands.run("echo still mine").stdout == "still mine\n"


@pytest.mark.parametrize("host", ["nonsense-host.localhost", "99999-i00000000000000000000.localhost", "-.localhost"])
def test_host_names_that_mean_nothing(edge, host):
    edge.get("/", headers={"Host": host}).error(400)


def test_a_traffic_token(make, serve, edge):
    sandbox = make(network={"allow_public_traffic": False})
    serve(sandbox)
    assert sandbox.traffic_access_token
    host = {"Host": sandbox.get_host(8000)}
    assert edge.get("/hello", headers=host).status == 403
    assert edge.get("/hello", headers={**host, "e2b-traffic-access-token": "wrong"}).status == 403
    token = {"e2b-traffic-access-token": sandbox.traffic_access_token}
    assert edge.get("/hello", headers={**host, **token}).body == b"hello from inside\n"
