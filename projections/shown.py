"""What may be shown of an event by itself, as it stands in the log?

All but what nobody may see: a sealed value only tells that it is there, or was; digests and keyed
indexes, the only bytes there are, are left out (audit-export 2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, cast

from msgspec import UNSET, Struct, to_builtins

from domain.sealed import KeyId, Sealed

_UNDERSCORE: Final = re.compile(r"_([a-z0-9])")


def shown(event: Struct, is_erased: Callable[[KeyId], bool]) -> dict[str, Any]:
    """Answer the members of an event in camel case, for JSON; what is absent is left out.

    `is_erased` tells whether the key of a sealed value was destroyed.
    """
    members: dict[str, Any] = {}
    for name in event.__struct_fields__:
        value: object = getattr(event, name)
        if value is not UNSET and value is not None and not isinstance(value, bytes):
            members[_camel_case(name)] = _value(value, is_erased)
    return members


def _value(value: object, is_erased: Callable[[KeyId], bool]) -> object:
    if isinstance(value, Sealed):
        return {"erased": True} if is_erased(value.key) else {"sealed": True}
    if isinstance(value, Struct):
        return shown(value, is_erased)
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return [_value(item, is_erased) for item in items]
    return to_builtins(value)


def _camel_case(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)
