"""HTTPS by name: a domain and a key are all that a client is told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENV = os.environ.get("WARDER_E2E_TLS_ENV")
# The certificate that a second server was given, and what the names of its state and its lines begin with.
GIVEN = os.environ.get("WARDER_E2E_GIVEN")
WARDER = os.environ.get("WARDER_E2E_WARDER")
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not ENV, reason="the server under test speaks no TLS (tests/e2e/run starts one that does)")


def exported(file=ENV):
    """The lines that `warder up` printed."""
    lines = Path(file).read_text().splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))


def clean(lines=None):
    """An environment with those lines and nothing else of E2B's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("E2B_", "SSL_", "NODE_"))}
    return {**kept, **(lines or exported())}


def of_given():
    """The same of the server that was given its certificate, and trust in who signed it."""
    lines = exported(f"{GIVEN}-env")
    assert not {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} & set(lines)
    return clean({**lines, "SSL_CERT_FILE": f"{GIVEN}/ca.pem"})


def run(*command, environment=None):
    return subprocess.run(command, env=environment or clean(), capture_output=True, text=True, timeout=120)


def privd(pid):
    """The process of a `warder up` that opens its files."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize("environment", [clean, of_given], ids=["self", "given"])
def test_a_domain_and_a_key_drive_the_sdk(environment):
    done = run(sys.executable, str(HERE / "by_domain.py"), environment=environment())
    assert done.returncode == 0 and "all well" in done.stdout, done.stdout + done.stderr


def test_a_certificate_is_replaced():
    environment = {**of_given(), "WARDER_STATE_DIR": f"{GIVEN}-state"}
    environment["PRIVD"] = str(privd(os.environ["WARDER_E2E_GIVEN_PID"]))
    done = run(sys.executable, str(HERE / "renewal.py"), environment=environment)
    assert done.returncode == 0 and "all well" in done.stdout, done.stdout + done.stderr


def test_a_log_file_is_opened_anew(until):
    """Who has moved it away says so, by `warder reload` or by a signal, and finds what comes then in a new one."""
    state = Path(os.environ["WARDER_E2E_TLS_STATE"])
    log, moved = state / "log", [state / f"log.{n}" for n in range(3)]

    def reload():
        return run(WARDER, "--state-dir", str(state), "reload")

    def hang_up():
        os.kill(privd(os.environ["WARDER_E2E_TLS_PID"]), signal.SIGHUP)

    def told(file):
        return file.exists() and file.read_text().count("certificates opened anew")

    assert log.stat().st_size > 0
    log.rename(moved[0])
    done = reload()
    assert done.returncode == 0, done.stdout + done.stderr
    assert told(log) == 1
    assert log.stat().st_mode & 0o777 == 0o600
    before = moved[0].read_text()
    log.rename(moved[1])
    hang_up()
    until(lambda: told(log) == 1, "the new file")
    # Where none can be opened the last one stays in use.
    log.rename(moved[2])
    log.mkdir()
    done = reload()
    assert done.returncode == 1 and "log file" in done.stdout + done.stderr, done.stdout + done.stderr
    assert told(moved[2]) == 2 and "cannot open the log file" in moved[2].read_text()
    log.rmdir()
    done = reload()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (told(moved[2]), told(moved[1]), told(log)) == (2, 1, 1)
    assert moved[0].read_text() == before, "nobody writes to those that were moved"


def test_without_trust_nothing_is_said_to_the_server():
    environment = clean()
    del environment["SSL_CERT_FILE"]
    done = run(sys.executable, "-c", "from e2b import Sandbox; Sandbox.create()", environment=environment)
    # OpenSSL's words, and those of rustls in newer SDKs.
    assert done.returncode != 0, done.stdout
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr or "UnknownIssuer" in done.stderr, done.stderr


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_both_versions_of_http(version):
    lines = exported()
    url = f"https://api.{lines['E2B_DOMAIN']}/v2/sandboxes"
    done = run(
        "curl", "-sS", f"--http{version}", "--cacert", lines["SSL_CERT_FILE"], "-H", f"X-API-KEY: {lines['E2B_API_KEY']}",
        "-o", "/dev/null", "-w", "%{http_version} %{http_code}", url,
    )  # fmt: skip
    assert done.stdout == f"{version} 200", done.stdout + done.stderr


def test_the_certificate_is_for_these_names_only():
    lines = exported()
    done = run("openssl", "x509", "-noout", "-text", "-in", lines["NODE_EXTRA_CA_CERTS"])
    domain = lines["E2B_DOMAIN"].split(":")[0]
    assert "Name Constraints: critical" in done.stdout and f"DNS:{domain}" in done.stdout, done.stdout
