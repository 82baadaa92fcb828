"""What is told from a statement's text alone."""

from __future__ import annotations

import pytest
from warmline._statements import cannot_write, changes_session, is_all_or_nothing, may_commit, prepares, shown


@pytest.mark.parametrize(
    "statement",
    [
        "SET NAMES latin1",
        "  set @a = 1",
        "/* c */ SET sql_mode=''",
        "-- x\nSET time_zone = 'UTC'",
        b"SET search_path TO x",
        "select 1; set role x",
        "SELECT GET_LOCK('a', 1)",
        "select pg_advisory_lock(1)",
        "SELECT set_config('a.b', 'c', false)",
        "select @x := 1",
        "select a into @x from t",
        "CREATE TEMPORARY TABLE x (a int)",
        "create temp table x (a int)",
        "SELECT a INTO TEMP x FROM t",
        "LOCK TABLES t READ",
        "LISTEN x",
        "USE other",
        "PREPARE p AS SELECT 1",
        "CALL f()",
    ],
)
def test_what_leaves_something_in_the_session_is_seen(statement):
    assert changes_session(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        "insert into sets values ('set x')",
        "SET LOCAL statement_timeout = 5",
        "SET TRANSACTION READ ONLY",
        "set statement max_statement_time=1 for select 1",
        "update t set a = 1",
        "begin",
        b"COMMIT",
        "create table t (a int)",
    ],
)
def test_what_leaves_nothing_in_the_session_costs_no_reset(statement):
    assert not changes_session(statement)


def test_what_a_reset_might_not_remove_is_told_apart():
    assert prepares("PREPARE p AS SELECT 1")
    assert not prepares("PREPARE TRANSACTION 'x'")
    assert not prepares("SET a = 1")


@pytest.mark.parametrize("statement", ["select a from t", "SHOW TABLES", "begin", "(select 1)", b"select 1"])
def test_a_plain_read_cannot_write(statement):
    assert cannot_write(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into t values (1)",
        "select f(1)",
        "select 1; delete from t",
        "select a from t for update",
        "select a into b from t",
        "with x as (delete from t returning *) select * from x",
        "explain analyze delete from t",
        "call p()",
        "select nextval('s')",
    ],
)
def test_what_might_write_is_not_called_a_read(statement):
    assert not cannot_write(statement)


@pytest.mark.parametrize(
    "statement", ["commit", "COMMIT AND CHAIN", "insert into t values (1); commit", "end", b"commit"]
)
def test_a_commit_is_seen_on_both_engines(statement):
    assert may_commit(statement, commits_implicitly=False)
    assert may_commit(statement, commits_implicitly=True)


@pytest.mark.parametrize("statement", ["create table t (a int)", "alter table t add b int", "call p()", "truncate t"])
def test_ddl_and_procedures_may_commit_in_mysql_only(statement):
    assert may_commit(statement, commits_implicitly=True)
    assert not may_commit(statement, commits_implicitly=False)


@pytest.mark.parametrize(
    "statement", ["insert into t values ('commit')", "update t set a = 1", "select 1", "savepoint a"]
)
def test_ordinary_work_does_not_commit(statement):
    assert not may_commit(statement, commits_implicitly=True)


def test_a_cancelled_procedure_or_script_may_have_done_half():
    assert is_all_or_nothing("update t set a = 1")
    assert not is_all_or_nothing("call p()")
    assert not is_all_or_nothing("update t set a = 1; update t set a = 2")


def test_a_statement_is_shown_on_one_line_without_its_values():
    assert shown("insert into t\n values ('secret', 'it''s')") == "insert into t values ('…', '…''…')"
    assert shown(b"select 1") == "select 1"
    assert len(shown("x" * 1000)) == 120
