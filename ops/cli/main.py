"""Which commands are there, and what does each exit code mean?

A lazy tree: a command's module is imported when it is called, so that help does not wait for the
server's code (cli 1). Exit codes are those of cli 4.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Final

import click

DENIED: Final = 3
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
    "audit": "Export the audit trail of a server.",
    "evidence": "Fetch a file that proves offline who could do what.",
    "erase": "Erase the personal data of a person for good.",
    "simulate": "Tell who would gain and lose what by changes that are not made yet.",
}


class LazyGroup(click.Group):
    """A group whose commands are known by name and imported when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Answer the names of all commands."""
        del ctx
        return sorted({**LOCAL, **CLIENT})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Answer a command, imported now; None for an unknown name."""
        del ctx
        if cmd_name in LOCAL:
            command = importlib.import_module(f"ops.cli.local.{cmd_name}").command
        elif cmd_name in CLIENT:
            command = importlib.import_module(f"ops.cli.commands.{cmd_name}").command
        else:
            return None
        return command if isinstance(command, click.Command) else None

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
    """Muniment, the access-control service whose event log is the evidence."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    # Whatever is made from here on is for this user alone (security 7.2).
    os.umask(PRIVATE)
    muniment.main(args=None if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
