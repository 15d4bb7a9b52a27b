"""What the suites take for the internet, inside a network namespace of its own:

TCP 8080  says "the internet" and closes
TCP 8081  says "hello" and waits until the other end goes
TCP 80    HTTP: which address was asked, and for which host
UDP 53    a name server: *.one.example is 6.6.6.6, anything else 7.7.7.7
"""

import http.server
import socket
import struct
import threading


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = f"{self.connection.getsockname()[0]} {self.headers['Host']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def tcp(port, serve):
    server = socket.create_server(("0.0.0.0", port), backlog=128)
    while True:
        link, _ = server.accept()
        threading.Thread(target=serve, args=(link,), daemon=True).start()


def greet(link):
    with link:
        link.sendall(b"the internet")


def hold(link):
    with link:
        link.sendall(b"hello")
        try:
            while link.recv(1000):
                pass
        except OSError:
            pass


def names(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, client = server.recvfrom(512)
        labels, end = [], 12
        while end < len(query) and query[end]:
            labels.append(query[end + 1 : end + 1 + query[end]].lower().decode("ascii", "replace"))
            end += query[end] + 1
        question = query[12 : end + 5]
        if len(question) < 5:
            continue
        of_one = labels[-2:] == ["one", "example"]
        data = socket.inet_aton("6.6.6.6" if of_one else "7.7.7.7")
        # Only addresses of IPv4 exist; for anything else there is no answer, and no error.
        wanted = struct.unpack("!H", question[-4:-2])[0] == 1
        answer = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 1, 4, data) if wanted else b""
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if answer else 0, 0, 0)
        server.sendto(head + question + answer, client)


for work in (
    lambda: tcp(8080, greet),
    lambda: tcp(8081, hold),
    lambda: names("8.8.8.8"),
    lambda: names("1.1.1.1"),
):
    threading.Thread(target=work, daemon=True).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Page).serve_forever()
