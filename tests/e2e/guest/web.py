"""A server to run inside a sandbox: plain answers, large bodies, streams in both directions, WebSocket.

Usage: web.py PORT [ADDRESS [CERTIFICATE]]. ADDRESS is 127.0.0.1 unless given; with a file of a certificate and
its key, it speaks TLS. Python's standard library only, since nothing is installed in a sandbox for the tests.
"""

import base64
import hashlib
import json
import socketserver
import ssl
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

RELEASED = threading.Event()
PROGRESS = {"received": 0}


def pattern(length: int) -> bytes:
    """`length` bytes that both sides can compute and that do not repeat on any power of two."""
    period = bytes(range(251))
    return (period * (length // len(period) + 1))[:length]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body: bytes, kind: str = "text/plain", status: int = 200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/hello":
            self.answer(b"hello from inside\n")
        elif url.path == "/request":
            headers = [[name.lower(), value] for name, value in self.headers.items()]
            seen = {"method": self.command, "path": self.path, "headers": headers}
            self.answer(json.dumps(seen).encode(), "application/json")
        elif url.path == "/status":
            self.answer(b"as asked\n", status=int(query["code"][0]))
        elif url.path == "/bytes":
            self.answer(pattern(int(query["n"][0])), "application/octet-stream")
        elif url.path == "/progress":
            self.answer(str(PROGRESS["received"]).encode())
        elif url.path == "/release":
            RELEASED.set()
            self.answer(b"released\n")
        elif url.path == "/events":
            self.events()
        elif url.path == "/ws":
            self.websocket()
        else:
            self.answer(b"no such page\n", status=404)

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "-1"))
        digest, received = hashlib.sha256(), 0
        for block in self.body(length):
            digest.update(block)
            received += len(block)
            PROGRESS["received"] = received
        seen = {"method": self.command, "length": received, "sha256": digest.hexdigest()}
        self.answer(json.dumps(seen).encode(), "application/json")

    do_PUT = do_POST
    do_PATCH = do_POST

    def body(self, length: int):
        """Blocks of the request body as they come, by length or chunked."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        while length > 0:
            block = self.rfile.read1(min(length, 65536))
            if not block:
                return
            length -= len(block)
            yield block

    def do_DELETE(self):
        self.answer(b"deleted\n")

    def events(self):
        """One event, then nothing until /release is asked for, then a second event."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: one\n\n")
        self.wfile.flush()
        RELEASED.wait(30)
        self.wfile.write(b"data: two\n\n")
        self.close_connection = True

    def websocket(self):
        """Echoes every text or binary message, until the close frame (RFC 6455)."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            opcode, length = head[0] & 15, head[1] & 127
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.rfile.read(8))
            mask = self.rfile.read(4)
            data = self.rfile.read(length)
            data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
            if length < 126:
                size = bytes([length])
            elif length < 65536:
                size = bytes([126]) + struct.pack(">H", length)
            else:
                size = bytes([127]) + struct.pack(">Q", length)
            self.wfile.write(head[:1] + size + data)
            self.wfile.flush()
            if opcode == 8:
                return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    server = Server((address, int(sys.argv[1])), Handler)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
