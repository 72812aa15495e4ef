#!/usr/bin/python3
"""Clients as one does not wish them, over real sockets; run inside a host of a lab.

  bad_clients.py all HOST TOKEN IMAGE   every kind, one after the other; IMAGE waits for its bytes
  bad_clients.py crowd HOST             many connections that say nothing, until standard input ends

Prints a line for each kind. Exits 1 when the server did not behave; nothing is waited for longer
than PATIENCE seconds.
"""
import resource
import socket
import struct
import sys
import time

PATIENCE = 20
IDENTITY, COMPUTE, IMAGES = 5000, 8774, 9292


def dial(host, port):
    line = socket.create_connection((host, port), timeout=PATIENCE)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def cut(line):
    """Closes so that the other side sees a reset."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def hear(line):
    """Everything until the server closes, or has said the end of a header."""
    text = b""
    try:
        while b"\r\n\r\n" not in text:
            more = line.recv(65536)
            if not more:
                break
            text += more
    except ConnectionError:
        pass
    return text


def uploads_cut(host, token, image):
    """A third of what was promised, then nothing, an end, or a reset."""
    for number in range(12):
        line = dial(host, IMAGES)
        line.sendall(
            f"PUT /v2/images/{image}/file HTTP/1.1\r\nHost: h\r\nX-Auth-Token: {token}\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: 30000000\r\n\r\n".encode()
        )
        line.sendall(bytes(10_000_000))
        (cut if number % 2 else socket.socket.close)(line)


def half_closed(host, *_):
    """Some have said everything, the others closed their half too early and wait for nothing."""
    for _ in range(20):
        line = dial(host, IDENTITY)
        line.sendall(b"GET /v3 HTTP/1.1\r\nHost: h\r\n\r\n")
        line.shutdown(socket.SHUT_WR)
        if not hear(line).startswith(b"HTTP/1.1 200"):
            raise AssertionError("no answer to a client that closed its half")
        line.close()
        line = dial(host, IDENTITY)
        line.sendall(b"POST /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n{")
        line.shutdown(socket.SHUT_WR)
        line.close()


def slow(host, *_):
    """A header that comes byte by byte; some go away in the middle of it."""
    lines = [dial(host, COMPUTE) for _ in range(20)]
    text = b"GET /v2.1/servers HTTP/1.1\r\nHost: h\r\n\r\n"
    for at in range(len(text)):
        for number, line in enumerate(lines):
            if number % 2 == 0 or at < 15:
                line.sendall(text[at : at + 1])
        time.sleep(0.1)
    for number, line in enumerate(lines):
        if number % 2 == 0 and not hear(line).startswith(b"HTTP/1.1 401"):
            raise AssertionError("no answer to a slow client")
        cut(line)


def garbage(host, *_):
    """What is no HTTP at all, headers without end, lengths that are none."""
    for text in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"POST /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n" + b"[" * 70_000,
        b"\0" * 10_000,
        b"\r\n" * 10_000,
    ):
        for port in (IDENTITY, COMPUTE, IMAGES):
            line = dial(host, port)
            line.settimeout(0.5)
            try:
                line.sendall(text)
                line.shutdown(socket.SHUT_WR)
                hear(line)
            except (ConnectionError, OSError):
                pass
            line.close()


def deaf(host, *_):
    """Asks again and again and never reads an answer."""
    line = dial(host, IDENTITY)
    line.settimeout(2)
    try:
        for _ in range(20_000):
            line.sendall(b"GET /v3 HTTP/1.1\r\nHost: h\r\n\r\n")
    except (TimeoutError, ConnectionError):
        pass
    cut(line)


def crowd(host):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the usual 1024 are too few
    lines = []
    for port in (IDENTITY, COMPUTE):
        for _ in range(600):
            lines.append(dial(host, port))
    print("crowded", flush=True)
    sys.stdin.read()


def main():
    if sys.argv[1] == "crowd":
        crowd(sys.argv[2])
        return
    for kind in (uploads_cut, half_closed, slow, garbage, deaf):
        kind(*sys.argv[2:])
        print(kind.__name__.replace("_", " "), flush=True)


main()
