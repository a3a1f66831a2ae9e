"""Who are the people behind the sealed fields, for as long as their keys exist?"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct, UnsetType

from domain import aliases
from domain.aliases import Alias
from domain.ids import SubjectId, TenantId
from domain.sealed import Erased, Sealed
from domain.state import State
from domain.users import User

if TYPE_CHECKING:
    from api.service import Vault

KEPT_MAX: Final = 200_000


class Person(Struct, frozen=True, kw_only=True):
    """A user's personal data, empty where there is none or it was erased."""

    email: str
    first_name: str
    last_name: str

    @property
    def display_name(self) -> str:
        """First and last name, or the e-mail where there is neither."""
        return " ".join(part for part in (self.first_name, self.last_name) if part) or self.email


class People:
    """Opens users' sealed fields, and keeps them in memory by their ciphertext."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: OrderedDict[User, Person] = OrderedDict()
        self._alias_ids: OrderedDict[Alias, str] = OrderedDict()
        self._forgotten = 0

    async def of(self, user: User) -> Person:
        """Answer one person."""
        return (await self.of_all((user,)))[0]

    async def of_all(self, users: Iterable[User]) -> list[Person]:
        """Answer the persons, in the order of the users; opens off the event loop."""
        users = tuple(users)
        unknown = [user for user in users if user not in self._known]
        persons = {user: self._known[user] for user in users if user in self._known}
        if unknown:
            forgotten = self._forgotten
            opened = await asyncio.to_thread(lambda: {user: self.open(user) for user in unknown})
            persons.update(opened)
            # One who was forgotten meanwhile may be among them.
            if forgotten == self._forgotten:
                self._known.update(opened)
        while len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)
        return [persons[user] for user in users]

    async def alias_ids(self, held: Iterable[Alias]) -> dict[Alias, str]:
        """Answer the ids of aliases, without those that were erased; opens off the event loop."""
        held = tuple(held)
        ids = {
            one: one.text if isinstance(one.text, str) else self._alias_ids.get(one) for one in held
        }
        unknown = [one for one, id_ in ids.items() if id_ is None]
        if unknown:
            forgotten = self._forgotten
            opened = await asyncio.to_thread(lambda: {one: self._alias(one) for one in unknown})
            ids.update(opened)
            if forgotten == self._forgotten:
                self._alias_ids.update(opened)
        while len(self._alias_ids) > KEPT_MAX:
            self._alias_ids.popitem(last=False)
        return {one: id_ for one, id_ in ids.items() if id_}

    async def first_aliases(
        self, state: State, tenant: TenantId, type_: str, principals: Iterable[SubjectId]
    ) -> dict[SubjectId, str]:
        """Answer each principal's alias of a type in a tenant, of several the first by bytes.

        Who has none is left out (authzen 5).
        """
        held = [
            one
            for principal in principals
            for one in aliases.held(state, tenant, principal)
            if one.type == type_
        ]
        first: dict[SubjectId, str] = {}
        for one, text in (await self.alias_ids(held)).items():
            known = first.get(one.principal)
            if known is None or text.encode() < known.encode():
                first[one.principal] = text
        return first

    def forget(self, subject: SubjectId) -> None:
        """Drop all that is known of a person, as it was at any time."""
        self._forgotten += 1
        for user in [one for one in self._known if one.id == subject]:
            del self._known[user]
        for alias in [one for one in self._alias_ids if one.principal == subject]:
            del self._alias_ids[alias]

    def open(self, user: User) -> Person:
        """Answer one person, opened now and kept by nobody; may be called from any thread."""
        return Person(
            email=self._text(user.id, user.email, "email"),
            first_name=self._text(user.id, user.first_name, "first_name"),
            last_name=self._text(user.id, user.last_name, "last_name"),
        )

    def _alias(self, alias: Alias) -> str:
        sealed = alias.text if isinstance(alias.text, Sealed) else UNSET
        return self._text(alias.principal, sealed, aliases.FIELD)

    def _text(self, subject: str, sealed: Sealed | UnsetType, field: str) -> str:
        if sealed is UNSET:
            return ""
        value = self._vault.open(sealed, subject=subject, field=field)
        return "" if isinstance(value, Erased) else value
