"""What is wrong is refused in the form SDKs understand, and nothing half-made stays behind."""

from urllib.parse import quote

import pytest

GONE = "i" + "0" * 20


def left(api, mark):
    return api.get(f"/v2/sandboxes?metadata={quote('mark=' + mark['mark'])}").json


def test_no_key_and_a_wrong_key(api):
    for key in (None, "", "e2b_" + "0" * 40, "x" * 5000):
        for method, path in (("GET", "/v2/sandboxes"), ("POST", "/sandboxes"), ("DELETE", f"/sandboxes/{GONE}")):
            api.ask(method, path, headers={"X-API-KEY": key}).error(401)


def test_health_needs_no_key(api):
    assert api.get("/health", headers={"X-API-KEY": None}).status in (200, 204)


@pytest.mark.parametrize("version", ["", "/v2"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"base"', b"{}", b'{"templateID": 5}', b'{"templateID": "base"', b"\xff\xfe"],
)
def test_bodies_that_are_no_request(api, version, body):
    api.post(f"{version}/sandboxes", body=body, headers={"Content-Type": "application/json"}).error(400)


@pytest.mark.parametrize("version", ["", "/v2"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": "long"},
        {"timeout": -1},
        {"timeout": 0},
        {"timeout": 1e12},
        {"metadata": "text"},
        {"metadata": {"mark": 5}},
        {"envVars": ["A=b"]},
        {"envVars": {"A": 5}},
        {"envVars": {"A=B": "x"}},
        {"envVars": {"A": "nul\0inside"}},
        {"allow_internet_access": "no"},
        {"network": "none"},
        {"templateID": "../../etc"},
        {"templateID": "x" * 300},
    ],
    ids=str,
)
def test_fields_that_are_wrong(api, mark, version, wrong):
    request = {"templateID": "base", "timeout": 30, "metadata": mark, **wrong}
    answer = api.post(f"{version}/sandboxes", json=request)
    assert answer.status in (400, 404), answer.body
    answer.error(answer.status)
    assert left(api, mark) == []


def test_unknown_fields_are_no_error(api, mark):
    request = {"templateID": "base", "timeout": 30, "metadata": mark, "fieldOfTheFuture": {"a": 1}}
    answer = api.post("/v2/sandboxes", json=request)
    assert answer.status == 201
    made = answer.json
    try:
        for key in ("sandboxID", "templateID", "clientID", "envdVersion", "envdAccessToken"):
            assert isinstance(made[key], str) and made[key], key
    finally:
        assert api.ask("DELETE", f"/sandboxes/{made['sandboxID']}").status == 204


def test_a_chunked_body_as_javascript_sends_it(api):
    body = iter([b'{"templateID":', b'"base","timeout":30}'])
    answer = api.post("/sandboxes", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 201
    assert api.ask("DELETE", f"/sandboxes/{answer.json['sandboxID']}").status == 204


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sandboxes/{}", None),
        ("DELETE", "/sandboxes/{}", None),
        ("POST", "/sandboxes/{}/timeout", {"timeout": 5}),
        ("POST", "/sandboxes/{}/connect", {"timeout": 5}),
        ("POST", "/v2/sandboxes/{}/connect", {"timeout": 5}),
        ("POST", "/sandboxes/{}/refreshes", {"duration": 5}),
    ],
)
@pytest.mark.parametrize("name", [GONE, "x", "..%2F..%2Fetc", "a" * 500, "%00"])
def test_sandboxes_that_never_were(api, method, path, body, name):
    answer = api.ask(method, path.format(name), json=body)
    assert answer.status in (400, 404), answer.body
    answer.error(answer.status)
    if name == GONE:
        assert answer.status == 404


def test_wrong_bodies_for_a_live_sandbox(sandbox, api):
    end = sandbox.get_info().end_at
    for body in ({}, {"timeout": "x"}, {"timeout": -5}, {"timeout": 1e15}):
        api.post(f"/sandboxes/{sandbox.sandbox_id}/timeout", json=body).error(400)
    assert sandbox.get_info().end_at == end


def test_a_body_too_large(api):
    body = b'{"templateID":"base","metadata":{"x":"' + b"x" * (20 << 20) + b'"}}'
    try:
        answer = api.post("/v2/sandboxes", body=body, headers={"Content-Type": "application/json"})
    except (BrokenPipeError, ConnectionResetError):
        return  # refused before it was all sent, which is right too
    assert answer.status in (400, 413)
    answer.error(answer.status)


def test_paths_that_lead_nowhere(api):
    api.get("/no/such/path").error(404)
    api.get("/v2/sandboxes/../../etc/passwd").error(404)
    assert api.ask("PATCH", "/v2/sandboxes").status in (404, 405)


@pytest.mark.parametrize("version", ["", "/v2"])
@pytest.mark.parametrize(
    "option",
    [
        {"network": {"egressOff": True}},
        {"network": {"rules": {"example.com": [{"transform": {"headers": {"A": "b"}}}]}}},
        {"iam": {"tokens": {"t": {"audience": "a", "tokenType": "JWT-SVID"}}}},
    ],
    ids=lambda option: "-".join([*option, *(next(iter(option.values())) if "network" in option else [])]),
)
def test_what_is_not_there_yet_is_refused(api, mark, version, option):
    """Rather than ignored: whoever asked for a rule must not believe that it holds."""
    request = {"templateID": "base", "timeout": 30, "metadata": mark, **option}
    message = api.post(f"{version}/sandboxes", json=request).error(400)["message"]
    named = next(iter(option))
    inner = option[named] if isinstance(option[named], dict) else {}
    assert any(name.lower() in message.lower() for name in (named, *inner)), message
    assert left(api, mark) == []


def test_the_form_of_an_agents_error(sandbox, agent):
    answer = agent(sandbox).post("/filesystem.Filesystem/Stat", json={"path": "/no/such"})
    assert answer.status == 404
    assert answer.json["code"] == "not_found" and "/no/such" in answer.json["message"]
    answer = agent(sandbox).post("/filesystem.Filesystem/NoSuchMethod", json={})
    assert answer.status in (404, 501)
    answer = agent(sandbox).post("/filesystem.Filesystem/Stat", body=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


def test_wrong_tokens_are_told_in_one_form(sandbox, agent):
    wrong = agent(sandbox).having({"X-Access-Token": "wrong"})
    wrong.post("/process.Process/List", json={}).error(401)
    wrong.get("/files?path=/etc/passwd").error(401)
