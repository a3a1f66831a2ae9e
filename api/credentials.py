"""How do passwords and personal data come into a command, and when do their keys end?

One key seals a person's e-mail, names and aliases, and one each password (design 3). A key is
made before the command that needs it, so it is taken back when the command comes to nothing; and
the key of a password that was replaced, and every key of a person who was erased, is destroyed in
every process that reads of it (security 3.1, transparency-log 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from msgspec import UNSET, UnsetType

from api.request_errors import DryRun, UnavailableError
from domain import commands
from domain.erasures import UserErased
from domain.errors import ConflictError, DomainError, FieldFault, InvalidError
from domain.events import Event, Fact
from domain.ids import UserId
from domain.principals import InstanceOwnerGranted, InstanceOwnerRevoked
from domain.sealed import DestroyedKeyError, KeyId, Sealed, Secret
from domain.state import State
from domain.users import (
    PasswordRehashed,
    PasswordRemoved,
    PasswordSet,
    User,
    UserDeleted,
    UserDisabled,
)

if TYPE_CHECKING:
    from api.service import Outcome, Service

# With these the command has not been begun; after any other its events may be in the log.
_NOT_BEGUN: Final = frozenset({"writer.busy", "writer.stopping"})

Perform = Callable[["commands.Command", "commands.Context"], Awaitable["Outcome"]]

_log = logging.getLogger("muniment.credentials")


class Sealer:
    """Seals the fields of one command about one user, and gives the command."""

    def __init__(
        self,
        service: Service,
        context: commands.Context,
        user: UserId,
        perform: Perform | None = None,
    ) -> None:
        """`perform` gives the command, by default to the writer."""
        self._service = service
        self._perform = perform or service.execute
        self._context = context
        self._user = user
        self._made: set[KeyId] = set()

    async def person(
        self, fields: Mapping[str, str], key: KeyId | None = None
    ) -> dict[str, Sealed]:
        """Seal a person's `email`, names or `alias` under its key, or under a new one."""
        values = {name: Secret(value) for name, value in fields.items()}
        return await self._seal(values, key) if values else {}

    async def password(self, hashed: Secret) -> Sealed:
        """Seal the hash of a password under a key of its own."""
        return (await self._seal({"password": hashed}, None, "password"))["password"]

    async def execute(self, command: commands.Command) -> Outcome:
        """Give the command; new keys that stand in none of its events are destroyed."""
        try:
            outcome = await self._perform(command, self._context)
        except (DomainError, DryRun):
            await self._destroy(self._made)
            raise
        except UnavailableError as error:
            if error.code in _NOT_BEGUN:
                await self._destroy(self._made)
            raise
        events = () if outcome.replayed else outcome.events
        await self._destroy(self._made.difference(_keys_in(events)))
        return outcome

    async def _seal(
        self,
        values: Mapping[str, Secret],
        key: KeyId | None,
        purpose: Literal["person", "password"] = "person",
    ) -> dict[str, Sealed]:
        vault, user = self._service.vault, self._user

        def sealed() -> tuple[KeyId, dict[str, Sealed]]:
            found = vault.create_key(user, purpose) if key is None else key
            command_id = self._context.command_id
            return found, {
                name: vault.seal(found, value, command_id=command_id, subject=user, field=name)
                for name, value in values.items()
            }

        try:
            used, fields = await asyncio.to_thread(sealed)
        except DestroyedKeyError:
            await self._destroy(self._made)
            raise ConflictError("user.erased", f"the user {user} has been erased") from None
        if key is None:
            self._made.add(used)
        return fields

    async def _destroy(self, keys: set[KeyId]) -> None:
        if keys:
            await asyncio.to_thread(self._service.vault.destroy, *keys)


def _keys_in(events: Iterable[Event]) -> Iterator[KeyId]:
    for event in events:
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, Sealed):
                yield value.key


def judge_password(
    service: Service, password: Secret, own_words: Iterable[str], path: str = "password"
) -> None:
    """Refuse a new password that is no good: InvalidError naming every reason at `path`."""
    faults = service.passwords.faults(password, own_words)
    if faults:
        raise InvalidError(
            "user.invalid",
            "; ".join(f"{path} {fault}" for fault in faults),
            fields=tuple(FieldFault(path, fault, "password.refused") for fault in faults),
        )


def stored_hash(service: Service, user: User | None) -> str | None:
    """Answer the hash of a user's password, None for nobody and for one who cannot sign in.

    It reads the vault, so it is not for the event loop.
    """
    if user is None or not user.enabled or user.password is UNSET:
        return None
    opened = service.vault.open(user.password, subject=user.id, field="password")
    return opened if isinstance(opened, str) else None


def retire(service: Service, before: State, facts: Iterable[Fact]) -> None:
    """Take note of new events in the event loop: what ended is not remembered and cannot be opened.

    `before` is the state that the facts follow. The keys of replaced passwords and of erased
    people are destroyed off the loop.
    """
    passwords: dict[UserId, Sealed | UnsetType] = {}
    ended: list[KeyId] = []
    erased: list[UserId] = []
    for fact in facts:
        event = fact.envelope.event
        match event:
            case PasswordSet() | PasswordRehashed():
                ended.extend(_replaced(before, event.id, event.password, passwords))
                service.passwords.forget(event.id)
            case PasswordRemoved() | UserDeleted():
                ended.extend(_replaced(before, event.id, UNSET, passwords))
                service.passwords.forget(event.id)
            case UserErased():
                service.people.forget(event.id)
                erased.append(event.id)
            case UserDisabled():
                service.passwords.forget(event.id)
            case InstanceOwnerGranted() | InstanceOwnerRevoked():
                service.passwords.forget(UserId(event.principal))
            case _:
                pass
    if ended or erased:
        _off_the_loop(partial(_destroy, service, ended, erased))


def _replaced(
    before: State,
    user: UserId,
    new: Sealed | UnsetType,
    passwords: dict[UserId, Sealed | UnsetType],
) -> Iterator[KeyId]:
    """Yield the key of the password that a user had until now, and note the new one."""
    known = before.users.get(user)
    old = passwords.get(user, known.password if known else UNSET)
    if old is not UNSET:
        yield old.key
    passwords[user] = new


def _destroy(service: Service, keys: Iterable[KeyId], erased: Iterable[UserId]) -> None:
    service.vault.destroy(*keys)
    service.vault.erase(*erased)


def _off_the_loop(destroy: Callable[[], object]) -> None:
    asyncio.get_running_loop().run_in_executor(None, destroy).add_done_callback(_note)


def end_leftovers(service: Service) -> None:
    """Destroy, at a start, what a process that ended or a restored vault left of ended keys.

    Those are the keys of passwords that were replaced and all keys of people who were erased. It
    reads and writes the vault, so it is not for the event loop.
    """
    passwords = (user.password for user in service.state.users.values())
    used = {password.key for password in passwords if password is not UNSET}
    try:
        ended = service.vault.destroy_unused("password", used)
        ended += service.vault.erase(*service.state.erased_users)
    except UnavailableError:
        _log.error("the keys of old passwords and of erased people could not be destroyed")
        return
    if ended:
        _log.info("keys of old passwords and of erased people destroyed", extra={"keys": ended})


def _note(destroyed: asyncio.Future[object]) -> None:
    if not destroyed.cancelled() and destroyed.exception() is not None:
        # It is tried again at the next start.
        _log.error("the keys of old passwords and of erased people could not be destroyed")
