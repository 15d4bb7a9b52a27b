"""Warm pools, as seen through the SDK: nothing but the time tells them apart."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from e2b import Sandbox

WARDER = os.environ.get("WARDER_E2E_WARDER")
pytestmark = pytest.mark.skipif(not WARDER, reason="only the server's operator sets pools")


def warder(*args):
    ran = subprocess.run([WARDER, "--json", *args], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout or "null")


@pytest.fixture
def pool():
    warder("pool", "set", "base", "3")
    yield
    warder("pool", "set", "base", "0")


def test_five_at_once_from_a_pool_of_three(pool, until, mark):
    def full():
        (found,) = warder("pool", "list")
        return found["ready"] == 3

    until(full, "a full pool", seconds=60)
    with ThreadPoolExecutor(5) as threads:
        made = list(
            threads.map(
                lambda n: Sandbox.create(timeout=60, envs={"N": str(n)}, metadata={**mark, "n": str(n)}),
                range(5),
            )
        )
    try:
        assert len({sandbox.sandbox_id for sandbox in made}) == 5
        told = [
            sandbox.commands.run("echo $N; hostname; cat /proc/sys/kernel/random/boot_id; ls -A /tmp").stdout.split("\n")
            for sandbox in made
        ]
        assert [lines[0] for lines in told] == ["0", "1", "2", "3", "4"]
        assert len({lines[2] for lines in told}) == 5, "each has its own boot id"
        assert all(lines[3:] == [""] for lines in told), "nobody was there before"
        for n, sandbox in enumerate(made):
            info = sandbox.get_info()
            assert info.metadata == {**mark, "n": str(n)}
            assert abs((info.end_at - info.started_at).total_seconds() - 60) <= 1
            sandbox.files.write("/tmp/own", str(n))
        assert [sandbox.files.read("/tmp/own") for sandbox in made] == ["0", "1", "2", "3", "4"]
    finally:
        for sandbox in made:
            assert sandbox.kill()


def test_what_is_ready_is_nobodys(pool, until, api):
    until(lambda: warder("pool", "list")[0]["ready"] > 0, "something ready", seconds=60)
    listed = {item["sandboxID"] for item in api.get("/v2/sandboxes").json}
    with Sandbox.create(timeout=60, allow_internet_access=False, network={"allow_public_traffic": False}) as sandbox:
        assert sandbox.sandbox_id not in listed
        assert sandbox.traffic_access_token
        reach = "import socket; socket.create_connection(('6.6.6.6', 8080), 1)"
        assert sandbox.commands.run(f'python3 -c "{reach}" || echo closed').stdout == "closed\n"
