"""TLS on both sides, verifiers in place of passwords, reload, session mode."""

from __future__ import annotations

import psycopg
import pytest
from warmline_toolkit.servers import certificates, start


@pytest.fixture
def certificate(tmp_path):
    """The folder of a certificate authority and of a certificate for this machine's loopback address."""
    certificates.make(tmp_path)
    return tmp_path


def listener(certificate) -> str:
    return f'[tls]\ncertificate = "{certificate / "server-cert.pem"}"\nkey = "{certificate / "server-key.pem"}"\n'


def test_a_client_verifies_the_proxy_and_large_results_pass_through_tls(postgres, run_proxy, certificate):
    proxy = run_proxy(postgres, extra=listener(certificate), max_server_connections=1)
    for _ in range(3):
        client = proxy.connect(sslmode="verify-full", sslrootcert=str(certificate / "ca.pem"))
        assert client.pgconn.ssl_in_use
        (text,) = client.execute("select repeat('x', 5000000)").fetchone()
        assert len(text) == 5_000_000
    stats = proxy.admin("stats")
    assert stats["client_connections_tls"] == 3


def test_require_tls_refuses_clients_without(postgres, run_proxy, certificate):
    proxy = run_proxy(postgres, extra=listener(certificate), require_tls=True)
    with pytest.raises(psycopg.OperationalError, match="this proxy requires TLS connections"):
        proxy.connect(sslmode="disable")
    assert proxy.connect(sslmode="require").execute("select 1").fetchone() == (1,)


def test_the_target_is_verified(run_proxy, certificate):
    with start("postgres", max_connections=5, tls=True) as server:
        proxy = run_proxy(server, extra=f'[target_tls]\nmode = "verify-full"\nca = "{server.ca_file}"\n')
        row = proxy.connect().execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
        assert row == (True,)
        other = run_proxy(
            server,
            connection_borrow_timeout_s=1,
            extra=f'[target_tls]\nmode = "verify-full"\nca = "{certificate / "ca.pem"}"\n',
        )
        with pytest.raises(psycopg.OperationalError, match="TLS to the target failed"):
            other.connect()


def test_a_verifier_is_enough_to_log_in_on_both_sides(postgres, run_proxy):
    with psycopg.connect(postgres.admin_url) as admin:
        (verifier,) = admin.execute("select rolpassword from pg_authid where rolname = %s", (postgres.user,)).fetchone()
    assert verifier.startswith("SCRAM-SHA-256$")
    target = postgres.url.replace(f"{postgres.user}:{postgres.password}@", "")
    extra = f'[[users]]\nname = "{postgres.user}"\nverifier = "{verifier}"\n'
    proxy = run_proxy(postgres, target=target, extra=extra)
    assert proxy.connect().execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        proxy.connect(password="wrong")


def test_md5_clients_log_in_when_enabled(postgres, run_proxy):
    proxy = run_proxy(postgres, auth="md5")
    assert proxy.connect(require_auth="md5").execute("select 1").fetchone() == (1,)


def test_a_reload_changes_settings_and_keeps_clients_and_a_bad_one_changes_nothing(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=3)
    client = proxy.connect()
    file = proxy.folder / "settings.toml"
    text = file.read_text()
    file.write_text(text.replace("max_server_connections = 3", "max_server_connections = 7"))
    assert proxy.admin("reload") == {"ok": True}
    assert client.execute("select 1").fetchone() == (1,)
    assert proxy.admin("stats")["max_database_connections_allowed"] == 7
    file.write_text(text.replace("max_server_connections = 3", "max_connections_percent = 0"))
    assert "max_connections_percent" in proxy.admin("reload")["error"]
    assert proxy.admin("stats")["max_database_connections_allowed"] == 7


def test_session_mode_keeps_the_server_connection_and_cleans_it_for_the_next_client(postgres, run_proxy):
    proxy = run_proxy(postgres, mode="session", max_server_connections=2)
    one, other = proxy.connect(), proxy.connect()
    numbers = {one.execute("select pg_backend_pid()").fetchone() for _ in range(3)}
    assert len(numbers) == 1
    assert other.execute("select pg_backend_pid()").fetchone() not in numbers
    one.execute("create temp table mine (number int)")
    one.close()
    third = proxy.connect()
    assert third.execute("select pg_backend_pid()").fetchone() in numbers
    assert third.execute("select to_regclass('pg_temp.mine')").fetchone() == (None,)
