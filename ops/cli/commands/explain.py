"""Why may somebody do something, or why not? (cli 5.4)."""

from __future__ import annotations

import click

from ops.cli import client
from ops.cli.asking import ask, write_decision
from ops.cli.client import Server


@click.command("explain", cls=client.Command)
@client.connected
@click.argument("subject", metavar="SUBJECT")
@click.argument("action", metavar="ACTION")
@click.argument("resource", metavar="TYPE[/ID]")
@click.argument("namespace", metavar="[NAMESPACE]", required=False)
def command(
    server: Server, subject: str, action: str, resource: str, namespace: str | None
) -> None:
    """Tell why sa:NAME or user:EMAIL may do something or not; as check --explain, but exit 0."""
    question = (subject, action, resource, namespace)
    write_decision(ask(server, question, explain=True), question)
