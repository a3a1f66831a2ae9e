"""Which commands are there, and what does each exit code mean?

A lazy tree: a command's module is imported when it is called, so that help does not wait for the
server's code (cli 1). Exit codes are those of cli 4.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from ops.cli import failures, options
from ops.cli.options import attach

DENIED: Final = 3
NOT_SIGNED_IN: Final = 4
FORBIDDEN: Final = 5
NOT_FOUND: Final = 6
CONFLICT: Final = 7
INVALID: Final = 8
UNREACHABLE: Final = 9
INTEGRITY: Final = 10
INTERRUPTED: Final = 130

PRIVATE: Final = 0o077

# Local commands open the store itself, on its host; found by name in `ops.cli.local`.
LOCAL: Final = {
    "admin": "Change keys, or the origin of checkpoints.",
    "init": "Make an installation with its first instance owner.",
    "serve": "Serve an installation over HTTP.",
    "dev": "Serve a lively demo on loopback.",
    "migrate": "Bring the store to this release's schema.",
    "replay": "Fold the log again, from its store or from an export.",
    "digest": "Print the digest of the state at a position.",
    "verify": "Hold every event against what was signed, here or offline.",
}
# Client commands speak HTTP to a server, from anywhere; found by name in `ops.cli.commands`.
CLIENT: Final = {
    "apply": "Make access what files say.",
    "api": "Send a raw request with the same credentials.",
    "audit": "Read, export and prove the audit trail.",
    "binding": "Give roles to principals and groups, and take them.",
    "blame": "Tell since when somebody may do something, and by whose act.",
    "check": "Ask whether somebody may do something; exit code 3 for no.",
    "completion": "Print the completion of a shell.",
    "config": "Keep profiles, and show which value comes from where.",
    "evidence": "Fetch a file that proves offline who could do what.",
    "explain": "Tell why somebody may do something, or why not.",
    "group": "Manage groups and their members.",
    "history": "List what happened to one object.",
    "journal": "Read decisions, sign-ins and refusals.",
    "kestra": "Take access over from Kestra.",
    "namespace": "List the namespaces that bindings name.",
    "owner": "Give and take instance ownership.",
    "role": "Manage roles.",
    "service-account": "Manage service accounts; also as sa.",
    "sink": "Deliver the trail elsewhere, and see how far it is.",
    "status": "Tell the server's version and position.",
    "tenant": "Manage tenants.",
    "tenant-access": "Give access to the tenant and end it.",
    "token": "Issue, rotate and revoke API tokens.",
    "user": "Manage users.",
    "version": "Print the version of this command line.",
    "what-can": "List what somebody may do, and where it comes from.",
    "who-can": "List who may do something.",
    "whoami": "Tell who is signed in.",
    "diff": "Tell what differs between two moments, and who gained and lost.",
    "dump": "Print access as a file.",
    "erase": "Erase the personal data of a person for good.",
    "simulate": "Tell who would gain and lose what by changes that are not made yet.",
}


_SHORT: Final = {"sa": "service-account"}


def _canonical(name: str) -> str:
    """Answer a command's name for a short form or a plural."""
    name = _SHORT.get(name, name)
    singular = _SHORT.get(name.removesuffix("s"), name.removesuffix("s"))
    return singular if singular in CLIENT and name not in CLIENT else name


class LazyGroup(click.Group):
    """A group whose commands are known by name and imported when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Answer the names of all commands."""
        del ctx
        return sorted({**LOCAL, **CLIENT})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Answer a command, imported now; None for an unknown name."""
        del ctx
        name = _canonical(cmd_name)
        module = name.replace("-", "_")
        if name in LOCAL:
            command = importlib.import_module(f"ops.cli.local.{module}").command
        elif name in CLIENT:
            command = importlib.import_module(f"ops.cli.commands.{module}").command
        else:
            return None
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name is answered with the nearest one there is."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            said = f"there is no command {args[0]}; did you mean {ctx.command_path} {near[0]}?"
            raise click.UsageError(said, ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        """Import and run the command; one that is interrupted ends with a code of its own."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted({**LOCAL, **CLIENT}.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="muniment", message="%(version)s")
def muniment() -> None:
    """Muniment, the access-control service whose event log is the evidence.

    The options of client commands may stand before or after a command and its noun.
    """


attach(muniment, hidden=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    # Whatever is made from here on is for this user alone (security 7.2).
    os.umask(PRIVATE)
    given = None if arguments is None else list(arguments)
    try:
        status = muniment.main(args=given, standalone_mode=False)
    except click.ClickException as error:
        _tell(error)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _tell(error: click.ClickException) -> None:
    """Write what went wrong; wrong usage as a body too where the output is data (cli 3)."""
    if isinstance(error, click.UsageError) and options.form_of(error.ctx) in failures.DATA:
        failures.write_body(failures.body("usage", error.format_message()))
        return
    error.show()


if __name__ == "__main__":
    main()
