"""How is a question written in AuthZEN 1.0, and what of it is read?

The information model of authzen 2: unknown members are ignored at every level; null in the place
of an object or text is a fault, null within properties or context is passed over.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from re import compile as pattern
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from api.request_errors import MalformedError
from domain import names
from domain.ids import MAIN, TenantId

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

NO_RESOURCE: Final = "*"
_CONTROL: Final = pattern(r"[\x00-\x1f\x7f-\x9f]")

Word = Annotated[str, Meta(max_length=256)]
Position = Annotated[int, Meta(ge=0)]
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


# No question holds a cycle (`gc=False`): of a batch the collector would have much to walk through.


class Properties(Struct, frozen=True, gc=False):
    """Free members that have no effect."""


class ResourceProperties(Struct, frozen=True, gc=False):
    """The two members of a resource's properties that are read."""

    namespace: str | UnsetType | None = UNSET
    tenant: Word | UnsetType | None = UNSET


class Subject(Struct, frozen=True, gc=False):
    type: Word
    id: Word
    properties: Properties | UnsetType = UNSET


class Action(Struct, frozen=True, gc=False):
    name: Word
    properties: Properties | UnsetType = UNSET


class Resource(Struct, frozen=True, gc=False):
    type: Word
    id: Word
    properties: ResourceProperties | UnsetType = UNSET


class SearchedSubject(Struct, frozen=True):
    """Subjects of which type are looked for."""

    type: Word


class SearchedResource(Struct, frozen=True):
    """Resources of which type are looked for, and where."""

    type: Word
    properties: ResourceProperties | UnsetType = UNSET


class AsOf(Struct, frozen=True, gc=False):
    """A moment of the past: its facts, its clock, or both apart."""

    position: Position | UnsetType | None = UNSET
    at: datetime | UnsetType | None = UNSET


class Circumstances(Struct, frozen=True, gc=False):
    """The members of a context that are read (authzen 6).

    `address` is where the one comes from who presented the token that `token` names, and `log` the
    id of the log whose positions are named.
    """

    at_least: Position | UnsetType | None = UNSET
    as_of: AsOf | UnsetType | None = UNSET
    explain: bool | UnsetType | None = UNSET
    token: Word | UnsetType | None = UNSET
    address: Word | UnsetType | None = UNSET
    log: str | UnsetType | None = UNSET


class Evaluation(Struct, frozen=True, gc=False):
    """One question; what is missing in an item of a batch is taken from the request."""

    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET


class Options(Struct, frozen=True):
    evaluations_semantic: Semantic = "execute_all"


class _Head(Struct, frozen=True):
    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET
    options: Options = Options()


class Evaluations(_Head, frozen=True):
    """A request for many, as it is sent."""

    evaluations: list[Evaluation] = []


class _Parts(_Head, frozen=True):
    evaluations: list[Raw] = []


class Batch(NamedTuple):
    """A request for many: what an item may leave out, when to stop, and the items in their order.

    An item that cannot be decoded is its fault: it fails alone (authzen 4).
    """

    defaults: Evaluation
    semantic: Semantic
    items: Sequence[Evaluation | msgspec.MsgspecError]


class Page(Struct, frozen=True):
    """Which part of its results a search is asked for."""

    token: str | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


class SubjectSearch(Struct, frozen=True):
    """Who may do that there?"""

    subject: SearchedSubject
    action: Action
    resource: Resource
    context: Circumstances | UnsetType = UNSET
    page: Page | UnsetType = UNSET


class ResourceSearch(Struct, frozen=True):
    """On what may this subject do that?"""

    subject: Subject
    action: Action
    resource: SearchedResource
    context: Circumstances | UnsetType = UNSET
    page: Page | UnsetType = UNSET


class ActionSearch(Struct, frozen=True):
    """What may this subject do there?"""

    subject: Subject
    resource: Resource
    context: Circumstances | UnsetType = UNSET
    page: Page | UnsetType = UNSET


Search = SubjectSearch | ResourceSearch | ActionSearch

decode_evaluation: Final = msgspec.json.Decoder(Evaluation).decode
_decode_whole: Final = msgspec.json.Decoder(Evaluations).decode
_decode_parts: Final = msgspec.json.Decoder(_Parts).decode
decode_subject_search: Final = msgspec.json.Decoder(SubjectSearch).decode
decode_resource_search: Final = msgspec.json.Decoder(ResourceSearch).decode
decode_action_search: Final = msgspec.json.Decoder(ActionSearch).decode


def decode_batch(body: bytes) -> Batch:
    """Decode a request in one go, and only when that fails item by item, to place the faults.

    Raises MsgspecError for a fault of the whole payload.
    """
    head: _Head
    items: Sequence[Evaluation | msgspec.MsgspecError]
    try:
        head = whole = _decode_whole(body)
        items = whole.evaluations
    except msgspec.MsgspecError:
        head = parts = _decode_parts(body)
        items = [_decoded(item) for item in parts.evaluations]
    defaults = Evaluation(head.subject, head.action, head.resource, head.context)
    return Batch(defaults, head.options.evaluations_semantic, items)


def _decoded(item: Raw) -> Evaluation | msgspec.MsgspecError:
    try:
        return decode_evaluation(item)
    except msgspec.MsgspecError as error:
        return error


_NOTHING: Final = Evaluation()


def with_defaults(item: Evaluation, defaults: Evaluation) -> Evaluation:
    """Answer the item with what it lacks from the request: whole objects, nothing is merged."""
    context = item.context
    if context is UNSET:
        if defaults == _NOTHING:
            return item
        context = defaults.context
    elif (
        given(context.at_least) is not None
        or given(context.as_of) is not None
        or given(context.log) is not None
    ):
        raise MalformedError(
            "context.invalid", "at_least, as_of and log hold for the whole request"
        )
    return Evaluation(
        defaults.subject if item.subject is UNSET else item.subject,
        defaults.action if item.action is UNSET else item.action,
        defaults.resource if item.resource is UNSET else item.resource,
        context,
    )


def typed_subject(evaluation: Evaluation) -> tuple[str, str]:
    """Answer the type and id of the subject as sent; both empty where there is none."""
    subject = evaluation.subject
    return ("", "") if subject is UNSET else (subject.type, subject.id)


def given(value: T | UnsetType | None) -> T | None:
    """Answer a member of a context: null is passed over as if it were absent."""
    return None if value is UNSET else value


# A few thousand namespaces make up nearly all questions; what is malformed is not remembered.
_judge_namespace: Final = lru_cache(4_096)(names.namespace)


def place_of(
    resource: Resource | SearchedResource, home: TenantId = MAIN
) -> tuple[TenantId, str | None]:
    """Answer the tenant that a resource names, `home` for none, and the namespace."""
    if resource.properties is UNSET:
        return home, None
    tenant, namespace = resource.properties.tenant, given(resource.properties.namespace)
    if namespace is not None:
        try:
            _judge_namespace(namespace)
        except ValueError as fault:
            raise MalformedError("body.invalid", f"namespace {fault}") from None
    return home if tenant is UNSET or tenant is None else TenantId(tenant), namespace


def refuse_malformed(question: Evaluation) -> None:
    """Refuse what is malformed in the parts that are there, whichever those are."""
    subject, action, resource = question.subject, question.action, question.resource
    if subject is not UNSET:
        refuse_controls(subject.type, subject.id)
    if action is not UNSET:
        refuse_controls(action.name)
    if resource is not UNSET:
        refuse_controls(resource.type, resource.id)
        place_of(resource)


def refuse_controls(*words: str) -> None:
    """Refuse control characters; escapes and UTF-8 bring them past the guard of the body."""
    text = "".join(words)
    if not text.isprintable() and _CONTROL.search(text):
        raise MalformedError(
            "body.control_character", "types, ids and names hold no control characters"
        )
