"""How is it told what a command would do? (cli 6: the events, and who gains and loses what)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ops.cli import options
from ops.cli.client import done
from ops.cli.failures import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.cli.client import Answer, Server


def written(
    server: Server, answer: Answer, show: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Write what a command made, by `show`, and where; in a dry run what it would have done."""
    if server.dry_run:
        write_would_be(answer.value)
        return
    if show is not None:
        show(answer.value)
    done(answer)


def write_would_be(would_be: dict[str, Any]) -> None:
    """Write what a command would do, to standard output."""
    if options.form() == "json":
        click.echo(json.dumps(would_be, indent=2, ensure_ascii=False))
        return
    for line in (*events(would_be), *of_access(would_be["access"])):
        click.echo(line)
    click.echo(f"position {would_be['position']}, nothing is written", err=True)


def events(would_be: dict[str, Any]) -> Iterator[str]:
    """Answer the kinds of events that would be stored, with how many of each."""
    topics = [event["topic"] for event in would_be["events"]]
    for topic in dict.fromkeys(topics):
        yield shown(f"{topics.count(topic)} x {topic}")
    if not topics:
        yield "nothing to do"


def of_access(access: dict[str, Any]) -> Iterator[str]:
    """Answer a line for each right that somebody gains, loses or keeps in part."""
    yield from (_of_right("gains", right) for right in access["gained"])
    yield from (_of_right("loses", right) for right in access["lost"])
    yield from (_of_right("keeps", right) for right in access["remaining"])
    for word, owners in (("gains", access["ownersGained"]), ("loses", access["ownersLost"])):
        for owner in owners:
            yield shown(f"{_who(owner)} {word} instance ownership")
    for word, of in (("gains", "gained"), ("losses", "lost")):
        if access[word] > len(access[of]):
            yield f"{access[word] - len(access[of])} more {word} are not listed"
    if access["hidden"]:
        yield "rights change in tenants about which you may not ask"
    if not any(access.values()):
        yield "nobody gains or loses anything"


def _of_right(word: str, right: dict[str, Any]) -> str:
    permission, scope = right["permission"], right["scope"]
    resource = scope.get("resource", {})
    place = scope.get("namespace") or "/".join(resource.values()) or "everywhere"
    what = f"{permission['type']}:{permission['action']}"
    return shown(f"{_who(right['principal'])} {word} {what} in {right['tenant']}, {place}")


def _who(principal: dict[str, str]) -> str:
    return f"{principal['type']} {principal.get('name', principal['id'])}"
