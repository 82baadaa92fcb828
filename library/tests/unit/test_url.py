"""From a URL to a target."""

from __future__ import annotations

import ssl

import pytest
import warmline
from warmline._url import detect_via, parse, tls_context


def test_user_password_and_database_are_percent_decoded():
    address = parse("mysql+pymysql://a%40b:p%2Fw%3A@db.example:3307/my%20shop")
    assert (address.engine, address.driver) == ("mysql", "pymysql")
    target = address.target
    assert (target.user, target.password, target.host, target.port) == ("a@b", "p/w:", "db.example", 3307)
    assert target.database == "my shop"


@pytest.mark.parametrize(
    ("url", "engine", "port"),
    [
        ("mysql://h/d", "mysql", 3306),
        ("mariadb://h/d", "mysql", 3306),
        ("postgresql://h/d", "postgres", 5432),
        ("postgres://h/d", "postgres", 5432),
    ],
)
def test_each_engine_has_its_port(url, engine, port):
    address = parse(url)
    assert (address.engine, address.target.port, address.driver) == (engine, port, None)


def test_an_ipv6_host_is_read():
    assert parse("postgresql://u@[::1]:5433/d").target.host == "::1"


def test_a_unix_socket_is_an_option():
    assert parse("mysql://u@/d?unix_socket=/run/my.sock").target.unix_socket == "/run/my.sock"
    assert parse("postgresql://u@/d?host=/run/pg").target.unix_socket == "/run/pg"


def test_a_ca_turns_verification_on():
    assert parse("mysql://h/d?ssl_ca=/ca.pem").target.tls == "verify-full"
    assert parse("postgresql://h/d?sslmode=require&sslrootcert=/ca.pem").target.tls == "verify-full"
    assert parse("postgresql://h/d?sslmode=verify-ca&sslrootcert=/ca.pem").target.tls == "verify-ca"
    assert parse("mysql://h/d?ssl_mode=VERIFY_IDENTITY&ssl_ca=/ca.pem").target.tls == "verify-full"


@pytest.mark.parametrize(
    "url",
    ["oracle://h/d", "h/d", "mysql://h:port/d", "mysql://u:secret@h/d?frobnicate=1", "mysql://h/d?ssl_mode=maybe"],
)
def test_what_cannot_be_taken_is_refused_without_the_password(url):
    with pytest.raises(warmline.SettingsError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_a_target_does_not_show_its_password():
    assert "secret" not in repr(parse("mysql://u:secret@h/d").target)


def test_one_tls_context_serves_the_process():
    first = tls_context(parse("mysql://h/d?ssl_mode=require").target)
    assert first is tls_context(parse("mysql://other/d?ssl_mode=require").target)
    assert isinstance(first, ssl.SSLContext)
    assert tls_context(parse("mysql://h/d?ssl_mode=disabled").target) is None


def test_the_path_is_guessed_from_the_address():
    assert detect_via("shop.proxy-abc123.eu-west-1.rds.amazonaws.com", 3306) == "rds-proxy"
    assert detect_via("10.0.0.1", 6432) == "pgbouncer"
    assert detect_via("shop.abc123.eu-west-1.rds.amazonaws.com", 3306) == "direct"
