"""How is a body of lines taken in as it comes, however long it is, and its answers given back?

What is held is one piece, as the server hands it over, and at most one unfinished line. Nothing
more is taken while answers wait to be sent: so a caller that does not read is not read from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Response
from msgspec import Struct

from api.call import Headers
from api.decoding import BodyError
from api.problems import refusal
from api.request_errors import RequestError
from domain.errors import DomainError

if TYPE_CHECKING:
    from litestar.types import Receive, Send

LINE_BYTES_MAX: Final = 16_384


class LineReader:
    """Cuts a body into its lines."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = b""
        self._is_cut = False

    async def pieces(self) -> AsyncIterator[list[bytes | None]]:
        """Yield the lines that each piece of the body completes, None for one that is too long.

        Blank lines are left out. Raises BodyError where the caller is too slow or goes away.
        """
        has_more = True
        while has_more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise BodyError(400, "body.incomplete", "the body ended early")
            has_more = message.get("more_body", False)
            yield self._cut(message.get("body", b""), has_ended=not has_more)

    def _cut(self, piece: bytes, *, has_ended: bool) -> list[bytes | None]:
        first, *others = piece.split(b"\n")
        lines: list[bytes | None] = []
        for line in others:
            lines.append(self._finished(first))
            first = line
        self._hold(first)
        if has_ended:
            lines.append(self._finished(b""))
        return [line for line in lines if line is None or line.strip()]

    def _hold(self, part: bytes) -> None:
        self._is_cut = self._is_cut or len(self._rest) + len(part) > LINE_BYTES_MAX
        self._rest = b"" if self._is_cut else self._rest + part

    def _finished(self, part: bytes) -> bytes | None:
        self._hold(part)
        line = None if self._is_cut else self._rest
        self._rest, self._is_cut = b"", False
        return line


class Ending(Struct, frozen=True):
    """The last line of answers that end before the questions do; it is no decision."""

    error: EndingError


class EndingError(Struct, frozen=True):
    status: int
    code: str
    message: str


class Lines(Response[Any]):
    """An answer of lines that are made while it is sent."""

    def __init__(self, answers: AsyncIterator[bytes], headers: Headers) -> None:
        """`answers` are whole lines, as many at a time as are ready."""
        self.content = answers
        self.status_code = 200
        self._prepared = headers

    def to_asgi_response(self, *_: Any, **_options: Any) -> Any:  # noqa: ANN401 - the library's own signature is longer than what is used of it
        """Answer the application that sends this, which it is itself."""
        return self

    async def __call__(self, _: object, __: Receive, send: Send) -> None:
        """Send what there is, then what comes; a refusal on the way is told in the last line."""
        await send({"type": "http.response.start", "status": 200, "headers": [*self._prepared]})
        try:
            async for ready in self.content:
                await send({"type": "http.response.body", "body": ready, "more_body": True})
            last = b""
        except (DomainError, RequestError, BodyError) as error:
            last = _ending(error)
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _ending(error: Exception) -> bytes:
    said = refusal(error)
    told = EndingError(said.status, said.code, said.detail)
    return msgspec.json.encode(Ending(told)) + b"\n"
