"""Signed URLs: whoever holds one needs no key, no token and no SDK."""

import http.client
from urllib.parse import parse_qs, urlencode, urlsplit



def fetch(url, method="GET", body=None, headers=None):
    """One request with nothing but what the URL holds."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def form(name, data):
    """A multipart body with one file."""
    edge = "b0undary"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


def test_download(sandbox):
    sandbox.files.write("/home/user/report.bin", b"\x00 body \xff")
    assert fetch(sandbox.download_url("/home/user/report.bin")) == (200, b"\x00 body \xff")


def test_download_of_a_relative_path_with_awkward_characters(sandbox):
    sandbox.files.write("a folder/ü & é.txt", "found")
    assert fetch(sandbox.download_url("a folder/ü & é.txt")) == (200, b"found")


def test_download_as_a_user(sandbox):
    """Whose home it is about; the agent reads with its own rights, as E2B's does."""
    sandbox.files.write("/root/f", "root's", user="root")
    sandbox.files.write("/home/user/f", "user's")
    assert fetch(sandbox.download_url("f", user="root")) == (200, b"root's")
    assert fetch(sandbox.download_url("f", user="user")) == (200, b"user's")
    assert fetch(sandbox.download_url("f", user="nobody-of-that-name"))[0] == 401


def test_download_before_and_after_the_end_of_a_signature(sandbox):
    sandbox.files.write("/home/user/f", "x")
    assert fetch(sandbox.download_url("/home/user/f", use_signature_expiration=1000)) == (200, b"x")
    status, body = fetch(sandbox.download_url("/home/user/f", use_signature_expiration=-1000))
    assert status == 401
    assert b"signature is already expired" in body


def test_upload(sandbox):
    body, headers = form("ignored.bin", b"sent by a form")
    status, answer = fetch(sandbox.upload_url("/home/user/up.bin"), "POST", body, headers)
    assert status == 200, answer
    assert sandbox.files.read("/home/user/up.bin") == "sent by a form"


def test_upload_with_an_end_and_a_user(sandbox):
    body, headers = form("x", b"of root")
    url = sandbox.upload_url("/root/up", user="root", use_signature_expiration=1000)
    assert fetch(url, "POST", body, headers)[0] == 200
    assert sandbox.files.get_info("/root/up", user="root").owner == "root"


def test_upload_of_a_raw_body(sandbox):
    headers = {"Content-Type": "application/octet-stream"}
    assert fetch(sandbox.upload_url("/tmp/raw"), "POST", b"raw", headers)[0] == 200
    assert sandbox.files.read("/tmp/raw") == "raw"


def test_a_signature_opens_one_file_for_one_purpose(sandbox, edge):
    sandbox.files.write("/home/user/open", "x")
    sandbox.files.write("/home/user/closed", "secret")
    query = parse_qs(urlsplit(sandbox.download_url("/home/user/open")).query)
    signature = query["signature"][0]
    named = edge.having({"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"})

    def ask(method="GET", body=None, **query):
        headers = {"Content-Type": "application/octet-stream"} if body else {}
        return named.ask(method, f"/files?{urlencode(query)}", body=body, headers=headers)

    assert ask(path="/home/user/open", signature=signature).body == b"x"
    for refused in (
        ask(path="/home/user/closed", signature=signature),
        ask(path="/home/user/open", signature=signature, username="root"),
        ask(path="/home/user/open", signature=signature, signature_expiration="99999999999"),
        ask(path="/home/user/open", signature="v1_" + "A" * 43),
        ask("POST", b"overwritten", path="/home/user/open", signature=signature),
    ):
        assert refused.error(401)["message"] == "invalid signature"
    missing = ask(path="/home/user/open").error(401)
    assert missing["message"] == "missing signature query parameter"
    assert sandbox.files.read("/home/user/open") == "x"


def test_a_wrong_signature_without_a_name_opens_nothing(sandbox, edge):
    sandbox.files.write("/home/user/f", "secret")
    answer = edge.get("/files?path=/home/user/f&signature=v1_" + "A" * 43)
    assert 400 <= answer.status < 500 and b"secret" not in answer.body
    answer = edge.get("/files?path=/home/user/f")
    assert 400 <= answer.status < 500 and b"secret" not in answer.body


def test_a_signature_of_one_sandbox_opens_no_other(make):
    first, second = make(), make()
    first.files.write("/home/user/f", "of the first")
    second.files.write("/home/user/f", "of the second")
    assert fetch(first.download_url("/home/user/f")) == (200, b"of the first")
    assert fetch(second.download_url("/home/user/f")) == (200, b"of the second")



def test_a_url_dies_with_its_sandbox(make):
    sandbox = make()
    sandbox.files.write("/home/user/f", "x")
    url = sandbox.download_url("/home/user/f")
    sandbox.kill()
    status, body = fetch(url)
    assert status >= 400 and body != b"x"
    assert fetch(url, headers={"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"})[0] == 502
