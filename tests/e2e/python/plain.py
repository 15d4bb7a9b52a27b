"""HTTP without an SDK: every header is the test's own choice."""

import http.client
import json as jsonlib
from urllib.parse import urlsplit


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return jsonlib.loads(self.body)

    def error(self, status):
        """The body of an error: JSON, its code equal to the status, its message some text."""
        assert self.status == status, (self.status, self.body)
        assert self.headers.get_content_type() == "application/json", dict(self.headers)
        assert self.json["code"] == status, self.body
        assert isinstance(self.json["message"], str) and self.json["message"], self.body
        return self.json


class Plain:
    def __init__(self, base, headers):
        self.base = base
        url = urlsplit(base)
        self.host, self.port = url.hostname, url.port
        self.headers = headers

    def having(self, headers):
        return Plain(self.base, {**self.headers, **headers})

    def connection(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=30)

    def ask(self, method, path, body=None, headers=None, json=None):
        """One request on a connection of its own. A header whose value is None is not sent."""
        headers = {**self.headers, **(headers or {})}
        if json is not None:
            body = jsonlib.dumps(json)
            headers.setdefault("Content-Type", "application/json")
        headers = {name: value for name, value in headers.items() if value is not None}
        connection = self.connection()
        try:
            connection.request(method, path, body=body, headers=headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, **more):
        return self.ask("POST", path, **more)


def envelope(message):
    """One message of a Connect stream."""
    data = jsonlib.dumps(message).encode()
    return b"\0" + len(data).to_bytes(4, "big") + data


def envelopes(body):
    """The messages of a Connect stream, each with its flags."""
    found = []
    while body:
        flags, length = body[0], int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + length, "a torn message at the end of the stream"
        found.append((flags, jsonlib.loads(body[5 : 5 + length])))
        body = body[5 + length :]
    return found
