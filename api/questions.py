"""How is a question written in AuthZEN 1.0, and what of it is read?

The information model of authzen 2: unknown members are ignored at every level; null in the place
of an object or text is a fault, null within properties or context is passed over.
"""

from __future__ import annotations

from datetime import datetime
from re import compile as pattern
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from api.problems import MalformedError
from domain import names
from domain.ids import MAIN, TenantId

T = TypeVar("T")

NO_RESOURCE: Final = "*"
_CONTROL: Final = pattern(r"[\x00-\x1f\x7f-\x9f]")

Word = Annotated[str, Meta(max_length=256)]
Position = Annotated[int, Meta(ge=0)]
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


class Properties(Struct, frozen=True):
    """Free members that have no effect."""


class ResourceProperties(Struct, frozen=True):
    """The two members of a resource's properties that are read."""

    namespace: str | UnsetType | None = UNSET
    tenant: Word | UnsetType | None = UNSET


class Subject(Struct, frozen=True):
    type: Word
    id: Word
    properties: Properties | UnsetType = UNSET


class Action(Struct, frozen=True):
    name: Word
    properties: Properties | UnsetType = UNSET


class Resource(Struct, frozen=True):
    type: Word
    id: Word
    properties: ResourceProperties | UnsetType = UNSET


class AsOf(Struct, frozen=True):
    """A moment of the past: its facts, its clock, or both apart."""

    position: Position | UnsetType | None = UNSET
    at: datetime | UnsetType | None = UNSET


class Circumstances(Struct, frozen=True):
    """The members of a context that are read (authzen 6).

    `address` is where the one comes from who presented the token that `token` names.
    """

    at_least: Position | UnsetType | None = UNSET
    as_of: AsOf | UnsetType | None = UNSET
    explain: bool | UnsetType | None = UNSET
    token: Word | UnsetType | None = UNSET
    address: Word | UnsetType | None = UNSET


class Evaluation(Struct, frozen=True):
    """One question; what is missing in an item of a batch is taken from the request."""

    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET


class Options(Struct, frozen=True):
    evaluations_semantic: Semantic = "execute_all"


class Batch(Struct, frozen=True):
    """A request with its items still undecoded, so that a faulty one can fail alone."""

    subject: Subject | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    context: Circumstances | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    evaluations: list[Raw] | UnsetType = UNSET

    @property
    def defaults(self) -> Evaluation:
        """The question that stands at the top, which an item may leave out parts of."""
        return Evaluation(self.subject, self.action, self.resource, self.context)


decode_evaluation: Final = msgspec.json.Decoder(Evaluation).decode
decode_batch: Final = msgspec.json.Decoder(Batch).decode
_decode_items: Final = msgspec.json.Decoder(list[Evaluation]).decode


def decode_items(items: list[Raw]) -> list[Evaluation | msgspec.MsgspecError]:
    """Decode the items in one go, and only when that fails one by one, to place the faults."""
    try:
        return [*_decode_items(b"[" + b",".join(bytes(item) for item in items) + b"]")]
    except msgspec.MsgspecError:
        return [_decoded_item(item) for item in items]


def _decoded_item(item: Raw) -> Evaluation | msgspec.MsgspecError:
    try:
        return decode_evaluation(item)
    except msgspec.MsgspecError as error:
        return error


def with_defaults(item: Evaluation, batch: Batch | Evaluation) -> Evaluation:
    """Answer the item with what it lacks from the request: whole objects, nothing is merged."""
    context = item.context
    if context is UNSET:
        context = batch.context
    elif given(context.at_least) is not None or given(context.as_of) is not None:
        raise MalformedError("context.invalid", "at_least and as_of hold for the whole request")
    return Evaluation(
        batch.subject if item.subject is UNSET else item.subject,
        batch.action if item.action is UNSET else item.action,
        batch.resource if item.resource is UNSET else item.resource,
        context,
    )


def typed_subject(evaluation: Evaluation) -> tuple[str, str]:
    """Answer the type and id of the subject as sent; both empty where there is none."""
    subject = evaluation.subject
    return ("", "") if subject is UNSET else (subject.type, subject.id)


def given(value: T | UnsetType | None) -> T | None:
    """Answer a member of a context: null is passed over as if it were absent."""
    return None if value is UNSET else value


def place_of(resource: Resource, home: TenantId = MAIN) -> tuple[TenantId, str | None]:
    """Answer the tenant that a resource names, `home` for none, and the namespace."""
    if resource.properties is UNSET:
        return home, None
    tenant, namespace = resource.properties.tenant, given(resource.properties.namespace)
    if namespace is not None:
        try:
            names.namespace(namespace)
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
    for word in words:
        if not word.isprintable() and _CONTROL.search(word):
            raise MalformedError(
                "body.control_character", "types, ids and names hold no control characters"
            )
