"""How is a plan shown, agreed to and carried out? (cli 5.6 and 6)."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Final

import click

from ops.cli import access_plan, client, effects, options
from ops.cli.client import Answer, Server, require_name, require_yes
from ops.cli.failures import Failure, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.cli.access_plan import Step

# As many changes as `access/simulate` takes at once.
_TRIED_MAX: Final = 100


def apply(server: Server, steps: list[Step], position: int, confirm: str | None) -> None:
    """Write the plan, ask, and give its commands; in a dry run only the plan is written.

    `position` is that of which the plan was made, `confirm` the tenant's name where it was given.
    """
    _write_plan(steps, _tried(server, steps), position)
    if not steps or server.dry_run:
        return
    _require_consent(server, steps, confirm)
    _carry_out(server, steps)


def _tried(server: Server, steps: list[Step]) -> dict[str, Any] | None:
    """Answer who gains and loses what by all of it; None where that is too much to try at once."""
    if not steps or len(steps) > _TRIED_MAX:
        return None
    changes = [step.change() for step in steps]
    found = server.ask(server.path("access/simulate"), {"changes": changes}).value
    access: dict[str, Any] = found["access"]
    # Of a person who is only tried out the server knows no name yet.
    emails = {
        told["id"]: step.body["email"]
        for step, told in zip(steps, found["changes"], strict=True)
        if step.path == "/api/v1/users"
    }
    for right in (*access["gained"], *access["remaining"]):
        who = right["principal"]
        if who["id"] in emails:
            who["name"] = emails[who["id"]]
    return access


def _write_plan(steps: list[Step], access: dict[str, Any] | None, position: int) -> None:
    if options.form() == "json":
        plan = {
            "changes": [{"said": step.said, **step.change()} for step in steps],
            "position": position,
            **({"access": access} if access is not None else {}),
        }
        click.echo(json.dumps(plan, indent=2, ensure_ascii=False))
        return
    for step in steps:
        click.echo(shown(step.said))
    if not steps:
        click.echo("nothing to do")
    elif access is None:
        click.echo(f"more than {_TRIED_MAX} changes: who gains and loses is not told")
    else:
        for line in effects.of_access(access):
            click.echo(line)


def _require_consent(server: Server, steps: list[Step], confirm: str | None) -> None:
    """Ask; where something is taken away, for the tenant's name and a reason (cli 6, level 2)."""
    if not access_plan.removals(steps):
        require_yes(f"Make these {len(steps)} changes?")
        return
    if not server.reason:
        raise click.UsageError("give --reason, since access is taken away")
    require_name(server.tenant, confirm)


def _carry_out(server: Server, steps: list[Step]) -> None:
    """Give each command once, all under one request id, on what the plan was made of."""
    correlation = secrets.token_hex(16)
    made: dict[str, str] = {}
    for number, step in enumerate(steps):
        headers = {"X-Request-ID": correlation, "Idempotency-Key": f"{correlation}-{number}"}
        if step.position is not None:
            headers["If-Match"] = f'"{step.position}"'
        try:
            answer = server.write(
                step.method, _filled(step.path, made), _filled_in(step.body, made), headers
            )
        except Failure:
            click.echo(
                f"{number} of {len(steps)} changes are done; run it again to finish", err=True
            )
            raise
        if step.name is not None:
            made[step.name] = answer.value["id"]
    client.done(Answer(None, answer.position))
    click.echo(f"{len(steps)} changes, request {correlation}", err=True)


def _filled(text: str, made: Mapping[str, str]) -> str:
    """Answer a text with the ids of what was made in the places that stand for them."""
    for name, id_ in made.items():
        text = text.replace(f"{{{name}}}", id_)
    return text


def _filled_in(body: Any, made: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    if not isinstance(body, dict):
        return body
    return {
        key: made.get(value[1:-1], value)
        if key in {"externalId", "roleId"} and value[:1] == "{"
        else value
        for key, value in body.items()
    }
