"""What does a client of a campaign send, and what does it know of the outcome?

One connection, kept open, and little work for each request, so that it is the server that is
tested. An answer that does not arrive is no refusal: the outcome is unknown (reliability 1).
"""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

ANSWER_SECONDS: Final = 20.0
POSITION: Final = "x-muniment-position"


class Answer(Struct, frozen=True):
    """One answer: status, headers by lower-case names, a line for each repetition, the body."""

    status: int
    headers: dict[str, str]
    text: bytes

    @property
    def ok(self) -> bool:
        """Whether it is an acknowledgement."""
        return 200 <= self.status < 300

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON may be anything
        """The body as JSON; None for an empty one."""
        return json.loads(self.text) if self.text else None

    @property
    def code(self) -> str:
        """The stable code of a refusal, empty for an acknowledgement."""
        return "" if self.ok else str(self.body["code"])

    @property
    def position(self) -> int:
        """The position that the answer tells."""
        return int(self.headers[POSITION])


class LostError(Exception):
    """No answer arrived: whether the request was carried out is unknown."""


class Client:
    """One connection with one credential; used by one thread."""

    def __init__(
        self,
        url: str,
        authorization: str = "",
        *,
        source: str = "127.0.0.1",
        timeout_seconds: float = ANSWER_SECONDS,
    ) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self._connection = http.client.HTTPConnection(
            where.hostname, where.port, timeout=timeout_seconds, source_address=(source, 0)
        )
        self._headers = {"Authorization": authorization} if authorization else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its answer; `body` is JSON, or bytes that go as they are.

        Raises LostError.
        """
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self._connection.request(method, path, payload, sent)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise LostError(type(error).__name__) from error
        names: dict[str, str] = {}
        for name, value in answer.getheaders():
            before = names.get(name.lower())
            names[name.lower()] = value if before is None else f"{before}\n{value}"
        return Answer(answer.status, names, text)

    def made(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - any JSON value
        """Send a request that must be acknowledged, and answer its body."""
        answer = self.ask(method, path, body)
        assert answer.ok, f"{method} {path}: {answer.status} {answer.text.decode()}"
        return answer.body

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def basic(email: str, password: str) -> str:
    """The value of Authorization for a user's password."""
    return "Basic " + base64.b64encode(f"{email}:{password}".encode()).decode()


def bearer(token: str) -> str:
    """The value of Authorization for a token."""
    return f"Bearer {token}"
