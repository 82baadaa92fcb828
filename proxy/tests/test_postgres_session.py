"""Session state: what a client sets follows it, what cannot follow pins it, and nobody sees anybody else's."""

from __future__ import annotations

import random
import threading

import psycopg
import pytest


def reasons(proxy) -> list[str]:
    return sorted(pin["reason"] for pin in proxy.admin("pins"))


@pytest.mark.parametrize(
    ("statement", "name", "expected"),
    [
        ("set timezone = 'Asia/Tokyo'", "timezone", "Asia/Tokyo"),
        ("set work_mem = '7MB'", "work_mem", "7MB"),
        ("set search_path = \"$user\", 'odd \"name''', public", "search_path", '"$user", "odd ""name\'", public'),
        ("select set_config('my.tenant', 'it''s', false)", "my.tenant", "it's"),
        ("do $$ begin perform set_config('my.block', 'x', false); end $$", "my.block", "x"),
        ("set statement_timeout = 12345", "statement_timeout", "12345ms"),
        (
            "set session characteristics as transaction isolation level serializable",
            "default_transaction_isolation",
            "serializable",
        ),
    ],
)
def test_a_setting_follows_its_client_and_reaches_nobody_else(postgres, run_proxy, statement, name, expected):
    proxy = run_proxy(postgres, max_server_connections=2)
    setter, others = proxy.connect(), [proxy.connect() for _ in range(3)]
    read = f"select current_setting('{name}', true)"
    # An extension's setting that was set once and reset is empty, not absent: both mean that it is not set.
    before = others[0].execute(read).fetchone()[0] or None
    setter.execute(statement)
    for turn in range(4):
        blocker = proxy.connect(autocommit=False)
        if turn % 2:
            blocker.execute("select 1")
        assert setter.execute(read).fetchone() == (expected,)
        for other in others:
            assert (other.execute(read).fetchone()[0] or None) == before
        blocker.rollback()
    assert reasons(proxy) == []


def test_settings_of_the_start_up_packet_are_the_clients_own(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    options = "-c work_mem=5MB -c my.start=here"
    one, other = proxy.connect(options=options, application_name="one"), proxy.connect(application_name="other")
    for _ in range(2):
        assert one.execute("show work_mem").fetchone() == ("5MB",)
        assert one.execute("show my.start").fetchone() == ("here",)
        assert other.execute("show work_mem").fetchone() == ("4MB",)
        assert one.execute("show application_name").fetchone() == ("one",)
        assert other.execute("show application_name").fetchone() == ("other",)
    one.execute("discard all")
    assert one.execute("show work_mem").fetchone() == ("5MB",)


def test_a_start_up_setting_that_the_server_refuses_ends_the_client_with_the_servers_words(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    client = proxy.connect(options="-c work_mem=lots")
    with pytest.raises(psycopg.OperationalError, match="invalid value for parameter"):
        client.execute("select 1")
    assert proxy.connect().execute("show work_mem").fetchone() == ("4MB",)


def test_set_local_ends_with_its_transaction(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    client = proxy.connect(autocommit=False)
    client.execute("set local work_mem = '9MB'")
    assert client.execute("show work_mem").fetchone() == ("9MB",)
    client.commit()
    assert client.execute("show work_mem").fetchone() == ("4MB",)


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        ("select pg_advisory_lock(7)", "select pg_advisory_unlock(7)", "advisory-lock"),
        ("create temp table kept (number int)", "drop table kept", "temporary-table"),
        ("listen news", "unlisten *", "listen"),
        ("declare kept cursor with hold for select 1", "close kept", "cursor"),
        ("prepare kept as select 1", "deallocate kept", "sql-prepare"),
    ],
)
def test_what_cannot_follow_pins_with_its_reason_until_it_is_gone(postgres, run_proxy, begin, end, reason):
    proxy = run_proxy(postgres, max_server_connections=2)
    client, other = proxy.connect(), proxy.connect()
    client.execute(begin)
    assert client.execute("select 1").fetchone() == (1,)
    (pin,) = proxy.admin("pins")
    assert pin["reason"] == reason
    assert pin["statement"].split()[0] == begin.split()[0]
    number = client.execute("select pg_backend_pid()").fetchone()
    for _ in range(3):
        assert other.execute("select pg_backend_pid()").fetchone() != number
    client.execute(end)
    assert client.execute("select 1").fetchone() == (1,)
    assert reasons(proxy) == []
    assert proxy.admin("stats")["pins_by_reason"] == {reason: 1}


def test_a_lock_that_was_not_taken_pins_nobody(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=2)
    holder, client = proxy.connect(), proxy.connect()
    assert holder.execute("select pg_try_advisory_lock(8)").fetchone() == (True,)
    assert client.execute("select pg_try_advisory_lock(8)").fetchone() == (False,)
    client.execute("select 1")
    assert len(proxy.admin("pins")) == 1


def test_a_pinned_client_that_leaves_leaves_nothing_behind(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    client = proxy.connect()
    client.execute("create temp table left_behind (number int)")
    client.execute("select pg_advisory_lock(9)")
    client.execute("listen news")
    client.execute("set work_mem = '3MB'")
    client.close()
    other = proxy.connect()
    assert other.execute("select to_regclass('pg_temp.left_behind')").fetchone() == (None,)
    assert other.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)
    assert other.execute("select count(*) from pg_listening_channels()").fetchone() == (0,)
    assert other.execute("show work_mem").fetchone() == ("4MB",)
    assert proxy.admin("stats")["database_connections_setup_succeeded"] == 1


def test_a_client_that_vanishes_in_a_transaction_is_rolled_back_and_its_connection_used_again(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    client = proxy.connect(autocommit=False)
    client.execute("create table never (number int)")
    client.pgconn.finish()
    other = proxy.connect()
    assert other.execute("select to_regclass('never')").fetchone() == (None,)
    assert proxy.admin("stats")["database_connections_setup_succeeded"] == 1


def test_sequence_values_of_another_client_are_never_seen(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    one, other = proxy.connect(), proxy.connect()
    one.execute("drop sequence if exists numbers; create sequence numbers")
    one.execute("select nextval('numbers')")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        other.execute("select lastval()")


def test_notices_tell_a_client_about_its_pin_when_asked_for(postgres, run_proxy):
    proxy = run_proxy(postgres, pin_notices=True)
    client = proxy.connect()
    notices: list[str] = []
    client.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    client.execute("select pg_advisory_lock(10)")
    client.execute("select 1")
    assert notices == ["this session is pinned to its server connection: advisory-lock"]


def test_random_sessions_never_see_each_others_state(postgres, run_proxy):  # noqa: C901 - one life of many choices
    """Eight clients on ten server connections change settings, lock, and make temporary tables at random.

    Each knows what its own session must look like and looks after every step.
    """
    proxy = run_proxy(postgres, max_server_connections=10)
    seed = random.randrange(1 << 30)  # noqa: S311 - a test's choices
    failures: list[BaseException] = []

    def live(number: int) -> None:  # noqa: C901 - as above
        choice = random.Random(seed + number)  # noqa: S311 - a test's choices
        expected = {"work_mem": "4MB", "my.name": "", "application_name": f"client{number}"}
        table = False
        try:
            with psycopg.connect(proxy.url, autocommit=True, application_name=f"client{number}") as session:
                for _ in range(40):
                    match choice.randrange(7):
                        case 0:
                            expected["work_mem"] = f"{choice.randrange(5, 60)}MB"
                            session.execute(f"set work_mem = '{expected['work_mem']}'")
                        case 1:
                            expected["my.name"] = f"{number}-{choice.random()}"
                            session.execute("select set_config('my.name', %s, false)", (expected["my.name"],))
                        case 2:
                            expected["application_name"] = f"renamed{number}-{choice.randrange(99)}"
                            session.execute(f"set application_name = '{expected['application_name']}'")
                        case 3 if not table:
                            session.execute("create temp table mine as select %s::int as number", (number,))
                            table = True
                        case 4 if table:
                            session.execute("drop table mine")
                            table = False
                        case 5:
                            with pytest.raises(psycopg.errors.DivisionByZero), session.transaction():
                                session.execute("set work_mem = '99MB'")
                                session.execute("select 1/0")
                        case _:
                            with session.transaction():
                                session.execute("set local work_mem = '77MB'")
                    for name, value in expected.items():
                        row = session.execute("select coalesce(current_setting(%s, true), '')", (name,)).fetchone()
                        assert row == (value,), name
                    found = session.execute("select to_regclass('pg_temp.mine') is not null").fetchone()
                    assert found == (table,)
                    if table:
                        assert session.execute("select number from mine").fetchone() == (number,)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [], f"seed {seed}"
