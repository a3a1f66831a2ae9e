"""Do the pages of a search show one moment, to the one who began it, and nothing else?"""

from __future__ import annotations

from datetime import timedelta
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from api import cursors, searches
from api.judging import Asker, Judge
from api.searches import ACTIONS, LIMIT_MAX, RESOURCES, SUBJECTS, Searches
from domain.bindings import DeleteBinding
from domain.ids import MAIN
from domain.scopes import Scope
from domain.service_accounts import DisableServiceAccount
from domain.tokens import RevokeAllTokens
from ops.setup import system_context
from tests.answers import problem
from tests.api.checking import Desk, Json, question
from tests.api.searching import assigned, ids, on
from tests.service import ADDRESS, Headers, Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = (SUBJECTS, RESOURCES, ACTIONS)
FIVE = ("r-1", "r-2", "r-3", "r-4", "r-5")


class Library:
    """An installation in which five readers may do five things with five records."""

    def __init__(self, http: Served) -> None:
        self.http = http
        self.desk = Desk(http)
        self.readers = [http.account(f"reader-{number}") for number in range(5)]
        self.role = http.role({"record": ["a", "b", "c", "d", "e"]})
        for reader, id_ in zip(self.readers, FIVE, strict=True):
            self.bind(reader, Scope())
            self.bind(reader, on(id_))
        self.asker = http.account("asker")
        self.right = http.allow(self.asker, {"ACCESS": ["SEARCH"]})
        self.by = http.bearer(self.asker)

    def bind(self, reader: Any, place: Scope, expires_at: Any = UNSET) -> None:  # noqa: ANN401 - an id; an instant or none
        """Give a reader the role somewhere."""
        self.http.give(assigned(self.http, MAIN, reader, self.role, place, expires_at))

    def body(self, **page: Any) -> Json:  # noqa: ANN401 - token and limit
        """Answer a question that serves for each of the searches, with a page if one is given."""
        asked = question(self.readers[0], "a", UNSET, resource=("record", "r-1"))
        return asked | {"page": page} if page else asked

    def ask(self, path: str, body: Json, by: Headers | None = None) -> httpx.Response:
        """Ask as the asker unless told."""
        return self.http.post(path, body, by=by or self.by)

    def first(self, path: str, limit: int = 2) -> Json:
        """Answer the first page."""
        return self.desk.find(path, self.body(limit=limit), self.by)

    def everything(self, path: str) -> list[str]:
        """Answer all there is to be found, in one page."""
        return ids(self.desk.find(path, self.body(), self.by))

    def walk(self, path: str, page: Json, **more: Any) -> list[str]:  # noqa: ANN401 - members of the request
        """Go on from a page to the end; answer what is found on the way."""
        found = ids(page)
        while page["page"]["next_token"]:
            body = self.body(token=page["page"]["next_token"]) | more
            page = self.desk.find(path, body, self.by)
            found += ids(page)
        return found


@pytest.fixture
def library(http: Served) -> Library:
    """Return a library of its own."""
    return Library(http)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Yield a library that several tests ask, and none changes."""
    with served(tmp_path_factory.mktemp("paging")) as http:
        yield Library(http)


# Pages


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6])
def test_the_pages_together_are_the_whole(shared: Library, path: str, limit: int) -> None:
    """Nothing twice, nothing left out, each as long as was asked (authzen 5)."""
    whole = shared.everything(path)
    assert 5 == len(whole)

    page = shared.first(path, limit)

    assert page["page"]["count"] == len(ids(page)) == min(limit, 5)
    assert 5 == page["page"]["total"]
    assert whole == shared.walk(path, page)


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_told_where_it_was_asked_for_or_more_is_left(
    shared: Library, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands first; at the end its token is the empty text (authzen 5)."""
    assert ["results"] == list(shared.desk.find(path, shared.body(), shared.by))
    asked = shared.desk.find(path, shared.body(limit=5), shared.by)
    assert ["page", "results"] == list(asked)
    assert {"next_token": "", "count": 5, "total": 5} == asked["page"]
    monkeypatch.setattr(searches, "LIMIT_MAX", 3)
    partial = shared.desk.find(path, shared.body(), shared.by)
    assert ["page", "results"] == list(partial)
    assert (3, 5) == (partial["page"]["count"], partial["page"]["total"])
    assert 5 == len(shared.walk(path, partial))


def test_a_thousand_results_are_the_most(shared: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, and with one above it; a further page may say so again (authzen 5)."""
    assert 1_000 == LIMIT_MAX
    monkeypatch.setattr(searches, "LIMIT_MAX", 3)
    for limit in (3, 4, 10**30):
        page = shared.first(RESOURCES, limit)
        assert 3 == page["page"]["count"]
        again = shared.body(limit=limit, token=page["page"]["next_token"])
        assert 2 == shared.desk.find(RESOURCES, again, shared.by)["page"]["count"]


@pytest.mark.parametrize("path", PATHS)
def test_a_limit_of_zero_counts(shared: Library, path: str) -> None:
    """No result, but how many there are, and a token; none where there are none (authzen 5)."""
    page = shared.first(path, 0)

    assert [] == page["results"]
    assert (0, 5) == (page["page"]["count"], page["page"]["total"])
    again = shared.desk.find(path, shared.body(token=page["page"]["next_token"]), shared.by)
    assert page["page"] | {"next_token": ""} == again["page"] | {"next_token": ""}
    nothing = shared.body(limit=0) | {"resource": {"type": "unheard", "id": "x"}}
    found = shared.desk.find(path, nothing, shared.by)
    assert {"page": {"next_token": "", "count": 0, "total": 0}, "results": []} == found


# One moment


def disturb(library: Library) -> None:
    """Let nothing be as it was: readers end, records come and go, and time passes."""
    http = library.http
    for binding in [*http.state.bindings.values()]:
        if binding.subject in library.readers[:3]:
            http.give(DeleteBinding(tenant=MAIN, id=binding.id))
    http.give(DisableServiceAccount(id=library.readers[4]))
    library.bind(library.asker, on("r-0"))
    library.bind(library.asker, on("r-9"))
    http.inputs.advance(3_600)


@pytest.mark.parametrize("path", PATHS)
def test_all_pages_show_one_moment(library: Library, path: str) -> None:
    """Whatever is written between them, and however late they are asked for (authzen 5, 10)."""
    soon = library.http.inputs.now() + timedelta(minutes=1)
    temporary = library.http.account("temporary")
    library.bind(temporary, Scope(), soon)
    library.bind(temporary, on("r-6"), soon)
    position, whole = library.http.state.position, library.everything(path)
    page = library.first(path)

    disturb(library)

    assert whole == library.walk(path, page)
    assert whole != library.everything(path)
    told = library.ask(path, library.body(token=page["page"]["next_token"]))
    assert str(position) == told.headers["x-muniment-position"]
    assert len(whole) == told.json()["page"]["total"]


def test_pages_of_several_moments_are_caught(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: a service whose pages show the present mixes two snapshots."""
    whole, page = library.everything(SUBJECTS), library.first(SUBJECTS)

    async def present(self: Searches, _: object) -> Any:  # noqa: ANN401 - a moment
        return await self._judge.moment(UNSET)

    monkeypatch.setattr(Searches, "moment", present)
    disturb(library)

    assert whole != library.walk(SUBJECTS, page)


@pytest.mark.parametrize("path", PATHS)
def test_a_walk_through_the_past_stays_there(library: Library, path: str) -> None:
    """The context holds for every page, and is a part of the request (authzen 5, 6)."""
    position, whole = library.http.state.position, library.everything(path)
    disturb(library)
    past = {"context": {"as_of": {"position": position}, "at_least": position}}
    page = library.desk.find(path, library.body(limit=2) | past, library.by)

    assert whole == library.walk(path, page, **past)
    problem(
        library.ask(path, library.body(token=page["page"]["next_token"])), 400, "cursor.invalid"
    )


def of_the_future(library: Library, path: str) -> Json:
    """Answer a request for a page of a walk that another process began one position further on."""
    service = library.http.service
    token = next(
        token for token in library.http.state.tokens.values() if token.owner == library.asker
    )
    asked = Searches(service, Judge(service)).read(
        path, msgspec.json.encode(library.body()), Asker(token.owner, token, ADDRESS)
    )
    ahead = cursors.Cursor(
        position=library.http.state.position + 1,
        now=library.http.inputs.now().timestamp(),
        last="",
        limit=2,
    )
    return library.body(token=cursors.seal(service.vault.cursor_key, ahead, asked.bound_to))


@pytest.mark.parametrize("path", PATHS)
def test_a_page_from_a_process_that_is_ahead_is_waited_for(library: Library, path: str) -> None:
    """At most the bound, then 503; it is never shown from older facts (authzen 6)."""
    body = of_the_future(library, path)
    problem(library.ask(path, body), 503, "position.not_reached")
    ended = DeleteBinding(tenant=MAIN, id=library.desk.binding)
    library.http.run(library.http.service.execute(ended, system_context(library.http.inputs)))

    assert 2 == library.desk.find(path, body, library.by)["page"]["count"]


# One caller, whose right counts now


@pytest.mark.parametrize("path", PATHS)
def test_each_page_is_judged_by_the_callers_right_now(library: Library, path: str) -> None:
    """Who may not search any more gets no further page, though the walk is of then (authzen 5)."""
    token = library.first(path)["page"]["next_token"]

    library.http.give(DeleteBinding(tenant=MAIN, id=library.right))

    problem(library.ask(path, library.body(token=token)), 403, "permission.denied")
    library.http.give(RevokeAllTokens(owner=library.asker))
    problem(library.ask(path, library.body(token=token)), 401, "token.revoked")


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_for_the_caller_who_began(library: Library, path: str) -> None:
    """With any token of its own; whoever else brings it is refused, an owner too (authzen 5)."""
    body = library.body(token=library.first(path)["page"]["next_token"])
    other = library.http.account("other")
    library.http.allow(other, {"ACCESS": ["SEARCH"]})

    for by in (library.http.bearer(other), library.http.root):
        problem(library.ask(path, body, by), 400, "cursor.invalid")
    assert 200 == library.ask(path, body, library.http.bearer(library.asker)).status_code


# One request

OTHERS: tuple[tuple[str, Json], ...] = (
    *((path, {"resource": {"type": "document", "id": "r-1"}}) for path in PATHS),
    *(
        (path, {"resource": {"type": "record", "id": "r-1", "properties": {"tenant": "beta"}}})
        for path in PATHS
    ),
    *(
        (path, {"resource": {"type": "record", "id": "r-1", "properties": {"namespace": "a"}}})
        for path in PATHS
    ),
    *((path, {"context": {"at_least": 1}}) for path in PATHS),
    *((path, {"subject": {"type": "user", "id": "reader-0"}}) for path in PATHS),
    *((path, {"action": {"name": "b"}}) for path in (SUBJECTS, RESOURCES)),
    *((path, {"resource": {"type": "record", "id": "r-2"}}) for path in (SUBJECTS, ACTIONS)),
    *(
        (path, {"subject": {"type": "service_account", "id": "reader-1"}})
        for path in (RESOURCES, ACTIONS)
    ),
)


@pytest.mark.parametrize(("path", "other"), OTHERS)
def test_a_page_is_for_the_request_that_began(shared: Library, path: str, other: Json) -> None:
    """Other entities or another context than the first page had: 400 (authzen 5)."""
    body = shared.body(token=shared.first(path)["page"]["next_token"])

    problem(shared.ask(path, body | other), 400, "cursor.invalid")


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_for_its_own_search_and_limit(shared: Library, path: str) -> None:
    """Not for another of the three; the limit may be left out, or be the same (authzen 5)."""
    token = shared.first(path)["page"]["next_token"]

    for other in set(PATHS) - {path}:
        problem(shared.ask(other, shared.body(token=token)), 400, "cursor.invalid")
    for limit in (0, 1, 3, LIMIT_MAX, LIMIT_MAX + 1):
        problem(shared.ask(path, shared.body(token=token, limit=limit)), 400, "cursor.invalid")
    assert 200 == shared.ask(path, shared.body(token=token, limit=2)).status_code


def test_what_has_no_effect_may_change_from_page_to_page(shared: Library) -> None:
    """Ignored members are no part of the request (authzen 5)."""
    body = shared.body(token=shared.first(SUBJECTS)["page"]["next_token"])
    body["subject"] = {"type": "service_account", "unheard": 7}
    body["resource"]["properties"] |= {"colour": "red"}

    assert 200 == shared.ask(SUBJECTS, body).status_code


# One token


def test_no_byte_of_a_token_may_change(shared: Library) -> None:
    """Every single one is authenticated: 400, whatever stands there instead (authzen 5)."""
    token: str = shared.first(RESOURCES)["page"]["next_token"]
    assert 200 == shared.ask(RESOURCES, shared.body(token=token)).status_code

    for index, byte in enumerate(token):
        for other in {"A", "B", "_", "=", "é"} - {byte}:
            changed = token[:index] + other + token[index + 1 :]
            said = shared.ask(RESOURCES, shared.body(token=changed))
            assert (400, "cursor.invalid") == (said.status_code, said.json()["code"]), changed


@settings(max_examples=100, database=None)
@given(st.data())
def _no_other_text_is_a_token(shared: Library, data: st.DataObject) -> None:
    token: str = shared.first(RESOURCES)["page"]["next_token"]
    cut, end = sorted(data.draw(st.tuples(*[st.integers(0, len(token))] * 2)))
    text = token[:cut] + data.draw(st.text(max_size=8)) + token[end:]

    response = shared.ask(RESOURCES, shared.body(token=text))

    assert (200 if text == token else 400) == response.status_code


def test_no_other_text_is_a_token(shared: Library) -> None:
    """Pieces, insertions, anything else: 400; only the very token is read (authzen 5)."""
    _no_other_text_is_a_token(shared)
    token: str = shared.first(RESOURCES)["page"]["next_token"]
    # A decoder of base64 may pass over strange characters, and over the last bits.
    strange = (token[:8] + "!!!!" + token[8:], token + "====")
    ends = {token[:-1] + last for last in ascii_letters + digits + "-_"} - {token}
    for text in ("", "=", "A", "A" * 100_000, *strange, *sorted(ends)):
        problem(shared.ask(RESOURCES, shared.body(token=text)), 400, "cursor.invalid")


def test_a_service_that_does_not_authenticate_tokens_is_caught(
    shared: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: without the comparison another caller goes on with the walk."""
    body = shared.body(token=shared.first(RESOURCES)["page"]["next_token"])
    problem(shared.ask(RESOURCES, body, shared.http.root), 400, "cursor.invalid")
    monkeypatch.setattr(cursors, "_mac", lambda *_: bytes(16))
    body = shared.body(token=shared.first(RESOURCES)["page"]["next_token"])

    assert 200 == shared.ask(RESOURCES, body, shared.http.root).status_code
