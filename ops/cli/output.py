"""How is what the server answered written to standard output? (cli 3).

Standard output is data only: the API's objects unchanged, or columns of them.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ops.cli import options
from ops.cli.failures import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = dict[str, Any]

# What a spreadsheet would take for a formula (kestra-iam 6.8).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_GAP: Final = "  "
_WHOLE: Final = frozenset({"json", "yaml"})


def write_list(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write objects in the chosen form; `columns` are those of a table, dotted into objects."""
    form = options.form()
    if "field" in options.given():
        _write_lines(cell(row, options.given()["field"]) for row in rows)
    elif form == "ndjson":
        _write_lines(json.dumps(row, ensure_ascii=False) for row in rows)
    elif form == "name":
        _write_lines(cell(row, "id") for row in rows)
    elif form in _WHOLE:
        _write_whole(rows, form)
    else:
        _write_rows(rows, _columns(columns), is_csv=form == "csv")


def write_one(row: Row, columns: Sequence[str]) -> None:
    """Write one object in the chosen form."""
    if options.form() in _WHOLE and "field" not in options.given():
        _write_whole(row, options.form())
    else:
        write_list([row], columns)


def _write_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _write_whole(value: object, form: str) -> None:
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    import yaml

    click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def cell(row: Any, path: str) -> str:  # noqa: ANN401 - any JSON
    """Answer one value of an object as a line of text, empty where it has none."""
    for key in path.split("."):
        if isinstance(row, list):
            row = [one.get(key) for one in row if isinstance(one, dict)]
        else:
            row = row.get(key) if isinstance(row, dict) else None
    return shown(_text(row))


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(f"{key}:{_text(one).replace(' ', '')}" for key, one in value.items())
    return str(value)


def _columns(usual: Sequence[str]) -> Sequence[str]:
    chosen = options.given().get("columns")
    return usual if chosen is None else [name for name in str(chosen).split(",") if name]


def _write_rows(rows: Iterable[Row], columns: Sequence[str], *, is_csv: bool) -> None:
    cells = [[cell(row, column) for column in columns] for row in rows]
    if not options.given().get("no_headers"):
        cells.insert(0, [column if is_csv else column.upper() for column in columns])
    if is_csv:
        import csv

        lines = csv.writer(sys.stdout, lineterminator="\n")
        for line in cells:
            lines.writerow([f"'{one}" if one.startswith(_FORMULA) else one for one in line])
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in cells:
        padded = _GAP.join(one.ljust(width) for one, width in zip(line, widths, strict=True))
        click.echo(padded.rstrip()[:limit])
