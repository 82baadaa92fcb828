"""Messages arrive in pieces: the answers are the same wherever the pieces end."""

from __future__ import annotations

import socket
import struct


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def converse(proxy, pieces) -> bytes:
    """Send *pieces*, each in a packet of its own, and return everything that is answered until the end."""
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    # The key for cancelling is different every time.
    at = answer.index(b"K\x00\x00\x00\x0c")
    return answer[:at] + answer[at + 13 :]


def test_answers_do_not_depend_on_where_the_input_is_split(postgres, run_proxy):
    proxy = run_proxy(postgres, auth="trust", max_server_connections=1)
    parameters = f"user\0{postgres.user}\0database\0{postgres.database}\0work_mem\x006MB\0\0".encode()
    session = struct.pack(">II", len(parameters) + 8, 196608) + parameters
    session += message(b"Q", b"show work_mem\0")
    session += message(b"P", b"named\0select $1::text\0\0\0")
    session += message(b"B", b"\0named\0\0\0\0\x01\0\0\0\x05hello\0\0")
    session += message(b"D", b"P\0") + message(b"E", b"\0\0\0\0\0") + message(b"C", b"Snamed\0") + message(b"S", b"")
    session += message(b"Q", b"select 1/0\0") + message(b"X", b"")
    expected = converse(proxy, [session])
    assert b"6MB" in expected
    assert b"hello" in expected
    assert b"division by zero" in expected
    assert converse(proxy, [session[at : at + 1] for at in range(len(session))]) == expected
    for at in range(1, len(session), 3):
        assert converse(proxy, [session[:at], session[at:]]) == expected, at
