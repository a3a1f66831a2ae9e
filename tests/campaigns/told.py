"""What does a client write down of each request, for the trail to be compared with it later?

Every request has an id of its own, which the trail must give back. A request that is answered
otherwise than its sender knew beforehand ends the campaign: then its list would be worth nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from tests.campaigns.client import Answer, Client

API: Final = "/api/v1"
# What does not stand below it.
_ELSEWHERE: Final = ("/api/", "/access/", "/openapi.json")


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks: a principal, its token if it shows one, and from where."""

    id: str = ""
    token: str = ""
    address: str
    headers: dict[str, str]


class Note(Struct, frozen=True, kw_only=True):
    """What the journal has to hold of a request.

    What is always `counted` has no entry of its own; what is refused again and again may be
    counted as well, beyond the journal's budget.
    """

    request: str
    kind: str
    outcome: str
    code: str
    principal: str
    token: str
    address: str
    counted: bool = False


class Act(Struct, frozen=True, kw_only=True):
    """A request, and what the log has to hold of it: one event of `topic` about each of `about`.

    Events of the topics `beside` may stand next to it, where one change brings others along.
    """

    request: str
    what: str
    caller: Caller
    topic: str = ""
    about: tuple[str, ...] = ()
    beside: frozenset[str] = frozenset()
    position: int = 0
    notes: tuple[Note, ...] = ()


class Clerk:
    """Sends the requests of one thread and keeps the list of them."""

    def __init__(self, url: str, name: str) -> None:
        self.acts: list[Act] = []
        # Every method and path, to be compared with what the server offers.
        self.touched: set[tuple[str, str]] = set()
        self._url = url
        self._name = name
        self._numbers = itertools.count(1)

    def _ask(
        self,
        caller: Caller,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        headers: Mapping[str, str] | None = None,
    ) -> tuple[str, Answer]:
        request = f"{self._name}-{next(self._numbers)}"
        sent = {**caller.headers, "X-Request-ID": request, **(headers or {})}
        where = path if path.startswith(_ELSEWHERE) else API + path
        self.touched.add((method, where.partition("?")[0]))
        # A connection each: one that is kept for long may have ended meanwhile.
        with Client(self._url, source=caller.address) as client:
            return request, client.ask(method, where, body, sent)

    def change(
        self,
        caller: Caller,
        topic: str,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        *,
        about: Iterable[str] = (),
        beside: frozenset[str] = frozenset(),
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON may be anything
        """Give a command that is carried out; its body. It is about what is in it by default."""
        request, answer = self._ask(caller, method, path, body, headers)
        assert answer.ok, f"{method} {path} {body}: {answer.status} {answer.text.decode()}"
        found = answer.body
        self.acts.append(
            Act(
                request=request,
                what=f"{method} {path}",
                caller=caller,
                topic=topic,
                about=tuple(about) or _ids(found),
                beside=beside,
                position=answer.position,
            )
        )
        return found

    def quiet(
        self,
        caller: Caller,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send what leaves nothing in the trail: plain readings, repeats, what is no command."""
        return self.noted(caller, (), method, path, body, status=status, headers=headers)

    def noted(
        self,
        caller: Caller,
        notes: Iterable[tuple[str, str, str]],
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        counted: bool = False,
    ) -> Answer:
        """Send what the journal notes: each note is its kind, outcome and code."""
        request, answer = self._ask(caller, method, path, body, headers)
        said = f"{method} {path} {body}: {answer.status} {answer.text[:500].decode()}"
        assert answer.status == status, said
        self.acts.append(
            Act(
                request=request,
                what=f"{method} {path}",
                caller=caller,
                notes=tuple(
                    Note(
                        request=request,
                        kind=kind,
                        outcome=outcome,
                        code=code,
                        principal=caller.id,
                        token=caller.token,
                        address=caller.address,
                        counted=counted,
                    )
                    for kind, outcome, code in notes
                ),
            )
        )
        return answer

    def refused(
        self,
        caller: Caller,
        code: str,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        *,
        status: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send what is refused to one who is known, with this code."""
        note = "refusal", "DENIED", code
        answer = self.noted(caller, (note,), method, path, body, status=status, headers=headers)
        assert answer.code == code, f"{method} {path} {body}: {answer.code}"

    def failed(self, caller: Caller, code: str, *, said: str = "", status: int = 401) -> None:
        """Show a credential that is not good; the answer may say less than the journal."""
        note = "token_failure", "DENIED", code
        answer = self.noted(caller, (note,), "GET", "/me", status=status)
        assert answer.code == (said or code), answer.code


def _ids(body: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON may be anything
    found = body if isinstance(body, list) else [body]
    return tuple(one["id"] for one in found)
