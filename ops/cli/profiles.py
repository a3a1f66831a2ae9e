"""Where are the profiles of the command line, and who may read them? (cli 2.1).

`$XDG_CONFIG_HOME/muniment/config.toml`, flat tables, mode 0600: a file that others can read is
refused with the command that mends it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, Final

import click

MEMBERS: Final = ("server", "tenant", "api_token_file", "token_command", "api_token", "user")
_OTHERS: Final = 0o077
_DEFAULT: Final = "default"


def place() -> Path:
    """Answer the path of the file, which need not be there."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "muniment" / "config.toml"


def read_all() -> dict[str, Any]:
    """Answer the file's tables and `default`. UsageError if others can read it, or nobody can."""
    import tomllib

    path = place()
    if not path.exists():
        return {}
    if path.stat().st_mode & _OTHERS:
        mend = f"chmod 600 {shlex.quote(str(path))}"
        raise click.UsageError(f"others can read {path}, which may hold secrets; run: {mend}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise click.UsageError(f"{path} is no TOML: {type(fault).__name__}") from None


def read(name: str | None) -> tuple[str, dict[str, str]]:
    """Answer a profile's name and members, those of the default one if none is named."""
    tables = read_all()
    name = name or tables.get(_DEFAULT)
    if name is None:
        return "", {}
    profile = tables.get(name)
    if not isinstance(profile, dict):
        known = ", ".join(sorted(key for key, one in tables.items() if isinstance(one, dict)))
        raise click.UsageError(f"there is no profile {name}; known: {known or 'none'}")
    unknown = sorted(profile.keys() - {*MEMBERS})
    if unknown or not all(isinstance(value, str) for value in profile.values()):
        raise click.UsageError(f"profile {name} may hold only texts of {', '.join(MEMBERS)}")
    return name, profile


def write(tables: dict[str, Any]) -> None:
    """Put the file in the place of the one before, whole or not at all, for its owner only."""
    from ops.cli.files import new_file

    path = place()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with new_file(path) as file:
        file.write("\n".join(_lines(tables)).encode())


def _lines(tables: dict[str, Any]) -> list[str]:
    lines = [f"{_DEFAULT} = {_text(tables[_DEFAULT])}"] if _DEFAULT in tables else []
    for name, profile in tables.items():
        if name != _DEFAULT:
            lines += [f"[{_text(name)}]", *(f"{key} = {_text(profile[key])}" for key in profile)]
    return [*lines, ""]


def _text(value: str) -> str:
    """A basic string of TOML 1.0, which has the escapes of JSON but for DEL."""
    import json

    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
