"""By which filters is the trail asked, and how are its entries shown? (cli 5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ops.cli.times import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = TypeVar("Command", bound=Callable[..., None])

COLUMNS: Final = ("position", "at", "actor.name", "topic", "sentence")
_INSTANTS: Final = ("since", "until_time")

# The filters of the search (http-api 5), each the option of a parameter of the route.
FILTERS: Final = {
    "after": "Only what follows this position.",
    "until": "Up to this position, or not after this instant.",
    "before": "Only before this position.",
    "since": "Not before this instant.",
    "until-time": "Not after this instant.",
    "type": "Only these types, such as token.* or journal.sign_in.",
    "actor": "Only what this principal did.",
    "token": "Only with the API token of this id.",
    "target": "Only what concerns the object of this id.",
    "subject": "The same as --target.",
    "address": "Only from this IP address.",
    "correlation": "Only of this request.",
    "command": "Only of this command.",
    "outcome": "Only what was ALLOWED or DENIED.",
    "q": "Only what has all these words.",
}


def filtered(command: Command) -> Command:
    """Give a command the options of all filters."""
    for name, said in reversed(FILTERS.items()):
        command = click.option(f"--{name}", help=said)(command)
    return command


def searched(asked: Mapping[str, str | None]) -> dict[str, Any]:
    """Answer the parameters of a search, whose times may be written as `24h`."""
    found: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    for key in _INSTANTS:
        if key in found:
            found[key] = instant(found[key], f"--{key.replace('_', '-')}")
    return found
