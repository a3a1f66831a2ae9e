"""May somebody do something? The exit code says it: 0 for yes, 3 for no (cli 5.4)."""

from __future__ import annotations

import sys

import click

from ops.cli import client
from ops.cli.asking import ask, write_decision
from ops.cli.client import Server
from ops.cli.main import DENIED


@click.command("check", cls=client.Command)
@client.connected
@click.argument("subject", metavar="SUBJECT")
@click.argument("action", metavar="ACTION")
@click.argument("resource", metavar="TYPE[/ID]")
@click.argument("namespace", metavar="[NAMESPACE]", required=False)
@click.option("--explain", is_flag=True, help="Tell why, and what would allow it.")
@click.option("--token", metavar="ID", help="As far as this API token of the subject goes.")
def command(
    server: Server,
    subject: str,
    action: str,
    resource: str,
    namespace: str | None,
    token: str | None,
    *,
    explain: bool,
) -> None:
    """Ask whether sa:NAME or user:EMAIL may do something; exit code 3 when it may not."""
    question = (subject, action, resource, namespace)
    answer = ask(server, question, token=token, explain=explain)
    write_decision(answer, question)
    # Nothing but the very truth allows.
    if answer.value.get("decision") is not True:
        sys.exit(DENIED)
