"""How are the aliases of a state written down, and both ways to them built anew?"""

from __future__ import annotations

from typing import TypedDict

from domain.aliases import Alias, AliasKey
from domain.ids import PrincipalId, SubjectId, TenantId
from domain.state import InnerMap, PersistentMap, State


def pack_aliases(state: State) -> list[Alias]:
    return [one for held in state.aliases_of.values() for one in held.values()]


class AliasTables(TypedDict):
    aliases: PersistentMap[tuple[TenantId, str], InnerMap[bytes, PrincipalId]]
    aliases_of: PersistentMap[SubjectId, InnerMap[AliasKey, Alias]]


def unpack_aliases(rows: list[Alias]) -> AliasTables:
    """Answer who carries each alias, and the aliases of each."""
    carriers: dict[tuple[TenantId, str], dict[bytes, PrincipalId]] = {}
    held: dict[SubjectId, dict[AliasKey, Alias]] = {}
    for row in rows:
        carriers.setdefault((row.tenant, row.type), {})[row.index] = row.principal
        held.setdefault(row.principal, {})[row.key] = row
    return {
        "aliases": PersistentMap({key: PersistentMap(each) for key, each in carriers.items()}),
        "aliases_of": PersistentMap({key: PersistentMap(each) for key, each in held.items()}),
    }
