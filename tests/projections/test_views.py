"""Where do the views keep their rows, and what happens to a place that is not theirs?"""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from ops.postgres import ROLE
from projections import views
from projections.runner import ViewRunner
from tests.projections.conftest import driver_url
from tests.projections.test_runner import history
from tests.projections.view_rows import all_rows, log_of, rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Database


def test_views_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The rows tell who may do what: nobody else on the machine reads them."""
    path = tmp_path / "views.db"
    views.open_sqlite(path).dispose()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_views_file_survives_a_power_cut_whole(tmp_path: Path) -> None:
    """SQLite may lose the last rows, which are made again, but not the file's consistency."""
    engine = views.open_sqlite(tmp_path / "views.db")

    with engine.connect() as connection:
        settings = [
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous")
        ]

    engine.dispose()
    assert settings == ["wal", 1]


@pytest.mark.parametrize("damage", ["no database", "another version", "other columns", "a loss"])
def test_views_file_that_is_not_of_this_release_is_begun_anew(tmp_path: Path, damage: str) -> None:
    """Rows are disposable: what cannot be used is dropped, and made again from the log."""
    path = tmp_path / "views.db"
    records = history(31, 20)
    engine = views.open_sqlite(path)
    rebuild(engine, records)
    rows = all_rows(engine)
    engine.dispose()
    if damage == "no database":
        path.write_bytes(b"x" * 8192)
    else:
        statement = {
            "another version": "ALTER TABLE groups_v1 RENAME TO groups_v0",
            "other columns": "ALTER TABLE groups_v1 RENAME COLUMN name TO title",
            "a loss": "DROP TABLE groups_v1",
        }[damage]
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE strangers (id TEXT)")
            connection.execute(statement)

    engine = views.open_sqlite(path)

    tables = set(inspect(engine).get_table_names())
    # SQLite keeps a full-text table in others of its own.
    tables = {name for name in tables if not name.startswith("marks_v1_")}
    assert tables - {"strangers"} == set(rows)
    assert ViewRunner(log_of(records), engine).catch_up() == len(records)
    assert all_rows(engine) == rows
    engine.dispose()


def test_views_file_opened_again_keeps_its_rows(tmp_path: Path) -> None:
    """A restart costs nothing: rows of this release stay."""
    engine = views.open_sqlite(tmp_path / "views.db")
    rebuild(engine, history(32, 20))
    rows = all_rows(engine)
    engine.dispose()

    again = views.open_sqlite(tmp_path / "views.db")

    assert all_rows(again) == rows
    again.dispose()


def test_runtime_role_writes_rows_and_makes_no_tables(
    postgresql_database: Database, postgresql_engine: Engine
) -> None:
    """On PostgreSQL the owner makes the tables; the service only fills and empties them."""
    postgresql_database.execute("CREATE TABLE muniment.groups_v0 (id text)")
    owner = create_engine(driver_url(postgresql_database.owner_url))

    with views.open_postgresql(owner).begin() as connection:
        views.create(connection, role=ROLE)

    owner.dispose()
    assert "groups_v0" not in inspect(postgresql_engine).get_table_names(schema="muniment")
    assert rebuild(postgresql_engine, history(33, 20)) > 0
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        postgresql_engine.begin() as connection,
    ):
        connection.execute(text("CREATE TABLE muniment.mine (id text)"))
