"""Which options does every client command take, and where does each value come from? (cli 2).

They stand before or after a command and its noun, the innermost wins; what is not given comes from
the environment, then from the profile, then from the defaults here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ops.cli import profiles

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS: Final = ("table", "json", "yaml", "ndjson", "csv", "name")
_GIVEN: Final = "muniment.given"


class Global(NamedTuple):
    """An option of every client command; `variable` and `default` are where else it comes from."""

    flags: tuple[str, ...]
    said: str
    variable: str = ""
    default: str | None = None
    kind: click.ParamType[Any] | None = None
    is_flag: bool = False
    multiple: bool = False

    @property
    def name(self) -> str:
        """The name that the option has in a profile and in `config show`."""
        longest = next(flag for flag in reversed(self.flags) if flag.startswith("--"))
        return longest.removeprefix("--").replace("-", "_")


GLOBALS: Final = {
    each.name: each
    for each in (
        Global(
            ("--server",), "The server's URL.", "MUNIMENT_SERVER", default="http://127.0.0.1:8080"
        ),
        Global(("--api-token",), "A token; - reads it from standard input.", "MUNIMENT_API_TOKEN"),
        Global(("--api-token-file",), "A file that holds the token.", "MUNIMENT_API_TOKEN_FILE"),
        Global(("--user",), "EMAIL[:PASSWORD] of a user.", "MUNIMENT_USER"),
        Global(("--password-stdin",), "Read that password from standard input.", is_flag=True),
        Global(("--tenant",), "The tenant.", "MUNIMENT_TENANT", default="main"),
        Global(("--headers", "--header"), "NAME=VALUE, sent with it. Repeatable.", multiple=True),
        Global(("--profile",), "A profile of `muniment config`.", "MUNIMENT_PROFILE"),
        Global(
            ("-o", "--output"),
            "The form of the output.",
            "MUNIMENT_OUTPUT",
            default="table",
            kind=click.Choice(FORMS),
        ),
        Global(("--columns",), "The columns of a table, by commas."),
        Global(("--no-headers",), "A table without its first line.", is_flag=True),
        Global(("--field",), "Print one value, such as role.name."),
        Global(("--at",), "A reading as of an instant, a date, or 24h ago."),
        Global(("--position",), "A reading as of a position.", kind=click.IntRange(min=0)),
        Global(("--at-least",), "Wait until a position is applied.", kind=click.IntRange(min=0)),
        Global(("--dry-run",), "Print what a writing would do; write nothing.", is_flag=True),
        Global(("--reason",), "Why; it stands in the log for ever."),
        Global(("--idempotency-key",), "A writing with the same key is done once."),
        Global(
            ("--timeout",),
            "Seconds to wait for the server.",
            "MUNIMENT_TIMEOUT",
            default="10",
            kind=click.FloatRange(min=0, min_open=True),
        ),
        Global(("-q", "--quiet"), "Print nothing but data.", is_flag=True),
        Global(("-v", "--verbose"), "Say more.", is_flag=True),
        Global(("--debug",), "Print what is sent, without secrets.", is_flag=True),
        Global(("--no-color",), "No colours.", "NO_COLOR", is_flag=True),
        Global(("--no-input",), "Never ask.", is_flag=True),
        Global(("-y", "--yes"), "Do not ask before a deletion.", is_flag=True),
        Global(("--ca-file",), "Certificates to trust.", "MUNIMENT_CA_FILE"),
        Global(("--insecure-http",), "Send credentials over plain HTTP.", is_flag=True),
    )
}
# A flag of one way to sign in hides what another source says of the others.
CREDENTIALS: Final = ("api_token", "api_token_file", "token_command", "user")


class Chosen(NamedTuple):
    """A value and who says so: `flag`, the variable's name, `profile NAME` or `default`."""

    value: Any
    source: str


def attach(command: click.Command, *, hidden: bool = True) -> None:
    """Give a command all global options, which it is not passed but finds by `chosen`."""
    for name, each in GLOBALS.items():
        command.params.append(
            click.Option(
                [*each.flags, name],
                help=each.said,
                type=each.kind,
                is_flag=each.is_flag,
                multiple=each.multiple,
                default=None,
                expose_value=False,
                callback=_keep,
                hidden=hidden,
            )
        )


def _keep(ctx: click.Context, option: click.Parameter, value: object) -> None:
    # Contexts are parsed from the outermost on, so the innermost is kept.
    if value not in (None, False, ()):
        ctx.meta.setdefault(_GIVEN, {})[option.name] = value


def given() -> Mapping[str, Any]:
    """Answer the global options of the command line itself."""
    return _given(click.get_current_context(silent=True))


def _given(ctx: click.Context | None) -> Mapping[str, Any]:
    return {} if ctx is None else ctx.meta.get(_GIVEN, {})


def form() -> str:
    """Answer the form of the output, wherever it is chosen; also where no profile can be read."""
    return form_of(click.get_current_context(silent=True))


def form_of(ctx: click.Context | None) -> str:
    """Answer the form of a command's output, also after the command has failed."""
    flag = _given(ctx).get("output") or os.environ.get("MUNIMENT_OUTPUT")
    return str(flag) if flag in FORMS else "table"


def chosen() -> dict[str, Chosen]:
    """Answer each option that has a value, from flag, environment, profile or default (cli 2)."""
    flags = given()
    name = flags.get("profile") or os.environ.get("MUNIMENT_PROFILE")
    name, profile = profiles.read(name)
    found: dict[str, Chosen] = {}
    for option, each in GLOBALS.items():
        if option in flags:
            found[option] = Chosen(flags[option], "flag")
        elif os.environ.get(each.variable):
            found[option] = Chosen(_typed(each, os.environ[each.variable]), each.variable)
        elif option in profile:
            found[option] = Chosen(_typed(each, profile[option]), f"profile {name}")
        elif each.default is not None:
            found[option] = Chosen(_typed(each, each.default), "default")
    if "token_command" in profile:
        found["token_command"] = Chosen(profile["token_command"], f"profile {name}")
    return _with_one_credential(found)


def _typed(each: Global, text: str) -> object:
    if each.is_flag:
        return True
    if isinstance(each.kind, click.ParamType):
        try:
            return each.kind.convert(text, None, click.get_current_context(silent=True))
        except click.BadParameter as fault:
            raise click.UsageError(f"{each.variable or each.name}: {fault.message}") from None
    return text


def _with_one_credential(found: dict[str, Chosen]) -> dict[str, Chosen]:
    """Keep the credentials of the nearest source; a token together with a user is wrong usage."""
    ranks = {name: _rank(found[name].source) for name in CREDENTIALS if name in found}
    nearest = min(ranks.values(), default=0)
    kept = [name for name, rank in ranks.items() if rank == nearest]
    if "user" in kept and len(kept) > 1:
        raise click.UsageError("--user and --api-token are two ways to sign in: give one of them")
    return {name: one for name, one in found.items() if name not in CREDENTIALS or name in kept}


def _rank(source: str) -> int:
    if source == "flag":
        return 0
    return 2 if source.startswith("profile ") else 1
