"""How does access become what files say? (cli 5.6)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ops.cli import access_files, access_present, applying, client
from ops.cli.access_plan import Plan
from ops.cli.client import Server
from ops.cli.main import DENIED


@click.command("apply", cls=client.Command)
@client.connected
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="A file, a directory of files, or - for standard input.",
)
@click.option("--prune", is_flag=True, help="Remove what the files do not name, of their kinds.")
@click.option("--exit-code", is_flag=True, help="With --dry-run: exit 3 where anything differs.")
@click.option("--confirm", metavar="TENANT", help="The tenant's name again, where access is taken.")
def command(
    server: Server, path: Path, confirm: str | None, *, prune: bool, exit_code: bool
) -> None:
    """Make roles, service accounts, groups, members and bindings what files say.

    Prints the plan, with who gains and loses what, asks, and gives ordinary commands under one
    request id. Applied again it does nothing; stopped half-way, it finishes when run again.
    """
    server.require_now("which nothing can change")
    tenant, wanted = access_files.read(path)
    if tenant is not None and tenant != server.tenant:
        raise click.UsageError(f"the files are of tenant {tenant}, not of {server.tenant}")
    present = access_present.read(server)
    caller = server.read_target("/api/v1/me").value["id"]
    steps = Plan(server.tenant, present, wanted, prune=prune, caller=caller).steps
    applying.apply(server, steps, present.position, confirm)
    if server.dry_run and steps and exit_code:
        sys.exit(DENIED)
