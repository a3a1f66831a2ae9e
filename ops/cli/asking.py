"""How is a question of access asked and its answer told? (cli 5.4, AuthZEN 1.0)."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final

import click

from ops.cli import options, output
from ops.cli.failures import shown
from ops.cli.names import USER, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.cli.client import Answer, Server

    Question = tuple[str, str, str, str | None]

_PATH: Final = "/access/v1/evaluation"
_SUBJECTS: Final = {"sa": "service_account", "service_account": "service_account", "user": "user"}
ANY: Final = "*"


def ask(
    server: Server, question: Question, *, token: str | None = None, explain: bool = False
) -> Answer:
    """Answer the decision, at the moment that the global options name."""
    subject, action, resource, namespace = question
    type_, _, id_ = resource.partition("/")
    properties = {"tenant": server.tenant}
    if namespace:
        properties["namespace"] = namespace
    asked = {
        "subject": principal(server, subject),
        "action": {"name": action},
        "resource": {"type": type_, "id": id_ or ANY, "properties": properties},
        "context": _context(server, token, explain=explain),
    }
    return server.ask(_PATH, asked)


def principal(server: Server, text: str) -> dict[str, str]:
    """Answer `type` and `id` of `sa:NAME` or `user:EMAIL`, as questions of access have them."""
    word, _, name = text.partition(":")
    if word not in _SUBJECTS or not name:
        raise click.UsageError(f"{shown(text)} must be sa:NAME or user:EMAIL, with a name or an id")
    # The server finds a service account by its name, of then as of now.
    id_ = resolve(server, USER, name) if word == "user" and "@" in name else name
    return {"type": _SUBJECTS[word], "id": id_}


def _context(server: Server, token: str | None, *, explain: bool) -> dict[str, Any]:
    moment = server.moment()
    context: dict[str, Any] = {"explain": explain}
    if "at_least" in moment:
        context["at_least"] = moment.pop("at_least")
    if moment:
        context["as_of"] = moment
    if token is not None:
        context["token"] = token
    return context


def write_decision(answer: Answer, question: Question) -> None:
    """Write a decision with its reasons, as far as the server told them."""
    if options.form() != "table" or "field" in options.given():
        output.write_one(answer.value, ("decision", "context.code", "context.position"))
        return
    subject, action, resource, namespace = question
    word = "ALLOWED" if answer.value.get("decision") is True else "DENIED"
    place = f" in {namespace}" if namespace else ""
    position = answer.value.get("context", {}).get("position", answer.position)
    click.echo(shown(f"{word}  {subject}  {action} {resource}{place}  position {position}"))
    for line in _reasons(answer.value.get("context", {}), question):
        click.echo(shown(line))


def _reasons(why: dict[str, Any], question: Question) -> Iterator[str]:
    for path in why.get("paths", ()):
        at = ", ".join(map(str, path["positions"]))
        yield f"yes: {_held(path)} (positions {at})"
    if "reason_admin" in why:
        yield f"no: {why['reason_admin']['403']} ({why['code']})"
    for near in why.get("near", ()):
        yield f"near miss: {_held(near)}; it lacks {near['lacks']}"
    for grant in why.get("grants", ()):
        yield f"would allow it: {'; '.join(_step(step, question) for step in grant['steps'])}"


def _held(held: dict[str, Any]) -> str:
    role = held.get("role", {}).get("name", "a role that you may not see")
    via = " and ".join(f"group {one.get('name', '(hidden)')}" for one in held["via"])
    return f"{role} {_place(held['scope'])}{f' through {via}' if via else ''}"


def _place(scope: dict[str, Any]) -> str:
    words = []
    if "namespace" in scope:
        words.append(f"in {scope['namespace']}")
    if "resource" in scope:
        words.append(f"for {scope['resource']['type']}/{scope['resource']['id']}")
    return " ".join(words) or "in the whole tenant"


def _step(step: dict[str, Any], question: Question) -> str:
    """Answer the command that does a step of a grant, or words where there is none."""
    subject = shlex.quote(question[0])
    if step["kind"] == "membership" and "group" in step:
        return f"muniment group add {shlex.quote(step['group']['name'])} {subject}"
    if step["kind"] == "binding" and "role" in step:
        scope = step.get("scope", {})
        where = f" --namespace {shlex.quote(scope['namespace'])}" if "namespace" in scope else ""
        if "resource" in scope:
            where = f" --resource {shlex.quote('/'.join(scope['resource'].values()))}"
        role = shlex.quote(step["role"]["name"])
        return f"muniment binding create {subject} {role}{where}"
    if step["kind"] == "enable" and question[0].startswith("sa:"):
        return f"muniment sa enable {shlex.quote(question[0].partition(':')[2])}"
    if step["kind"] == "role":
        return f"a new role with {json.dumps(step.get('permissions', {}))}"
    return {"binding": "a binding to it", "tenant_access": "access to the tenant"}.get(
        step["kind"], str(step["kind"])
    )
