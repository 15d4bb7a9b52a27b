"""A name server for one test network: every name is 127.0.0.1. Usage: dns.py ADDRESS"""

import socket
import struct
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("serving", flush=True)
while True:
    query, client = server.recvfrom(512)
    if len(query) < 17:
        continue
    end = 12
    while end < len(query) and query[end]:
        end += query[end] + 1
    question = query[12 : end + 5]
    kind = struct.unpack("!H", question[-4:-2])[0]
    # Only addresses of IPv4 exist; for anything else there is no answer, and no error.
    answer = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 1, 4, socket.inet_aton("127.0.0.1")) if kind == 1 else b""
    head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, 1 if answer else 0, 0, 0)
    server.sendto(head + question + answer, client)
