"""With which words and exit code does a client command fail? (cli 3 and 4)."""

from __future__ import annotations

from typing import IO, Any, Final

import click

from ops.cli import options

DATA: Final = frozenset({"json", "yaml", "ndjson"})


class Failure(click.ClickException):
    """An end with a message on standard error and an exit code of cli 4.

    `problem` is the server's error body as it came; without one the body is made of `code`.
    """

    def __init__(
        self,
        message: str,
        status: int,
        *,
        code: str = "client.failed",
        problem: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(shown(message))
        setattr(self, "exit_code", status)  # noqa: B010 - click declares it on the class only
        self.problem = problem or body(code, message)
        self._form = options.form()

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message, or the whole body where the output is data, to standard error."""
        if self._form in DATA:
            write_body(self.problem)
        else:
            super().show(file)


def body(code: str, message: str) -> dict[str, Any]:
    """Answer an error body as the server's, of a fault that was found before it was asked."""
    return {
        "code": code,
        "title": message.partition(":")[0],
        "detail": message,
        "message": message,
        "_embedded": {"errors": [{"message": message}]},
    }


def write_body(problem: dict[str, Any]) -> None:
    """Write an error body on one line of standard error."""
    import json

    click.echo(json.dumps({"error": problem}), err=True)


def shown(text: object) -> str:
    """Answer a text as it may be written to a terminal, which nothing that is told may steer."""
    return "".join(character for character in str(text) if character.isprintable())
