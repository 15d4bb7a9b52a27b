"""Who reaches whom. No packet of these tests leaves the machine."""

import os
import socket
import threading
from urllib.parse import urlsplit

import pytest

# Set by tests/e2e/run when it has put the server in a network of its own, with an "internet" beside it.
INTERNET = os.environ.get("WARDER_E2E_INTERNET")

TRY = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as link:
        print("reached", link.recv(100).decode())
except OSError as error:
    print("failed", error)
"""


def reach(sandbox, address, port):
    sandbox.files.write("/tmp/try.py", TRY)
    return sandbox.commands.run(f"python3 /tmp/try.py {address} {port}").stdout


def addresses(sandbox):
    """The sandbox's own addresses, the loopback aside."""
    local = sandbox.commands.run("cat /proc/net/fib_trie").stdout.split("Local:")[-1].splitlines()
    found = set()
    for above, line in zip(local, local[1:]):
        if "host LOCAL" in line:
            found.add(above.split()[-1])
    return sorted(address for address in found if not address.startswith("127."))


def gateway(sandbox):
    """The next hop of the default route, if there is one."""
    for line in sandbox.commands.run("cat /proc/net/route").stdout.splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000" and fields[2] != "00000000":
            return socket.inet_ntoa(bytes.fromhex(fields[2])[::-1])
    return None


class Listener:
    """A server on every address of this host that counts who comes."""

    def __init__(self):
        self.socket = socket.create_server(("0.0.0.0", 0))
        self.port = self.socket.getsockname()[1]
        self.heard = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                link, peer = self.socket.accept()
            except OSError:
                return
            self.heard.append(peer[0])
            link.sendall(b"the host")
            link.close()


@pytest.fixture
def listener():
    made = Listener()
    yield made
    made.socket.close()


def host_addresses():
    """This host's addresses, as its routing table has them."""
    with open("/proc/net/fib_trie") as file:
        local = file.read().split("Local:")[-1].splitlines()
    return sorted({a.split()[-1] for a, b in zip(local, local[1:]) if "host LOCAL" in b})


def test_a_sandbox_has_an_address_and_a_way_to_itself(sandbox, serve):
    serve(sandbox, 8000, "0.0.0.0")
    (address,) = addresses(sandbox)
    for own in (address, "127.0.0.1", "localhost"):
        assert sandbox.commands.run(f"curl -sf http://{own}:8000/hello").stdout == "hello from inside\n"


def test_no_way_to_another_sandbox(make, serve):
    first, second = make(), make()
    serve(first, 8000, "0.0.0.0")
    (address,) = addresses(first)
    assert reach(second, address, 8000).startswith("failed")
    assert addresses(second) != [address]


def test_no_way_to_the_host(make, listener):
    sandbox = make()
    targets = set(host_addresses())
    if gateway(sandbox):
        targets.add(gateway(sandbox))
    assert "127.0.0.1" in targets
    for address in targets:
        assert reach(sandbox, address, listener.port).startswith("failed"), address
    assert listener.heard == []
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as link:
        assert link.recv(100) == b"the host"


def test_no_way_to_the_servers_own_port(sandbox, edge):
    url = urlsplit(edge.base)
    for address in {url.hostname, gateway(sandbox) or url.hostname}:
        assert reach(sandbox, address, url.port).startswith("failed")


def test_internet_access_is_reported(make):
    assert make(allow_internet_access=False).get_info().allow_internet_access is False
    assert make(allow_internet_access=True).get_info().allow_internet_access is not False


@pytest.mark.skipif(not INTERNET, reason="the server has no internet of its own to try")
def test_internet_when_allowed(make):
    address, port = INTERNET.split(":")
    assert reach(make(), address, port).startswith("reached")
    assert reach(make(allow_internet_access=True), address, port).startswith("reached")


@pytest.mark.skipif(not INTERNET, reason="the server has no internet of its own to try")
def test_no_internet_when_not(make):
    address, port = INTERNET.split(":")
    closed, opened = make(allow_internet_access=False), make()
    assert reach(closed, address, port).startswith("failed")
    assert reach(opened, address, port).startswith("reached")


def test_without_internet_everything_else_works(make, serve, edge):
    sandbox = make(allow_internet_access=False)
    assert sandbox.commands.run("echo runs").stdout == "runs\n"
    sandbox.files.write("/tmp/f", "x")
    serve(sandbox)
    assert edge.get("/hello", headers={"Host": sandbox.get_host(8000)}).body == b"hello from inside\n"


def test_no_ipv6(sandbox):
    addresses = sandbox.commands.run("cat /proc/net/if_inet6 2>/dev/null; true").stdout
    assert [line for line in addresses.splitlines() if not line.endswith(" lo")] == []


def test_root_inside_cannot_change_the_network(sandbox):
    tries = (
        "ip link set lo down; ip addr add 10.9.9.9/32 dev lo; ip route add default dev lo; nft flush ruleset;"
        "cat /proc/net/fib_trie"
    )
    before = sandbox.commands.run("cat /proc/net/fib_trie", user="root").stdout
    after = sandbox.commands.run(tries, user="root").stdout
    assert after == before
