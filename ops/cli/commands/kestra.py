"""How does access come over from an installation of Kestra? (cli 5.6, kestra-iam 6).

It is read by the routes of the public IAM API alone, which Muniment speaks as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from ops.cli import access_present, applying, client, lists
from ops.cli.access_files import Entry, Wanted
from ops.cli.access_plan import Plan, Step
from ops.cli.access_present import Present
from ops.cli.client import Server
from ops.cli.failures import Failure, shown
from ops.cli.files import new_file, require_new
from ops.cli.main import FORBIDDEN
from ops.cli.options import CREDENTIALS, Chosen, chosen

_KINDS: Final = ("roles", "service_accounts", "groups", "bindings")
# What is said for the one installation is not said for the other.
_OWN: Final = frozenset({"server", "tenant", "header", "at", "position", "at_least", *CREDENTIALS})


@click.group(cls=client.Group)
def command() -> None:
    """Take access over from Kestra."""


@command.command("import")
@client.connected
@click.option("--from", "url", required=True, metavar="URL", help="Of the installation.")
@click.option("--from-tenant", default="main", show_default=True)
@click.option(
    "--from-token-file",
    "token_file",
    type=click.Path(path_type=Path),
    required=True,
    help="A file that holds a token of somebody who may list all of it.",
)
@click.option("--report", type=click.Path(path_type=Path), help="A new file, in JSON.")
def import_(
    server: Server, url: str, from_tenant: str, token_file: Path, report: Path | None
) -> None:
    """Carry roles, groups, members, bindings, service accounts and users over.

    What is here is neither deleted nor made again, so an import that was stopped goes on when it is
    run again; but a role of the same name becomes what it is there. Passwords and tokens cannot be
    carried: tokens are listed, to be issued again.
    """
    server.require_now("which nothing can change")
    if report is not None:
        require_new(report)
    source = _source(url, from_tenant, token_file)
    theirs = access_present.read(source)
    wanted, left = _wanted(theirs)
    present = access_present.read(server)
    users = _users(server, source, theirs, present)
    caller = server.read_target("/api/v1/me").value["id"]
    plan = Plan(server.tenant, present, wanted, prune=False, caller=caller)
    steps = [*users, *plan.steps]
    tokens = _tokens(source, theirs)
    applying.apply(server, steps, present.position, None)
    for said in [*left, *(f"issue again: token {one['name']} of {one['owner']}" for one in tokens)]:
        click.echo(shown(said), err=True)
    if report is not None and not server.dry_run:
        told = {
            "source": {"server": url, "tenant": from_tenant},
            "tenant": server.tenant,
            "changes": [step.said for step in steps],
            "notCarried": left,
            "tokens": tokens,
        }
        with new_file(report) as file:
            file.write(json.dumps(told, indent=2, ensure_ascii=False).encode())


def _source(url: str, tenant: str, token_file: Path) -> Server:
    given = {name: one for name, one in chosen().items() if name not in _OWN}
    given["server"] = Chosen(url, "flag")
    given["tenant"] = Chosen(tenant, "flag")
    given["api_token_file"] = Chosen(str(token_file), "flag")
    return Server(given)


def _wanted(theirs: Present) -> tuple[Wanted, list[str]]:
    """Answer what is to be here, and what cannot be: names that are not unique name nothing."""
    document = access_present.document("", theirs)
    left: list[str] = []
    wanted: Wanted = {}
    for kind in _KINDS:
        wanted[kind] = []
        for number, value in enumerate(document[kind]):
            place = f"{kind}[{number}] of the source"
            if "id" in value or not _is_named(theirs, value):
                left.append(f"not carried, its name is not unique: {place}")
            else:
                wanted[kind].append(Entry(_with_members(theirs, value), place))
    return wanted, left


def _is_named(theirs: Present, value: dict[str, Any]) -> bool:
    """Tell whether a binding names its subject and its role by names and not by ids."""
    if "role" not in value:
        return True
    return value["role"] not in theirs.roles and not _has_id(theirs, value["subject"])


def _has_id(theirs: Present, subject: str) -> bool:
    name = subject.partition(":")[2]
    return any(name in rows for rows in (theirs.service_accounts, theirs.groups, theirs.users))


def _with_members(theirs: Present, value: dict[str, Any]) -> dict[str, Any]:
    """Answer a group whose members all stand as mappings, as files are read."""
    found = {**value}
    for key in ("members", "owners"):
        if key in found:
            members = [{"subject": one} if isinstance(one, str) else one for one in found[key]]
            found[key] = [one for one in members if not _has_id(theirs, one["subject"])]
    return found


def _users(server: Server, source: Server, theirs: Present, present: Present) -> list[Step]:
    """Answer the steps that make users or give them access, and let the plan know of them."""
    here = {row["name"].casefold() for row in present.users.values()}
    steps: list[Step] = []
    for id_, row in theirs.users.items():
        email = row["name"]
        if email.casefold() in here:
            continue
        query = {"filters[email][EQUALS]": email}
        known = lists.pages(server, "/api/v1/users", query, moment={})
        if known:
            there = known[0]["id"]
            path = server.path(f"tenant-access/{there}")
            steps.append(Step(f"give user {email} access", "PUT", path))
        else:
            mark = f"users-{len(steps)}"
            there = f"{{{mark}}}"
            body = {"email": email, **_person(source, id_), "tenants": [server.tenant]}
            steps.append(Step(f"new user {email}", "POST", "/api/v1/users", body, mark))
        present.users[there] = {"id": there, "name": email, "unique": True}
    return steps


def _person(source: Server, id_: str) -> dict[str, str]:
    """Answer the names of a person, as far as the source tells them: only to instance owners."""
    try:
        found = source.read_target(f"/api/v1/users/{id_}").value
    except Failure as refusal:
        if refusal.exit_code != FORBIDDEN:
            raise
        return {}
    return {key: found[key] for key in ("firstName", "lastName") if found.get(key)}


def _tokens(source: Server, theirs: Present) -> list[dict[str, Any]]:
    """Answer the service accounts' tokens: who owns each, and what it is called."""
    found: list[dict[str, Any]] = []
    for id_, account in theirs.service_accounts.items():
        rows = source.read_target(source.path(f"service-accounts/{id_}/api-tokens")).value
        for row in rows["results"]:
            kept = {key: row[key] for key in ("name", "description", "exp") if row.get(key)}
            found.append({"owner": f"sa:{account['name']}", **kept})
    return found
