"""What the SDK does when it is told a domain and a key and nothing else. Started by test_tls.py."""

import os
import subprocess
import urllib.request

from e2b import Sandbox

try:
    from e2b import Volume
except ImportError:
    Volume = None

assert "E2B_API_URL" not in os.environ and "E2B_SANDBOX_URL" not in os.environ

with Sandbox.create(timeout=120) as sandbox:
    assert sandbox.commands.run("echo over TLS").stdout == "over TLS\n"
    big = os.urandom(3_000_000)
    sandbox.files.write("/home/user/big", big)
    assert sandbox.files.read("/home/user/big", format="bytes") == big
    seen = []
    sandbox.commands.run("for i in 1 2 3; do echo $i; done", on_stdout=seen.append)
    assert "".join(seen) == "1\n2\n3\n"
    assert sandbox.sandbox_id in [s.sandbox_id for s in Sandbox.list().next_items()]

    # What a browser or a server elsewhere is given: names of their own, https, no key.
    url = sandbox.download_url("/home/user/big")
    assert url.startswith(f"https://49983-{sandbox.sandbox_id}.{os.environ['E2B_DOMAIN']}/"), url
    assert urllib.request.urlopen(url, timeout=30).read() == big
    sandbox.commands.run("cd /home/user && python3 -m http.server 8000 --bind 127.0.0.1", background=True)
    sandbox.commands.run("until curl -sfo /dev/null http://127.0.0.1:8000/; do sleep 0.05; done")
    host = sandbox.get_host(8000)
    assert urllib.request.urlopen(f"https://{host}/big", timeout=30).read() == big

    # The content of a volume has a host of its own, below the same domain.
    if Volume:
        volume = Volume.create(f"by-domain-{sandbox.sandbox_id}")
        try:
            volume.write_file("/note.txt", "over TLS")
            assert volume.read_file("/note.txt") == "over TLS"
        finally:
            Volume.destroy(volume.volume_id)

    # In both versions of HTTP, and by whatever client.
    for version in ("1.1", "2"):
        curl = ["curl", "-sS", f"--http{version}", "--cacert", os.environ["SSL_CERT_FILE"], "-o", "/dev/null"]
        curl += ["-w", "%{http_version} %{size_download}", f"https://{host}/big"]
        said = subprocess.run(curl, capture_output=True, text=True, timeout=30)
        assert said.stdout == f"{version} {len(big)}", said
print("all well")
