"""What do the views come to in this process? Prints a digest of all rows made from a log's file."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import msgspec

from domain.events import Record
from projections import views
from tests.projections.view_rows import all_rows, rebuild


def write_records(path: Path, records: list[Record]) -> None:
    """Keep the records in a file, for another process."""
    path.write_bytes(msgspec.msgpack.encode(records))


def main(records_path: str, views_path: str) -> None:
    """Build the views of the records in a new file, and print the digest of what they hold."""
    records = msgspec.msgpack.decode(Path(records_path).read_bytes(), type=list[Record])
    engine = views.open_sqlite(Path(views_path))
    rebuild(engine, records)
    sys.stdout.write(sha256(repr(all_rows(engine)).encode()).hexdigest())
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
