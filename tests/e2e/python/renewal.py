"""A server's certificate is replaced while an SDK talks to it. Started by test_tls.py."""

import http.client
import os
import shutil
import signal
import ssl
import subprocess
import time
from pathlib import Path

from e2b import Sandbox

GIVEN = Path(os.environ["WARDER_E2E_GIVEN"])
NEW = Path(__file__).parent.parent / "certificate"
DOMAIN = os.environ["E2B_DOMAIN"]
KEY = {"X-API-KEY": os.environ["E2B_API_KEY"]}


def connect():
    connection = http.client.HTTPSConnection(f"api.{DOMAIN}", timeout=30, context=ssl.create_default_context())
    connection.connect()
    return connection


def listed(connection):
    """A request on this very connection: one that was closed is not opened again."""
    connection.auto_open = False
    connection.request("GET", "/v2/sandboxes", headers=KEY)
    answer = connection.getresponse()
    return answer.status == 200 and answer.read().startswith(b"[")


def shown(connection):
    return connection.sock.getpeercert(binary_form=True)


def now():
    """What a client that comes now is shown."""
    connection = connect()
    try:
        return shown(connection)
    finally:
        connection.close()


def on_disk():
    return ssl.PEM_cert_to_DER_cert((GIVEN / "chain.pem").read_text())


def renew():
    subprocess.run([NEW, GIVEN, DOMAIN.partition(":")[0]], check=True)
    return on_disk()


def reload():
    return subprocess.run([os.environ["WARDER_E2E_WARDER"], "reload"], capture_output=True, text=True).returncode


with Sandbox.create(timeout=120) as sandbox:
    # What is under way: a connection between two requests, and a command whose output is still to come.
    first, old = on_disk(), connect()
    assert listed(old) and shown(old) == first
    command = sandbox.commands.run("until [ -e /tmp/go ]; do sleep 0.02; done; echo late", background=True)

    second = renew()
    assert second != first
    assert now() == first, "nobody has said that there is a new one"
    assert reload() == 0
    assert now() == second
    assert listed(old) and shown(old) == first

    # A certificate that is not its key's changes nothing.
    shutil.copy(GIVEN / "chain.pem", GIVEN / "kept")
    renew()
    os.replace(GIVEN / "kept", GIVEN / "chain.pem")
    assert reload() == 1
    assert now() == second

    third = renew()
    os.kill(int(os.environ["PRIVD"]), signal.SIGHUP)
    deadline = time.monotonic() + 20
    while now() != third:
        assert time.monotonic() < deadline, "waited 20 s in vain for the third certificate"
        time.sleep(0.02)

    assert listed(old) and shown(old) == first
    sandbox.files.write("/tmp/go", "")
    assert command.wait().stdout == "late\n"
    old.close()
print("all well")
