"""Who are the people behind the sealed fields, for as long as their keys exist?"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct, UnsetType

from domain.sealed import Erased, Sealed
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

    async def of(self, user: User) -> Person:
        """Answer one person."""
        return (await self.of_all((user,)))[0]

    async def of_all(self, users: Iterable[User]) -> list[Person]:
        """Answer the persons, in the order of the users; opens off the event loop."""
        users = tuple(users)
        unknown = [user for user in users if user not in self._known]
        if unknown:
            opened = await asyncio.to_thread(lambda: [self._open(user) for user in unknown])
            self._known.update(zip(unknown, opened, strict=True))
        persons = [self._known[user] for user in users]
        while len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)
        return persons

    def forget(self, user: User) -> None:
        """Drop what is known of a person."""
        self._known.pop(user, None)

    def _open(self, user: User) -> Person:
        return Person(
            email=self._text(user, user.email, "email"),
            first_name=self._text(user, user.first_name, "first_name"),
            last_name=self._text(user, user.last_name, "last_name"),
        )

    def _text(self, user: User, sealed: Sealed | UnsetType, field: str) -> str:
        if sealed is UNSET:
            return ""
        value = self._vault.open(sealed, subject=user.id, field=field)
        return "" if isinstance(value, Erased) else value
