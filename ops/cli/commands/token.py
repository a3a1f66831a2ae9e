"""How are API tokens issued, rotated and revoked from a terminal? (cli 5.3).

A secret is printed once and bare, so that `TOKEN=$(muniment token create …)` works.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from ops.cli import client, effects, options, output
from ops.cli.client import Answer, Server
from ops.cli.failures import Failure
from ops.cli.main import CONFLICT
from ops.cli.names import SERVICE_ACCOUNT, USER, subject
from ops.cli.permissions import read_permissions
from ops.cli.times import duration

COLUMNS: Final = ("id", "name", "prefix", "iat", "exp", "lastUsed", "enabled", "expired")
_MAX_AGE: Final = "90d"
OWNER: Final = "sa:NAME|user:EMAIL"


@click.group(cls=client.Group)
def command() -> None:
    """Issue, rotate and revoke API tokens; the secret of one is shown once."""


@command.command("list")
@client.connected
@click.argument("owner", metavar=OWNER)
def list_(server: Server, owner: str) -> None:
    """List the tokens of a principal, without their secrets."""
    output.write_list(server.read(_base(server, owner)).value["results"], COLUMNS)


@command.command("get")
@client.connected
@click.argument("owner", metavar=OWNER)
@click.argument("id_", metavar="ID")
def get(server: Server, owner: str, id_: str) -> None:
    """Show a token without its secret."""
    output.write_one(server.read(_place(server, owner, id_)).value, COLUMNS)


@command.command("create")
@client.connected
@click.argument("owner", metavar=OWNER)
@click.argument("name")
@click.option("--description")
@click.option(
    "--max-age", default=_MAX_AGE, show_default=True, help="12h, 90d, P90D, or never to end."
)
@click.option("--extended", is_flag=True, help="Each use prolongs it by its age.")
@click.option("--only", multiple=True, metavar="TYPE:ACTION[,ACTION]", help="Repeatable.")
@click.option("--only-namespace", multiple=True, help="Repeatable.")
@click.option("--only-resource", multiple=True, metavar="TYPE/ID", help="Repeatable.")
@click.option("--only-tenant", multiple=True, help="Repeatable.")
@click.option("--instance-owner", is_flag=True, help="A narrowed token keeps that privilege.")
@click.option("--allow-from", multiple=True, metavar="NETWORK", help="Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="A new file for the secret.")
def create(
    server: Server,
    owner: str,
    name: str,
    out: Path | None,
    max_age: str,
    **given: Any,  # noqa: ANN401 - what narrows it
) -> None:
    """Issue a token for a service account or a user, and print it, once."""
    age = duration(max_age, "--max-age")
    body: dict[str, Any] = {"name": name, "extended": given["extended"]}
    if given["description"] is not None:
        body["description"] = given["description"]
    if age is not None:
        body["maxAge"] = age
    scope = _scope(given)
    if scope:
        body["scope"] = scope
    if given["allow_from"]:
        body["allowedAddresses"] = [*given["allow_from"]]
    base = _base(server, owner)
    said = "it never expires" if age is None else f"it expires after {max_age}"
    _issue(server, base, body, out, said)


@command.command("rotate")
@client.connected
@click.argument("owner", metavar=OWNER)
@click.argument("id_", metavar="ID")
@click.option("--grace", default="1h", show_default=True, help="How long the old one still works.")
@click.option("--out", type=click.Path(path_type=Path), help="A new file for the secret.")
def rotate(server: Server, owner: str, id_: str, grace: str, out: Path | None) -> None:
    """Replace a token by one with the same limits and the same expiry, and print that, once."""
    body = {"grace": duration(grace, "--grace")}
    place = f"{_place(server, owner, id_)}/rotate"
    _issue(server, place, body, out, f"the old one works for {grace} at most")


@command.command("enable")
@client.connected
@click.argument("owner", metavar=OWNER)
@click.argument("id_", metavar="ID")
def enable(server: Server, owner: str, id_: str) -> None:
    """Let a token work again."""
    answer = server.write("POST", f"{_place(server, owner, id_)}/enable")
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("disable")
@client.connected
@click.argument("owner", metavar=OWNER)
@click.argument("id_", metavar="ID")
def disable(server: Server, owner: str, id_: str) -> None:
    """Refuse a token until it is enabled again."""
    answer = server.write("POST", f"{_place(server, owner, id_)}/disable")
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("revoke")
@client.connected
@click.argument("owner", metavar=OWNER)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All tokens of this owner, in one command.")
def revoke(server: Server, owner: str, ids: tuple[str, ...], *, everything: bool) -> None:
    """Revoke tokens for good, from the next request on."""
    if everything == bool(ids):
        raise click.UsageError("give the ids of tokens, or --all")
    base = _base(server, owner)
    places = [base] if everything else [f"{base}/{client.quoted(id_)}" for id_ in ids]
    if not server.dry_run:
        what = "all tokens" if everything else ", ".join(ids)
        client.require_yes(f"Revoke {what} of {owner}?")
    for place in places:
        effects.written(server, server.write("DELETE", place))


def _scope(given: dict[str, Any]) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    if given["only"]:
        scope["permissions"] = read_permissions(given["only"], "--only")
    if given["only_namespace"]:
        scope["namespaces"] = [*given["only_namespace"]]
    if given["only_tenant"]:
        scope["tenants"] = [*given["only_tenant"]]
    if given["only_resource"]:
        pairs = [text.partition("/") for text in given["only_resource"]]
        scope["resources"] = [{"type": type_, "id": id_} for type_, _, id_ in pairs]
    if given["instance_owner"]:
        scope["instanceOwner"] = True
    return scope


def _issue(server: Server, path: str, body: dict[str, Any], out: Path | None, said: str) -> None:
    """Send it and show the secret once: in a file of its own, or on standard output."""
    if out is None or server.dry_run:
        effects.written(server, server.write("POST", path, body), _show)
    else:
        # The file is there before the token is, so that no secret is lost for want of a place.
        try:
            descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as fault:
            raise click.UsageError(f"--out {out}: {fault.strerror}") from None
        with ExitStack() as stack:
            stack.callback(out.unlink)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                answer = server.write("POST", path, body)
                file.write(f"{answer.value['fullToken']}\n")
            stack.pop_all()
        effects.written(server, Answer(_without_secret(answer.value), answer.position), _show_id)
    if not server.dry_run and not options.given().get("quiet"):
        click.echo(said, err=True)


def _show(made: dict[str, Any]) -> None:
    if options.form() == "table" and "field" not in options.given():
        if "fullToken" not in made:
            raise Failure(
                "this was issued before by the same key, and its secret was shown then",
                CONFLICT,
                code="token.shown",
            )
        click.echo(made["fullToken"])
        if sys.stderr.isatty():
            click.echo(f"token {made['id']}: shown this once, keep it now", err=True)
    else:
        output.write_one(made, ("id", "name"))


def _show_id(made: dict[str, Any]) -> None:
    output.write_one(made, ("id", "name"))


def _without_secret(made: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key != "fullToken"}


def _base(server: Server, owner: str) -> str:
    who = subject(server, owner, SERVICE_ACCOUNT, USER)
    if who.kind is USER:
        return f"/api/v1/users/{who.id}/api-tokens"
    return server.path(f"service-accounts/{who.id}/api-tokens")


def _place(server: Server, owner: str, id_: str) -> str:
    return f"{_base(server, owner)}/{client.quoted(id_)}"
