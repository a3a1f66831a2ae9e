"""Who may do that there, on what may this subject do it, and what else: the searches of AuthZEN?

What is answered is what evaluations at the same position and instant would allow (authzen 5). The
work grows with the tenant, so it is done beside the loop, on the immutable state alone. A page's
token fixes position and instant of its whole walk; the caller's right is judged anew every time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from api import cursors, journal
from api.cursors import Cursor
from api.questions import (
    NO_RESOURCE,
    ActionSearch,
    Page,
    ResourceSearch,
    Search,
    SubjectSearch,
    decode_action_search,
    decode_resource_search,
    decode_subject_search,
    place_of,
    refuse_controls,
)
from api.request_errors import MalformedError
from domain.access import Question
from domain.scopes import ancestors
from projections import searches

if TYPE_CHECKING:
    from collections.abc import Container

    from api.judging import Asker, Judge, Moment
    from api.service import Service
    from domain.ids import SubjectId, TenantId
    from domain.state import State

SUBJECTS: Final = "/access/v1/search/subject"
RESOURCES: Final = "/access/v1/search/resource"
ACTIONS: Final = "/access/v1/search/action"
LIMIT_MAX: Final = 1_000

_DECODE: Final[dict[str, Callable[[bytes], Search]]] = {
    SUBJECTS: decode_subject_search,
    RESOURCES: decode_resource_search,
    ACTIONS: decode_action_search,
}
PATHS: Final = frozenset(_DECODE)


class Entity(Struct, frozen=True):
    """A subject or resource that was found."""

    type: str
    id: str


class NamedAction(Struct, frozen=True):
    """An action that was found."""

    name: str


class PageForm(Struct, frozen=True):
    """How to go on, empty at the end; how many results are here, and how many in all."""

    next_token: str
    count: int
    total: int


class Found(Struct, frozen=True):
    """The page stands first, where it is told at all."""

    page: PageForm | UnsetType
    results: list[Entity] | list[NamedAction]


_encode: Final = msgspec.json.Encoder().encode


class Walk(NamedTuple):
    """A search, how many results a page has, and the page before, if there was one.

    `bound_to` is everything but the page: what stays the same from page to page.
    """

    search: Search
    limit: int
    before: Cursor | None
    bound_to: bytes

    @property
    def last(self) -> str:
        """The key after which the page begins."""
        return "" if self.before is None else self.before.last


class Searches:
    """The three search endpoints of one installation."""

    def __init__(self, service: Service, judge: Judge) -> None:
        self._service = service
        self._judge = judge

    def read(self, path: str, body: bytes, asker: Asker) -> Walk:
        """Read a request; raises MalformedError, also `cursor.invalid`, and what msgspec raises."""
        search = _DECODE[path](body)
        _refuse_malformed(search)
        # Of what is ignored nothing is left by now: it may differ from page to page.
        bound_to = _encode((path, asker.principal, replace(search, page=UNSET)))
        page = Page() if search.page is UNSET else search.page
        limit = None if page.limit is UNSET else min(page.limit, LIMIT_MAX)
        if page.token is UNSET:
            return Walk(search, LIMIT_MAX if limit is None else limit, None, bound_to)
        before = cursors.unseal(self._service.vault.cursor_key, page.token, bound_to)
        if limit not in (None, before.limit):
            raise MalformedError("cursor.invalid", "the limit stays the same from page to page")
        return Walk(search, before.limit, before, bound_to)

    async def moment(self, walk: Walk) -> Moment:
        """Answer the moment at which is searched: for a further page that of the first."""
        before = walk.before
        if before is None:
            return await self._judge.moment(walk.search.context)
        # The page before may have come from a process that was ahead of this one.
        await self._service.reach(before.position)
        asked = self._service.inputs.timestamp()
        return await self._judge.at(before.position, datetime.fromtimestamp(before.now, UTC), asked)

    async def answer(self, walk: Walk, asker: Asker, moment: Moment) -> bytes:
        """Search, and answer one page; raises ForbiddenError for an asker who may not ask."""
        search = walk.search
        question = _question(search)
        subject, keys = await self._keys(search, question, asker, moment)
        named = (search.subject.type, subject)
        journal.searched(self._service, asker, moment, named, question, len(keys))
        start = bisect_right(keys, walk.last)
        shown = keys[start : start + walk.limit]
        is_last = start + len(shown) == len(keys)
        page: PageForm | UnsetType = UNSET
        if not is_last or search.page is not UNSET:
            token = "" if is_last else self._token(walk, moment, [walk.last, *shown][-1])
            page = PageForm(token, len(shown), len(keys))
        match search:
            case SubjectSearch():
                found = Found(page, [Entity(search.subject.type, key) for key in shown])
            case ResourceSearch():
                found = Found(page, [Entity(search.resource.type, key) for key in shown])
            case ActionSearch():
                found = Found(page, [NamedAction(key) for key in shown])
        return _encode(found)

    async def _ids_shown(
        self, state: State, tenant: TenantId, type_: str, found: list[SubjectId]
    ) -> list[str]:
        """Answer by what subjects are told, in its order: an alias of the type, else the id.

        By an id alone nobody is known under a type that only aliases have: who has lost the
        words of its alias is not told.
        """
        aliases = await self._service.people.first_aliases(state, tenant, type_, found)
        told = [aliases.get(one, one if type_ in _KINDS else "") for one in found]
        # By code points, which is the order of their bytes in UTF-8.
        return sorted(one for one in told if one)

    def _token(self, walk: Walk, moment: Moment, last: str) -> str:
        cursor = Cursor(position=moment.state.position, now=moment.now, last=last, limit=walk.limit)
        return cursors.seal(self._service.vault.cursor_key, cursor, walk.bound_to)

    async def _keys(
        self, search: Search, question: Question, asker: Asker, moment: Moment
    ) -> tuple[SubjectId | None, list[str]]:
        """Answer the subject, where one is named, and all results by id or name, in their order."""
        state, now = moment.state, moment.now
        subject: SubjectId | None = None
        if not isinstance(search, SubjectSearch):
            subject = moment.resolve(question.tenant, search.subject.type, search.subject.id)
        if subject != asker.principal:
            nearest = next(iter(question.namespaces), None)
            self._judge.require_may_ask(
                asker, "SEARCH", question.tenant, nearest, question.resource, moment.asked
            )
        if isinstance(search, SubjectSearch):
            type_ = search.subject.type
            among = _subjects_of(state, question.tenant, type_).__contains__
            found = await asyncio.to_thread(searches.subjects, state, question, now, among)
            return None, await self._ids_shown(state, question.tenant, type_, found)
        if subject is None:
            return None, []
        look = searches.resources if isinstance(search, ResourceSearch) else searches.actions
        return subject, await asyncio.to_thread(look, state, subject, question, now)


def _subjects_of(state: State, tenant: TenantId, type_: str) -> Container[SubjectId]:
    """Answer the subjects of a type; of one that only aliases have, who carries such an alias."""
    if type_ in _KINDS:
        return _KINDS[type_](state)
    carriers = state.aliases.get((tenant, type_))
    return () if carriers is None else frozenset(carriers.values())


_KINDS: Final[dict[str, Callable[[State], Container[SubjectId]]]] = {
    "user": lambda state: state.users,
    "service_account": lambda state: state.service_accounts,
    "group": lambda state: state.groups,
}


def _question(search: Search) -> Question:
    """Answer what is asked, as the domain has it; empty or none for what is searched."""
    tenant, namespace = place_of(search.resource)
    type_ = search.resource.type
    resource: tuple[str, str] | None = None
    if not isinstance(search, ResourceSearch) and search.resource.id != NO_RESOURCE:
        resource = type_, search.resource.id
    return Question(
        tenant,
        type_,
        "" if isinstance(search, ActionSearch) else search.action.name,
        () if namespace is None else ancestors(namespace),
        resource,
    )


def _refuse_malformed(search: Search) -> None:
    match search:
        case SubjectSearch(subject, action, resource):
            refuse_controls(subject.type, action.name, resource.type, resource.id)
        case ResourceSearch(subject, action, resource):
            refuse_controls(subject.type, subject.id, action.name, resource.type)
        case ActionSearch(subject, resource):
            refuse_controls(subject.type, subject.id, resource.type, resource.id)
    place_of(search.resource)
