"""Who sits at the command line in the tests of it, and which commands are there?"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Final

import click
import httpx

from ops.cli.main import (
    CLIENT,
)
from tests.campaigns.access import owner_token
from tests.e2e.node import Node, muniment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USAGE: Final = 2
# The words by which a line is known as a writing.
WRITING: Final = frozenset(
    {"create", "update", "disable", "enable", "add", "remove", "set-owner", "set-member", "delete"}
    | {"duplicate", "set-default", "give", "take", "grant", "revoke", "POST", "pause"}
    | {"resume", "replay"}
)


class Desk:
    """A served installation, and the command line of its owner."""

    def __init__(self, node: Node, home: Path) -> None:
        self.node = node
        self.home = home
        self.token = owner_token(node.url)
        self.seen = 0

    def run(
        self, *arguments: str, settings: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the owner, unless settings say otherwise."""
        usual = {
            "MUNIMENT_SERVER": self.node.url,
            "MUNIMENT_API_TOKEN": self.token,
            "XDG_CONFIG_HOME": str(self.home),
        }
        return muniment(*arguments, settings=usual if settings is None else settings)

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """Answer what a command prints that has to succeed."""
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def announced(self, line: str) -> list[str]:
        """Answer the events that a line says it would append; none for one that only reads."""
        if not ({*words(line)[:2]} & WRITING):
            return []
        would_be = self.json(*words(line), "--dry-run")
        assert self.appended() == [], line
        return [event["topic"] for event in would_be["events"]]

    def appended(self) -> list[str]:
        """Answer the events that came since this was last asked, oldest first."""
        items = self.get(f"/api/v1/events?after={self.seen}&limit=100")["items"]
        self.seen = max([self.seen, *(item["position"] for item in items)])
        return [item["topic"] for item in items]

    def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """Answer what a route of the server gives its owner."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(f"{self.node.url}{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Answer every client command with its words."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        if below is not None and (path or name in CLIENT):
            yield from leaves(below, (*path, name))


def words(line: str) -> list[str]:
    """The words of a line of the flow."""
    return line.partition("|")[0].split()
