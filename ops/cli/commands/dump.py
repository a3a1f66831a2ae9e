"""What would files have to say for access to be as it is? (cli 5.6)."""

from __future__ import annotations

import json

import click

from ops.cli import access_present, client, options
from ops.cli.client import Server


@click.command("dump", cls=client.Command)
@client.connected
def command(server: Server) -> None:
    """Print roles, service accounts, groups, members and bindings of the tenant as one file.

    YAML, or JSON by `-o json`; `muniment apply` takes both. Neither tokens nor passwords stand in
    it, and users are only named. Expired bindings and memberships are left out.
    """
    found = access_present.document(server.tenant, access_present.read(server))
    if options.form() == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    import yaml

    click.echo(
        yaml.safe_dump(found, sort_keys=False, allow_unicode=True, default_flow_style=None),
        nl=False,
    )
