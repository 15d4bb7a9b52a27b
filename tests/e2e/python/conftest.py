"""What every test needs: sandboxes that are gone afterwards, plain HTTP to the server, a web server inside."""

import os
import time
import uuid
from pathlib import Path

import pytest
from e2b import Sandbox

from plain import Plain

GUEST = Path(__file__).parent.parent / "guest"


def pytest_configure(config):
    missing = [k for k in ("E2B_API_URL", "E2B_SANDBOX_URL", "E2B_API_KEY") if not os.environ.get(k)]
    if missing:
        pytest.exit(f"{', '.join(missing)} not set: start a server with `make up` and export its lines", 2)


@pytest.fixture
def make():
    """Makes sandboxes, and kills them when the test is over."""
    made = []

    def create(*args, **options):
        options.setdefault("timeout", 120)
        sandbox = Sandbox.create(*args, **options)
        made.append(sandbox)
        return sandbox

    yield create
    for sandbox in made:
        sandbox.kill()


@pytest.fixture
def sandbox(make):
    return make()


@pytest.fixture
def mark():
    """Metadata that no other test uses, so that lists can be told apart."""
    return {"mark": uuid.uuid4().hex}


@pytest.fixture
def api():
    """Requests as no SDK would send them, to the control API."""
    return Plain(os.environ["E2B_API_URL"], {"X-API-KEY": os.environ["E2B_API_KEY"]})


@pytest.fixture
def edge():
    """Requests to the address that leads into sandboxes, without any credential."""
    return Plain(os.environ["E2B_SANDBOX_URL"], {})


@pytest.fixture
def agent(edge):
    """Requests to a sandbox's agent, with its token."""

    def of(sandbox, **more):
        token = sandbox.connection_config.sandbox_headers["X-Access-Token"]
        headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
        return edge.having({**headers, "X-Access-Token": token, **more})

    return of


@pytest.fixture
def until():
    """Waits for a condition that has to come; the deadline only ends a test that has failed already."""

    def wait(condition, what, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for: {what}"
            time.sleep(0.02)
        return result

    return wait


@pytest.fixture
def serve():
    """Starts guest/web.py in a sandbox and returns when it answers there; with a certificate and its key, it speaks TLS."""

    def start(sandbox, port=8000, address="127.0.0.1", certificate=None):
        sandbox.files.write("/home/user/web.py", (GUEST / "web.py").read_bytes())
        scheme = "https" if certificate else "http"
        if certificate:
            sandbox.files.write("/home/user/web.pem", certificate)
            address += " /home/user/web.pem"
        sandbox.commands.run(
            f"setsid python3 /home/user/web.py {port} {address} >/tmp/web.log 2>&1 </dev/null & "
            f"for i in $(seq 500); do curl -skf {scheme}://127.0.0.1:{port}/hello && exit 0; sleep 0.02; done; "
            "cat /tmp/web.log >&2; exit 1"
        )
        return port

    return start
