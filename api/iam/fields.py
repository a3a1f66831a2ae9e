"""What do the contract's request members mean when they are absent, null or empty?

Kestra's clients leave keys out, send null, or send "" for none (kestra-iam 2.4, 2.5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType

from domain.errors import FieldFault, InvalidError

T = TypeVar("T")

# A member that may be absent or null.
Text = str | None | UnsetType
Flag = bool | None | UnsetType


class AutocompleteRequest(Struct, frozen=True, kw_only=True):
    """What is to be completed: the objects of these ids come first, then what `q` finds."""

    q: Text = UNSET
    ids: tuple[str, ...] | UnsetType | None = UNSET


class IdsRequest(Struct, frozen=True, kw_only=True):
    ids: tuple[str, ...] | UnsetType | None = UNSET


def text(value: Text) -> str:
    """Answer a scalar that an absent key or null resets to nothing."""
    return value or ""


def given(value: T | UnsetType | None) -> T | UnsetType:
    """Answer a value that an absent key or null leaves as it is."""
    return UNSET if value is None else value


def listed(value: Iterable[T] | UnsetType | None) -> tuple[T, ...] | UnsetType:
    """Answer a list that an absent key leaves as it is and null empties."""
    if value is UNSET:
        return UNSET
    return () if value is None else tuple(value)


def privilege(instance_owner: Flag, super_admin: Flag) -> bool | UnsetType:
    """Answer the privilege, which has two spellings: both sent and different is 422."""
    one, other = given(instance_owner), given(super_admin)
    if one is not UNSET and other is not UNSET and one != other:
        fault = FieldFault("instanceOwner", "differs from superAdmin", "privilege.ambiguous")
        raise InvalidError(
            "privilege.ambiguous", "instanceOwner differs from superAdmin", fields=(fault,)
        )
    return other if one is UNSET else one


def new_privilege(instance_owner: Flag, super_admin: Flag) -> bool:
    """As `privilege`, where the request is about nothing else: 422 where neither is there."""
    found = privilege(instance_owner, super_admin)
    if found is UNSET:
        fault = FieldFault("instanceOwner", "is missing", "field.missing")
        raise InvalidError("body.invalid", "instanceOwner is missing", fields=(fault,))
    return found
