"""The server inside the sandbox: a strict WebSocket endpoint (RFC 6455), and sources and sinks of bulk data."""
import base64
import hashlib
import socket
import socketserver
import struct
import sys

FILL = bytes((n * 7 + 3) % 251 for n in range(65528))
SENT = [0]
LEFT = [0]


def block(number):
    return struct.pack(">Q", number) + FILL


class Broken(Exception):
    """A rule of the protocol was broken; the argument is the close code that says so."""


class WebSocket:
    def __init__(self, read, send):
        self.read, self.send = read, send

    def frame(self):
        first, second = self.read(2)
        length = second & 127
        if length == 126:
            length, = struct.unpack(">H", self.read(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.read(8))
        opcode = first & 15
        if first & 0x70 or opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            raise Broken(1002)
        if opcode >= 8 and (not first & 0x80 or length > 125):
            raise Broken(1002)
        if not second & 0x80:
            raise Broken(1002)
        mask = self.read(4)
        data = self.read(length)
        if length:
            key = int.from_bytes(mask * (length // 4) + mask[: length % 4], "big")
            data = (int.from_bytes(data, "big") ^ key).to_bytes(length, "big")
        return bool(first & 0x80), opcode, data

    def say(self, opcode, data):
        length = len(data)
        if length < 126:
            head = bytes([0x80 | opcode, length])
        elif length < 65536:
            head = bytes([0x80 | opcode, 126]) + struct.pack(">H", length)
        else:
            head = bytes([0x80 | opcode, 127]) + struct.pack(">Q", length)
        self.send(head + data)

    def closed(self, data):
        """Answers a close frame."""
        if len(data) == 1:
            raise Broken(1002)
        if data:
            code, = struct.unpack(">H", data[:2])
            if not (code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999):
                raise Broken(1002)
            try:
                data[2:].decode()
            except UnicodeDecodeError:
                raise Broken(1007)
        self.say(8, data[:2])

    def echo(self):
        kind, parts = None, []
        while True:
            final, opcode, data = self.frame()
            if opcode == 8:
                return self.closed(data)
            if opcode == 9:
                self.say(10, data)
            elif opcode == 10:
                pass
            else:
                if (opcode == 0) != (kind is not None):
                    raise Broken(1002)
                kind = kind if kind is not None else opcode
                parts.append(data)
                if final:
                    whole = b"".join(parts)
                    if kind == 1:
                        try:
                            whole.decode()
                        except UnicodeDecodeError:
                            raise Broken(1007)
                    self.say(kind, whole)
                    kind, parts = None, []


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.request.makefile("rb", 1 << 17)

    def read(self, length):
        data = self.file.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def answer(self, text):
        body = str(text).encode()
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def pieces(self, headers):
        """The body as it comes."""
        if "chunked" in headers.get("transfer-encoding", ""):
            while length := int(self.file.readline(), 16):
                yield self.read(length)
                self.read(2)
            self.read(2)
        else:
            left = int(headers.get("content-length", 0))
            while left:
                data = self.file.read1(min(left, 1 << 17))
                if not data:
                    raise EOFError
                left -= len(data)
                yield data

    def handle(self):
        try:
            while line := self.file.readline():
                headers = {}
                while (field := self.file.readline().strip()):
                    name, value = field.decode().split(":", 1)
                    headers[name.lower()] = value.strip()
                path, _, query = line.split()[1].decode().partition("?")
                if self.one(path, query, headers):
                    return
        except (EOFError, OSError):
            pass

    def one(self, path, query, headers):
        """True when the connection is used up."""
        if path in ("/ws", "/ws-half"):
            key = headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key).digest())
            self.request.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            socket_ = WebSocket(self.read, self.request.sendall)
            if path == "/ws-half":
                socket_.say(1, b"last words")
                self.request.shutdown(socket.SHUT_WR)
                LEFT[0] = 0
                while data := self.file.read1(1 << 17):
                    LEFT[0] += len(data)
                return True
            try:
                socket_.echo()
            except Broken as broken:
                socket_.say(8, struct.pack(">H", broken.args[0]))
            except EOFError:
                socket_.say(1, b"no more")
            self.request.shutdown(socket.SHUT_WR)
            return True
        if path == "/sink":
            rest, number = b"", 0
            for piece in self.pieces(headers):
                rest += piece
                while len(rest) >= 65536:
                    if rest[:65536] != block(number):
                        raise EOFError
                    rest, number = rest[65536:], number + 1
            self.answer("%d blocks and %d bytes" % (number, len(rest)))
        elif path == "/source":
            blocks = int(query)
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks << 16))
            for number in range(blocks):
                self.request.sendall(block(number))
        elif path == "/echo":
            self.request.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in self.pieces(headers):
                self.request.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.request.sendall(b"0\r\n\r\n")
        elif path == "/endless":
            self.request.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            SENT[0] = 0
            while True:
                self.request.sendall(b"10000\r\n%s\r\n" % block(0))
                SENT[0] += 65536
        elif path == "/events":
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(3):
                text = b"id: %d\ndata: x\n\n" % number
                self.request.sendall(b"%x\r\n%s\r\n" % (len(text), text))
                # The next event waits until somebody has seen this one.
                while SENT[0] <= number:
                    __import__("time").sleep(0.005)
            self.request.sendall(b"0\r\n\r\n")
        elif path == "/seen":
            SENT[0] = int(query)
            self.answer("ok")
        elif path == "/counts":
            self.answer("%d %d" % (SENT[0], LEFT[0]))
        else:
            self.answer("ready")
        return False


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
