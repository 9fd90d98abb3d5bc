from __future__ import annotations

import hashlib
import sqlite3
import time

import pytest

from tutelage.environments.guarded_sql import GuardedSql
from tutelage.errors import DataError, OptionError


@pytest.fixture
def path(tmp_path):
    connection = sqlite3.connect(tmp_path / "logs.sqlite")
    connection.execute("CREATE TABLE alerts (id, name)")
    connection.executemany("INSERT INTO alerts VALUES (?, ?)", [(i, f"alert {i}") for i in range(50)])
    connection.commit()
    connection.close()
    return tmp_path / "logs.sqlite"


def test_it_reads(path):
    sql = GuardedSql(path, max_rows=3)
    rows = sql.query("SELECT name, id FROM alerts WHERE id >= ? ORDER BY id", (10,))
    assert (rows.value, rows.columns, len(rows.rows), rows.more) == ("alert 10", ("name", "id"), 3, True)
    assert rows.text().split("\n") == ["alert 10", "name | id", "alert 10 | 10", "alert 11 | 11", "alert 12 | 12", "(more rows)"]
    assert sql.query("SELECT count(*), max(upper(name)) FROM alerts").rows == ((50, "ALERT 9"),)
    assert sql.query("SELECT name FROM alerts WHERE id = -1").text() == "(no rows)"
    assert sql.query("WITH a AS (SELECT id FROM alerts) SELECT sum(id) OVER () FROM a").value == "1225"
    assert sql.schema == "alerts(id, name)"


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM alerts",
        "DROP TABLE alerts",
        "INSERT INTO alerts VALUES (1, 'x')",
        "UPDATE alerts SET name = 'x'",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x (y)",
        "ATTACH DATABASE '/tmp/other.sqlite' AS other",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = WAL",
        "VACUUM",
        "VACUUM INTO '/tmp/copy.sqlite'",
        "BEGIN",
        "REINDEX",
        "ANALYZE",
        "SELECT load_extension('x')",
        "SELECT randomblob(1000000000)",
        "SELECT zeroblob(1000000000)",
        "SELECT printf('%1000000000d', 1)",
        "SELECT hex(name) FROM alerts",
        "SELECT * FROM pragma_table_info('alerts')",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r",
        "SELECT 1; DROP TABLE alerts",
        "SELECT name FROM alerts WHERE id = ?",
        "SELECT " + "(" * 200 + "1" + ")" * 200,
        "SELECT 1 /*" + "x" * 20_000 + "*/",
        "EXPLAIN QUERY PLAN DELETE FROM alerts",
        "",
        "nonsense",
        "SELECT 'a\x00b'",
        "SELECT \ud800",
    ],
)
def test_nothing_else_runs(path, text):
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    for sql in (GuardedSql(path), GuardedSql(sqlite3.connect(path))):
        rows = sql.query(text)
        assert rows.error
        assert rows.text().startswith("error: ")
        assert sql.query("SELECT count(*) FROM alerts").value == "50"  # and it goes on working
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_query_without_end_is_stopped(path):
    sql = GuardedSql(path, max_steps=200_000)
    started = time.perf_counter()
    rows = sql.query("SELECT count(*) FROM alerts a, alerts b, alerts c, alerts d, alerts e, alerts f")
    assert "stopped after 200000 steps" in rows.error
    assert time.perf_counter() - started < 10
    assert sql.query("SELECT 1").value == "1"


def test_large_values_and_slow_patterns_are_bounded(path):
    sql = GuardedSql(path)
    grow = "replace('aaaaaaaaaa', 'a', 'aaaaaaaaaa')"
    for _ in range(5):
        grow = f"replace({grow}, 'a', 'aaaaaaaaaa')"
    assert "too big" in sql.query(f"SELECT length({grow})").error
    started = time.perf_counter()
    long = "replace(replace(replace(replace('aaaaaaaaaa','a','aaaaaaaaaa'),'a','aaaaaaaaaa'),'a','aaaaaaaa'),'b','b')"
    sql.query(f"SELECT {long} LIKE '{'%a' * 49}b'")
    sql.query(f"SELECT {long} GLOB '{'*a' * 49}b'")
    assert time.perf_counter() - started < 15
    assert "too complex" in sql.query(f"SELECT 'a' LIKE '{'%' * 200}'").error


def test_cells_are_shown_in_one_line_each(path):
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO alerts VALUES (99, ?)", ("a\nUSE rm: x" + "y" * 500,))
    connection.commit()
    text = GuardedSql(path).query("SELECT name FROM alerts WHERE id = 99").text(width=20)
    assert text.split("\n") == ["a USE rm: xyyyyyyyyy", "name", "a USE rm: xyyyyyyyyy"]


def test_bad_files_and_limits(tmp_path, path):
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(DataError, match="cannot be opened"):
        GuardedSql(tmp_path / "text")
    with pytest.raises(DataError, match="cannot be opened"):
        GuardedSql(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    with pytest.raises(OptionError, match="max_rows=0"):
        GuardedSql(path, max_rows=0)
