"""How are permissions written on the command line? (cli 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

Permissions = dict[str, list[str]]


def read_permissions(texts: Iterable[str], option: str) -> Permissions:
    """Answer `{TYPE: [ACTION]}` of `TYPE:ACTION[,ACTION]`; with `=` types may contain `:`."""
    found: Permissions = {}
    for text in texts:
        type_, divider, actions = text.partition("=" if "=" in text else ":")
        words = actions.split(",")
        if not divider or not type_ or not all(words):
            raise click.UsageError(f"{option} {text} must be TYPE:ACTION[,ACTION]")
        there = found.setdefault(type_, [])
        there += [word for word in dict.fromkeys(words) if word not in there]
    return found
