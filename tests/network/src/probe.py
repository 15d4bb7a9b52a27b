import errno, json, os, select, socket, ssl, struct, sys, time

T = 3.0


def why(e):
    if isinstance(e, (socket.timeout, TimeoutError)) and not e.errno:
        return 'timeout'
    if isinstance(e, ssl.SSLError):
        return 'tls ' + str(e.reason)
    if isinstance(e, socket.gaierror):
        return 'no name'
    if isinstance(e, OSError) and e.errno:
        return errno.errorcode.get(e.errno, str(e.errno))
    return type(e).__name__


def connect(address, port):
    s = socket.socket()
    s.settimeout(T)
    s.connect((address, port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def attempt(act):
    try:
        return act()
    except Exception as e:
        return why(e)


def echoed(s, word=b'hello'):
    s.sendall(word)
    got = b''
    while len(got) < len(word):
        more = s.recv(100)
        if not more:
            return 'closed'
        got += more
    return 'ok' if got == word else 'wrong'


# Whether a server of TCP answers.
def tcp(address, port=7):
    return attempt(lambda: echoed(connect(address, port)))


# The same of one that speaks first.
def banner(address, port=22):
    def act():
        s = connect(address, port)
        got = s.recv(100)
        return echoed(s) if got == b'SSH-2.0-test\r\n' else 'closed' if not got else 'wrong'
    return attempt(act)


# The same of one that answers once the client has closed its half.
def half(address, port=11371):
    def act():
        s = connect(address, port)
        s.sendall(b'x' * 1000)
        s.shutdown(socket.SHUT_WR)
        return 'ok' if s.recv(100) == b'got 1000' else 'closed'
    return attempt(act)


def udp(address, port=7):
    def act():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(T)
        s.connect((address, port))
        s.send(b'hello')
        return 'ok' if s.recv(100) == b'hello' else 'wrong'
    return attempt(act)


def ping(address):
    def act():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        s.settimeout(T)
        s.connect((address, 0))
        s.send(bytes([8, 0, 0, 0, 0, 1, 0, 1]))
        return 'ok' if s.recv(100)[0] == 0 else 'wrong'
    return attempt(act)


def read_all(s):
    got = b''
    while True:
        more = s.recv(65536)
        if not more:
            return got
        got += more


# Of an HTTP answer: its status and body.
def answered(got):
    if not got:
        return 'closed'
    head, _, body = got.partition(b'\r\n\r\n')
    return [int(head.split()[1]), body.decode(errors='replace')]


def asked(s, host, path='/'):
    s.sendall(f'GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n'.encode())
    return answered(read_all(s))


# An HTTP request to `address`, for `host`: status and body, or a word.
def http(address, host, port=80):
    return attempt(lambda: asked(connect(address, port), host))


def send_raw(address, port, *parts):
    def act():
        s = connect(address, port)
        for part in parts:
            s.sendall(part)
            time.sleep(0.02)
        return answered(read_all(s))
    return attempt(act)


def trusted():
    return ssl.create_default_context(cafile='/tmp/ca.pem')


# An HTTPS request to `address`; `name` is shown (SNI) and checked unless it is an address.
def https(address, name=None, port=443):
    def act():
        s = trusted().wrap_socket(connect(address, port), server_hostname=name or address)
        return asked(s, name or address)
    return attempt(act)


# Whether HTTPS works, as a word.
def secure(address, name=None, port=443):
    got = https(address, name, port)
    return 'ok' if isinstance(got, list) and got[0] == 200 else got


# The address that HTTPS to `name` arrived at, resolved by the sandbox itself.
def visit(name, port=443):
    def act():
        address = socket.getaddrinfo(name, port, socket.AF_INET)[0][4][0]
        got = https(address, name, port)
        return got[1].split()[0] if isinstance(got, list) else got
    return attempt(act)


def resolve(name):
    return attempt(lambda: sorted({a[4][0] for a in socket.getaddrinfo(name, 1, socket.AF_INET)}))


def question(name, kind=1):
    labels = b''.join(bytes([len(l)]) + l for l in name.encode().split(b'.') if l)
    return struct.pack('>HHHHHH', 0x1234, 0x100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>HH', kind, 1)


# What a DNS server answers: addresses, or the name of a code (RFC 6895), or what came of the try.
def dns(server, name, stream=False, kind=1, port=53):
    def act():
        ask = question(name, kind)
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        s.settimeout(T)
        s.connect((server, port))
        if stream:
            s.sendall(struct.pack('>H', len(ask)) + ask)
            got = s.recv(2)
            if len(got) < 2:
                return 'closed'
            got = s.recv(4096)
        else:
            s.send(ask)
            got = s.recv(4096)
        code = got[3] & 15
        if code:
            return {1: 'FORMERR', 2: 'SERVFAIL', 3: 'NXDOMAIN', 5: 'REFUSED'}.get(code, str(code))
        count = struct.unpack('>H', got[6:8])[0]
        records, at = [], len(ask)
        for _ in range(count):
            at += 10
            length = struct.unpack('>H', got[at:at + 2])[0]
            records.append(socket.inet_ntoa(got[at + 2:at + 2 + length]))
            at += 2 + length
        return sorted(records)
    return attempt(act)


# An endless conversation; its state is the number of answers and how it ended.
def follow(name, open_it):
    path = f'/tmp/{name}.state'

    def note(*words):
        with open(path + '.new', 'w') as f:
            f.write(' '.join(map(str, words)))
        os.rename(path + '.new', path)

    answers = 0
    note(answers)
    try:
        talk = open_it()
        while True:
            talk()
            answers += 1
            note(answers)
            time.sleep(0.01)
    except EOFError:
        note(answers, 'closed')
    except Exception as e:
        note(answers, why(e).replace(' ', '_'))


def stream(s):
    def talk():
        if echoed(s) != 'ok':
            raise EOFError
    return talk


def long_tcp(address, port=7):
    return stream(connect(address, port))


# UDP has no end: three seconds without an answer are one. Whoever only waits for an answer that was dropped is told
# nothing, whoever asks again is told why, if there is a reason.
def long_udp(address, port=7):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(T)
    s.connect((address, port))
    talk = stream(s)

    def talk_or_ask_again():
        try:
            talk()
        except TimeoutError:
            talk()
            raise
    return talk_or_ask_again


def requests(s, host):
    def talk():
        s.sendall(f'GET / HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
        got = s.recv(4096)
        if not got.startswith(b'HTTP/1.1 200'):
            raise EOFError
    return talk


def long_http(address, host):
    return requests(connect(address, 80), host)


def long_https(address, name):
    return requests(trusted().wrap_socket(connect(address, 443), server_hostname=name), name)
