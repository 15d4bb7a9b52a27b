"""HTTPS by name: a domain and a key are all that a client is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENV = os.environ.get("WARDER_E2E_TLS_ENV")
pytestmark = pytest.mark.skipif(not ENV, reason="the server under test speaks no TLS (tests/e2e/run starts one that does)")


def exported():
    """The lines that `warder up --tls self` printed."""
    lines = Path(ENV).read_text().splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))


def clean():
    """An environment with those lines and nothing else of E2B's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("E2B_", "SSL_", "NODE_"))}
    return {**kept, **exported()}


def run(*command, environment=None):
    return subprocess.run(command, env=environment or clean(), capture_output=True, text=True, timeout=120)


def test_a_domain_and_a_key_drive_the_sdk():
    done = run(sys.executable, str(Path(__file__).with_name("by_domain.py")))
    assert done.returncode == 0 and "all well" in done.stdout, done.stdout + done.stderr


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
