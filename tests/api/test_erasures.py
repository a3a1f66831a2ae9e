"""Is a person erased over HTTP for good, and does nothing else change?"""

from __future__ import annotations

import gc
import logging
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

import pytest

from api import credentials
from domain.aliases import FIELD, SetAlias
from domain.erasures import UserErased
from domain.ids import MAIN, UserId
from domain.sealed import ERASED, DestroyedKeyError, Erased, KeyId, Sealed, Secret
from domain.users import DeleteUser, User
from ops.setup import system_context
from ops.vault import Vault
from tests.answers import problem
from tests.campaigns.access import EVALUATION
from tests.service import LOG_ID, MASTER_KEY, Served, bearer

MARKER: Final = "planted-marker-4711"
EMAIL: Final = f"{MARKER}@example.com"
WHY: Final = {"X-Muniment-Reason": "asked for it"}


def planted(http: Served) -> UserId:
    """Make a person whose every word has the marker in it."""
    user = http.user(EMAIL, first_name=f"First {MARKER}", last_name=f"Last {MARKER}")
    context = system_context(http.inputs)
    sealed = http.vault.seal(
        http.state.users[user].email.key,
        Secret(MARKER),
        command_id=context.command_id,
        subject=user,
        field=FIELD,
    )
    alias = SetAlias(
        tenant=MAIN,
        principal=user,
        type="user",
        id=Secret(MARKER),
        index=http.vault.alias_index(MAIN, "user", MARKER),
        sealed=sealed,
    )
    http.give(alias, context)
    return user


def erase(http: Served, user: UserId, **options: Any) -> int:  # noqa: ANN401 - whatever a request takes
    """Erase a person by the route; answer the status."""
    return http.post(f"users/{user}/erase", headers=WHY, **options).status_code


def in_memory(http: Served) -> list[str]:
    """Tell what kinds of objects hold the marker, over all that the service can reach."""
    gc.collect()
    found, seen = [], set[int]()
    ahead: list[object] = [http.service]
    while ahead:
        one = ahead.pop()
        # Constants of modules are this test's own.
        if id(one) in seen or isinstance(one, ModuleType | CodeType | FunctionType | FrameType):
            continue
        seen.add(id(one))
        held = gc.get_referents(one)
        found += [type(one).__name__ for text in held if type(text) is str and MARKER in text]
        ahead += held
    return found


def test_all_that_was_sealed_is_gone(http: Served) -> None:
    """Transparency-log 5: e-mail, names, alias and password cannot be opened any more."""
    user = planted(http)
    kept: User = http.state.users[user]
    sealed: dict[str, Sealed] = {
        name: getattr(kept, name) for name in ("email", "first_name", "last_name", "password")
    }
    before = http.keys()
    for name, one in sealed.items():
        assert http.opens(one, user, name)

    assert erase(http, user) == 204

    for name, one in sealed.items():
        assert not http.opens(one, user, name)
    assert http.keys() == before - 2
    assert not http.vault.is_erased(http.state.users[http.root_id].email.key)


def test_it_is_shown_in_no_answer_and_at_no_moment(http: Served) -> None:
    """Kestra-iam 316: an erased person has no name, today and in the past."""
    user = planted(http)
    then = http.state.position
    told = (
        f"users/{user}?position={then}",
        f"users?position={then}&size=100",
        f"main/principals/{user}/aliases?position={then}",
        "auditlogs/search?size=100",
        "audit/export?format=ndjson&personal=include",
        f"events?target={user}&limit=100",
    )
    assert sum(MARKER in http.get(path).text for path in told) >= 4

    erase(http, user)
    http.keys()  # so that what is destroyed off the loop is

    for path in told:
        answer = http.get(path)
        assert answer.status_code == 200, path
        assert MARKER not in answer.text, path
    assert http.get(told[0]).json()["email"] == ""
    problem(http.get(f"users/{user}"), 404, "user.unknown")


def test_memory_holds_nothing_of_it(http: Served) -> None:
    """No cache of names, keys, passwords or aliases outlives the person."""
    user = planted(http)
    for path in (f"users/{user}", "users", f"main/principals/{user}/aliases"):
        assert MARKER in http.get(path).text
    assert {"Person", "OrderedDict"} <= set(in_memory(http)), "the control: it is remembered"
    assert user in {subject for subject, _ in http.vault._cache.values()}  # noqa: SLF001 - its keys

    erase(http, user)
    http.keys()

    assert in_memory(http) == []
    assert user not in {subject for subject, _ in http.vault._cache.values()}  # noqa: SLF001 - the cache


def test_one_who_was_deleted_before_can_be_erased(http: Served) -> None:
    """Whoever has left may ask to be forgotten: the names that the past shows go."""
    user = planted(http)
    then = http.state.position
    http.give(DeleteUser(id=user))
    assert http.get(f"users/{user}?position={then}").json()["email"] == EMAIL

    assert erase(http, user) == 204
    http.keys()

    assert http.get(f"users/{user}?position={then}").json()["email"] == ""


def test_erasures_are_listed_by_id_alone(http: Served) -> None:
    """The last comes first, as of any position, and nothing personal is told."""
    first, second = planted(http), http.user("other@example.com")
    erase(http, first)
    then = http.state.position
    erase(http, second)

    told = http.get("erasures").json()
    assert [one["id"] for one in told["results"]] == [second, first]
    assert told["total"] == 2
    assert told["results"][1] == {"id": first, "position": then}
    assert [one["id"] for one in http.get("erasures?size=1&page=2").json()["results"]] == [first]
    past = http.get(f"erasures?position={then}").json()
    assert [one["id"] for one in past["results"]] == [first]


def test_bad_requests_are_refused_and_erase_nothing(http: Served) -> None:
    """No reason, nobody, the last owner, not an owner, another version."""
    user = planted(http)
    http.allow(user, {"USER": ["VIEW", "LIST", "CREATE", "UPDATE", "DELETE"]})
    by = bearer(http.token(user))

    problem(http.post(f"users/{user}/erase"), 422, "reason.required")
    problem(http.post("users/usr_none/erase", headers=WHY), 404, "user.unknown")
    problem(http.post(f"users/{http.root_id}/erase", headers=WHY), 409, "owner.last")
    problem(http.post(f"users/{user}/erase", headers=WHY, by=by), 403, "privilege.required")
    problem(http.get("erasures", by=by), 403, "privilege.required")
    stale = {**WHY, "If-Match": '"1"'}
    problem(http.post(f"users/{user}/erase", headers=stale), 412, "etag.mismatch")
    assert http.get(f"users/{user}").json()["email"] == EMAIL


def test_a_dry_run_erases_nothing(http: Served) -> None:
    """It tells what would end, and no key is touched."""
    user = planted(http)
    keys = http.keys()

    told = http.post(f"users/{user}/erase?dryRun=true", headers=WHY).json()

    topics = [event["topic"] for event in told["events"]]
    assert topics[-2:] == ["user.deleted.v1", "user.erased.v1"]
    assert http.keys() == keys
    assert http.get(f"users/{user}").json()["email"] == EMAIL


def test_twice_is_nothing_new(http: Served) -> None:
    """The second time there is nothing to do."""
    user = planted(http)
    erase(http, user)
    then = http.state.position

    assert erase(http, user) == 204
    assert http.state.position == then


def test_decisions_of_the_past_stay_as_they_were(http: Served) -> None:
    """Design 3: what a person could do then is answered alike, with the same explanation."""
    user = planted(http)
    http.allow(user, {"FLOW": ["VIEW"]})
    question = {
        "subject": {"type": "user", "id": user},
        "resource": {"type": "FLOW", "id": "any"},
        "action": {"name": "VIEW"},
    }

    def asked() -> Any:  # noqa: ANN401 - JSON may be anything
        context = {"as_of": {"position": then}, "explain": True}
        body = {**question, "context": context}
        answer = http.post(EVALUATION, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    then = http.state.position
    before = asked()
    assert before["decision"] is True

    erase(http, user)
    http.keys()

    assert asked() == before


def test_a_start_erases_again(http: Served) -> None:
    """Transparency-log 5: a vault that was restored from a backup forgets again."""
    user = planted(http)
    erase(http, user)
    http.keys()
    key = http.vault.create_key(user)
    restored = http.vault.seal(
        key, Secret(EMAIL), command_id=http.facts()[0].envelope.command_id, subject=user, field="x"
    )
    assert http.opens(restored, user, "x")

    credentials.end_leftovers(http.service)

    assert http.vault.open(restored, subject=user, field="x") is ERASED
    assert http.opens(http.state.users[http.root_id].email, http.root_id, "email")


def test_events_of_other_processes_erase_here_too(http: Served) -> None:
    """A process that holds the key in memory drops it when it reads the event."""
    user = planted(http)
    email = http.state.users[user].email
    other = Vault(http.vault_engine, MASTER_KEY, LOG_ID, http.inputs)
    assert other.open(email, subject=user, field="email") == EMAIL
    erase(http, user)
    http.keys()
    assert other.open(email, subject=user, field="email") == EMAIL, "the control: it holds the key"

    other.erase(user)

    assert other.open(email, subject=user, field="email") is ERASED


class Stuck(Vault):
    """A vault whose disk takes no deletion."""

    def erase(self, *subjects: str) -> int:
        del subjects
        raise OSError


def test_a_key_that_cannot_be_destroyed_is_an_alarm(
    http: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """The erasure is durable already; the key is destroyed at the next start."""
    user = planted(http)
    email = http.state.users[user].email
    http.service.vault = Stuck(http.vault_engine, MASTER_KEY, LOG_ID, http.inputs)

    with caplog.at_level(logging.ERROR, "muniment.credentials"):
        assert erase(http, user) == 204
        assert http.opens(email, user, "email")
        assert http.get("me").is_success

    words = "the keys of old passwords and of erased people could not be destroyed"
    assert [words] == caplog.messages
    http.service.vault = http.vault
    credentials.end_leftovers(http.service)
    assert not http.opens(email, user, "email")


def test_sealing_for_one_who_is_erased_meanwhile_is_a_conflict(http: Served) -> None:
    """A request under way finds the key gone: 409, not a failure, and nothing is stored."""
    user = planted(http)
    http.vault.destroy(http.state.users[user].email.key)

    alias = http.put(f"main/principals/{user}/aliases/identity/other")
    renamed = http.patch(f"users/{user}", {"firstName": "New"})

    problem(alias, 409, "user.erased")
    problem(renamed, 409, "user.erased")


class Slow(Vault):
    """A vault in which a person is erased while it opens what it has read."""

    def __init__(self, http: Served) -> None:
        super().__init__(http.vault_engine, MASTER_KEY, LOG_ID, http.inputs)
        self.http = http
        self.meanwhile: UserId | None = None

    def open(self, sealed: Sealed, *, subject: str, field: str) -> str | Erased:
        """Open it, and forget the person before it is told."""
        opened = super().open(sealed, subject=subject, field=field)
        if self.meanwhile is not None:
            user, self.meanwhile = self.meanwhile, None
            self.http.service.people.forget(user)
        return opened


def test_what_is_opened_while_it_is_erased_is_not_kept(http: Served) -> None:
    """The answer under way may still tell it; the cache does not."""
    user = planted(http)
    slow = Slow(http)
    people = http.service.people
    people._vault = slow  # noqa: SLF001 - the vault in which it happens

    for path, cache in (
        (f"users/{user}", people._known),  # noqa: SLF001 - the cache
        (f"main/principals/{user}/aliases", people._alias_ids),  # noqa: SLF001 - the cache
    ):
        slow.meanwhile = user
        assert MARKER in http.get(path).text
        assert not cache
        assert MARKER in http.get(path).text
        assert cache, "the control: without an erasure it is kept"


def test_no_key_of_the_installation_is_erased(http: Served) -> None:
    """Security 7.3: whatever subject is named, only data keys go."""
    before = http.keys()

    assert http.vault.erase("installation", "nobody", *(f"many-{n}" for n in range(1_200))) == 0
    assert http.vault.erase() == 0

    assert http.keys() == before
    with pytest.raises(DestroyedKeyError):
        http.vault.seal(
            KeyId("gone"),
            Secret("x"),
            command_id=http.facts()[0].envelope.command_id,
            subject="x",
            field="x",
        )


def test_the_reason_stands_with_the_event(http: Served) -> None:
    """Cli 6: what cannot be undone is explained in the log for ever."""
    user = planted(http)
    erase(http, user)

    last = http.facts()[-1].envelope
    assert (last.event, last.reason) == (UserErased(id=user), "asked for it")
