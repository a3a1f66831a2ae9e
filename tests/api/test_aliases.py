"""Do aliases behave over HTTP as they should, and stay whose they are? (authzen 3)."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest

from api import people
from api.people import People
from domain.aliases import AliasRemoved, AliasSet
from domain.ids import MAIN, SubjectId, UserId
from domain.sealed import Erased, Sealed
from ops.vault import Vault
from tests.answers import problem
from tests.api.checking import question
from tests.api.test_request_log import Logged
from tests.service import Headers, Served

SPIFFE = "spiffe://example.org/ci/bot"
FLOWS = {"FLOW": ["UPDATE"]}


def caller(http: Served, permissions: dict[str, list[str]], name: str = "cal") -> Headers:
    """Answer a user who may do this, and nothing else."""
    user = http.user(f"{name}@example.com")
    http.allow(user, permissions)
    return http.bearer(user)


def place(principal: str, type_: str, text: str, *, tenant: str = "main") -> str:
    """Answer the path of an alias, in the query where a path cannot hold it."""
    base = f"{tenant}/principals/{principal}/aliases/{type_}"
    return f"{base}?alias={quote(text)}" if "/" in text else f"{base}/{quote(text)}"


def known(http: Served, principal: str, by: Headers | None = None) -> list[tuple[str, str]]:
    """Answer the aliases that the list shows."""
    response = http.get(f"main/principals/{principal}/aliases", by=by or http.root)
    assert 200 == response.status_code, response.content
    return [(item["type"], item["id"]) for item in response.json()["items"]]


def allowed(http: Served, type_: str, text: str, **context: object) -> bool:
    """Tell whether a check lets this subject update a flow."""
    asked = question(text, type_=type_, context=context) if context else question(text, type_=type_)
    answer = http.post("/access/v1/evaluation", asked)
    assert 200 == answer.status_code, answer.content
    return bool(answer.json()["decision"])


def found(http: Served, topic: str) -> str:
    """Answer the id of the only entry of the trail with this topic."""
    trail = http.get(f"auditlogs/search?filters[event][EQUALS]={topic}").json()
    (entry,) = trail["results"]
    return str(entry["auditLog"]["id"])


# Setting, listing, removing


@pytest.mark.parametrize("text", ["4711", "a:b", SPIFFE, "50% & more?#+", "ünï"])
def test_alias_is_set_listed_and_removed(http: Served, text: str) -> None:
    """201 with Location, 200 where it was there, 204; what Location names can be removed."""
    bot = http.account()

    made = http.put(place(bot, "identity", text))
    again = http.put(place(bot, "identity", text))

    form = {"type": "identity", "id": text}
    assert [(201, form), (200, form)] == [(one.status_code, one.json()) for one in (made, again)]
    assert "location" not in again.headers
    assert [("identity", text)] == known(http, bot)
    gone = http.delete(made.headers["location"])
    assert (204, b"") == (gone.status_code, gone.content)
    assert [] == known(http, bot)
    problem(http.delete(made.headers["location"]), 404, "alias.unknown")


def test_alias_with_an_encoded_slash_in_the_path_is_refused(http: Served) -> None:
    """Security 5.7: a proxy might read such a path otherwise, so it goes into the query."""
    bot = http.account()

    encoded = f"main/principals/{bot}/aliases/identity/{quote(SPIFFE, safe='')}"

    problem(http.put(encoded), 400, "route.malformed_path")
    for method in ("PUT", "DELETE"):
        missing = http.request(method, f"main/principals/{bot}/aliases/identity")
        problem(missing, 400, "query.invalid")


def test_alias_of_no_good_form_is_refused(http: Served) -> None:
    """The refusal points at the type or the id."""
    bot, ada = http.account(), http.user()

    problem(http.put(place(bot, "identity", "x" * 257)), 422, "alias.invalid", "id")
    problem(http.put(place(bot, "group", "x")), 422, "alias.invalid", "type")
    problem(http.put(place(ada, "service_account", "x")), 422, "alias.invalid", "type")
    problem(http.put(place(bot, "identity", bot)), 409, "alias.is_id", "id")
    http.put(place(bot, "identity", "x"))
    problem(http.put(place(ada, "identity", "x")), 409, "alias.taken", "id")


def test_alias_same_key_answers_again(http: Served) -> None:
    """A repeated key is no second attempt (http-api 4)."""
    ada, headers = http.user(), {"Idempotency-Key": "once"}

    first, again = (http.put(place(ada, "user", "ada"), headers=headers) for _ in range(2))

    assert [201, 201] == [first.status_code, again.status_code]
    assert first.headers["location"] == again.headers["location"]
    assert "true" == again.headers["idempotency-replayed"]


def test_list_is_ordered_and_shows_the_past(http: Served) -> None:
    """By type and id; as of a position also what has ended since (http-api 6)."""
    ada = http.user()
    for type_, text in (("user", "b"), ("identity", "z"), ("user", "a")):
        http.put(place(ada, type_, text))
    before = http.state.position
    http.delete(place(ada, "user", "a"))

    now = http.get(f"main/principals/{ada}/aliases")
    then = http.get(f"main/principals/{ada}/aliases?position={before}")

    assert [("identity", "z"), ("user", "b")] == known(http, ada)
    assert str(http.state.position) == now.headers["x-muniment-position"]
    assert ["z", "a", "b"] == [item["id"] for item in then.json()["items"]]
    assert str(before) == then.headers["x-muniment-position"]
    problem(http.put(f"{place(ada, 'user', 'a')}?position={before}"), 400, "position.on_write")


# Who may


def test_aliases_of_users_and_programs_need_their_own_permission(http: Served) -> None:
    """USER is for users, SERVICE_ACCOUNT for programs; the other kind is as unknown as nobody."""
    bot, ada = http.account(), http.user()
    people_ = caller(http, {"USER": ["VIEW", "UPDATE"]}, "people")
    programs = caller(http, {"SERVICE_ACCOUNT": ["VIEW", "UPDATE"]}, "programs")

    for principal, may, may_not in ((ada, people_, programs), (bot, programs, people_)):
        assert 201 == http.put(place(principal, "identity", f"x{principal}"), by=may).status_code
        assert 1 == len(known(http, principal, by=may))
        refused = [
            http.get(f"main/principals/{principal}/aliases", by=may_not),
            http.put(place(principal, "identity", "x"), by=may_not),
            http.delete(place(principal, "identity", f"x{principal}"), by=may_not),
        ]
        nobody = http.get("main/principals/nobody/aliases", by=may_not).json()
        for answer in refused:
            problem(answer, 404, "principal.unknown")
            assert nobody["title"] == answer.json()["title"]


def test_alias_of_one_without_access_is_unknown(http: Served) -> None:
    """Security 2.3: strangers are as unknown as nobody, and nothing of theirs is sealed."""
    beta = http.tenant()
    for stranger in (http.user(tenants=(beta,)), http.account("bot", beta), UserId("nobody")):
        problem(http.put(place(stranger, "identity", "x")), 404, "principal.unknown")
        problem(http.delete(place(stranger, "identity", "x")), 404, "principal.unknown")
        problem(http.get(f"main/principals/{stranger}/aliases"), 404, "principal.unknown")


def test_alias_of_one_with_more_rights_is_refused(http: Served) -> None:
    """Security 2.2: by another name one would get what one lacks; the refusal says what."""
    bot = http.account()
    http.allow(bot, FLOWS)
    by = caller(http, {"SERVICE_ACCOUNT": ["UPDATE"]})

    refused = problem(http.put(place(bot, "identity", "mine"), by=by), 403, "alias.escalation")

    assert [("FLOW", "UPDATE")] == [(one["type"], one["action"]) for one in refused["required"]]
    assert not allowed(http, "identity", "mine")


def test_end_of_access_ends_aliases(http: Served) -> None:
    """Whose access ends is known by no name any more, and another may take it."""
    ada, bob = http.user(), http.user("bob@example.com")
    http.put(place(ada, "user", "us"))
    before = http.state.position

    http.delete(f"main/tenant-access/{ada}")

    assert AliasRemoved in map(type, http.events(before))
    assert 201 == http.put(place(bob, "user", "us")).status_code


# Checks


def test_check_finds_its_subject_by_alias(http: Served) -> None:
    """An application asks by the name it knows, of exactly that type, now and in the past."""
    bot, ada = http.account(), http.user()
    http.allow(bot, FLOWS)
    http.allow(ada, FLOWS)
    names = ((bot, "identity", SPIFFE), (bot, "service_account", "robot"), (ada, "user", "ada"))
    for principal, type_, text in names:
        assert not allowed(http, type_, text)
        http.put(place(principal, type_, text))
        assert allowed(http, type_, text)
    assert not allowed(http, "user", SPIFFE)
    assert not allowed(http, "identity", SPIFFE.upper())
    before = http.state.position

    http.delete(place(bot, "identity", SPIFFE))

    assert not allowed(http, "identity", SPIFFE)
    assert allowed(http, "identity", SPIFFE, as_of={"position": before})
    assert not allowed(http, "identity", SPIFFE, as_of={"position": 1})


def test_alias_of_oneself_may_be_asked_by_itself(http: Served) -> None:
    """A caller may always ask about itself, by whatever name; others need ACCESS:CHECK."""
    bot = http.account()
    http.put(place(bot, "identity", "me"))
    by = http.bearer(bot)

    own = http.post("/access/v1/evaluation", question("me", type_="identity"), by=by)
    other = http.post("/access/v1/evaluation", question("you", type_="identity"), by=by)

    assert (200, 403) == (own.status_code, other.status_code)


# Personal data


def test_alias_of_a_user_is_in_no_event_and_no_log(
    http: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Security 4.7: it is sealed where it is kept, and the request's record names the route."""
    ada = http.user()
    caplog.set_level(logging.DEBUG)
    logged = Logged(http, caplog)

    for text in ("canary-ada", "canary://ada/x"):
        path = f"/api/v1/{place(ada, 'identity', text)}"
        assert 201 == logged.ask("PUT", path, http.root).status_code
        assert 200 == logged.ask("PUT", path, http.root).status_code
        assert 204 == logged.ask("DELETE", path, http.root).status_code
        assert 404 == logged.ask("DELETE", path, http.root).status_code

    stored = b"".join(record.state for record in http.log.read(0, 10_000))
    assert b"canary" not in stored
    # The client of this test logs what it sends; the server does not.
    ours = repr([one.__dict__ for one in caplog.records if one.name.startswith("muniment")])
    assert "/aliases/{type}/{alias_id}" in ours
    assert "canary" not in ours


def test_alias_in_a_refusal_is_only_in_the_path_that_was_sent(http: Served) -> None:
    """No refusal quotes an alias; the path is the caller's own, and the query is not repeated."""
    ada, bob = http.user(), http.user("bob@example.com")
    http.put(place(ada, "identity", "canary://x/y"))

    taken = http.put(place(bob, "identity", "canary://x/y"))
    unknown = http.delete(place(bob, "identity", "canary://x/y"))

    problem(taken, 409, "alias.taken", "id")
    problem(unknown, 404, "alias.unknown")
    assert b"canary" not in taken.content + unknown.content


def test_erased_alias_is_shown_nowhere(http: Served) -> None:
    """With a person's key all that was sealed under it goes, also what was shown before."""
    ada = http.user()
    http.put(place(ada, "user", "ada"))
    position = http.state.position
    assert [("user", "ada")] == known(http, ada)
    user = http.state.users[ada]

    http.vault.destroy(user.email.key)
    http.service.people.forget(user.id)

    assert [] == known(http, ada)
    past = http.get(f"main/principals/{ada}/aliases?position={position}")
    assert [] == past.json()["items"]
    assert {} == first(http, "user", ada)


def test_trail_of_aliases(http: Served) -> None:
    """The trail tells a program's alias, and of a person's that there is one; nothing of which."""
    bot, ada = http.account(), http.user()
    http.put(place(bot, "identity", SPIFFE))
    http.put(place(ada, "user", "canary"))

    found = http.get("main/auditlogs/search?filters[event][EQUALS]=alias.set.v1").json()["results"]

    person, program = (one["auditLog"] for one in found)
    assert ("USER", ada, "user") == tuple(person["detail"][k] for k in ("type", "id", "aliasType"))
    assert "SERVICE_ACCOUNT" == program["detail"]["resource"]
    added = {one["path"]: one["value"] for one in program["appliedPatch"]}
    assert {"/type": "identity", "/ids": [SPIFFE]} == added
    assert [{"sealed": True}] == next(
        one["value"] for one in person["appliedPatch"] if one["path"] == "/ids"
    )
    assert "canary" not in repr(found)


def test_comparison_of_an_alias_with_the_account_itself_is_refused(http: Served) -> None:
    """Aliases are an object of their own beside their carrier."""
    bot = http.account()
    http.put(place(bot, "identity", SPIFFE))
    entry, created = (
        found(http, topic) for topic in ("alias.set.v1", "service_account.created.v1")
    )
    diff = f"auditlogs/{entry}/diff"

    alone = http.get(diff)
    mixed = http.get(f"{diff}?previousId={created}")

    assert SPIFFE in alone.json()["after"]
    problem(mixed, 404, "auditlog.unknown")


# For searches


def first(http: Served, type_: str, *principals: SubjectId) -> dict[SubjectId, str]:
    """Answer what a search would give the principals as."""
    return http.run(http.service.people.first_aliases(http.state, MAIN, type_, principals))


def test_first_alias_of_a_type_is_the_first_by_bytes(http: Served) -> None:
    """Authzen 5: of several the first by bytes; who has none of the type is left out."""
    beta = http.tenant()
    bot, ada, bob = http.account("bot", MAIN, beta), http.user(), http.user("bob@example.com")
    for principal, type_, text in (
        (bot, "identity", "b"),
        (bot, "identity", "B"),
        (bot, "identity", "ä"),
        (bot, "employee", "A"),
        (ada, "identity", "z"),
        (ada, "identity", "é"),
    ):
        http.put(place(principal, type_, text))
    http.put(place(bot, "identity", "A", tenant=beta))

    assert {bot: "B", ada: "z"} == first(http, "identity", bot, ada, bob, UserId("nobody"))
    assert {bot: "A"} == first(http, "employee", bot, ada)
    assert {} == first(http, "unheard", bot, ada)


class Counting(Vault):
    """A vault that counts what it opens."""

    opened = 0

    def open(self, sealed: Sealed, *, subject: str, field: str) -> str | Erased:
        """Open one more."""
        self.opened += 1
        return super().open(sealed, subject=subject, field=field)


def test_alias_is_opened_once(http: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened is remembered, up to a limit, and not beyond."""
    ada = http.user()
    for text in ("a", "b", "c"):
        http.put(place(ada, "identity", text))
    monkeypatch.setattr(http.vault, "__class__", Counting)
    counting = http.vault
    assert isinstance(counting, Counting)

    for _ in range(2):
        assert {ada: "a"} == first(http, "identity", ada)
    assert 3 == counting.opened

    monkeypatch.setattr(people, "KEPT_MAX", 1)
    for _ in range(2):
        assert {ada: "a"} == first(http, "identity", ada)
    assert 5 == counting.opened


def test_forgetting_one_person_leaves_others(http: Served) -> None:
    """Erasing Ada costs nobody else a name."""
    ada, bob = http.user(), http.user("bob@example.com")
    for principal in (ada, bob):
        http.put(place(principal, "user", f"x{principal}"))
    assert 2 == len(first(http, "user", ada, bob))

    http.vault.destroy(http.state.users[ada].email.key)
    http.service.people.forget(ada)

    assert {bob: f"x{bob}"} == first(http, "user", ada, bob)


def test_forgetful_build_is_caught(http: Served) -> None:
    """Control: whoever is not forgotten is still shown after the key is gone."""
    ada = http.user()
    http.put(place(ada, "user", "ada"))
    assert {ada: "ada"} == first(http, "user", ada)

    http.vault.destroy(http.state.users[ada].email.key)

    assert {ada: "ada"} == first(http, "user", ada)
    fresh = People(http.vault).first_aliases(http.state, MAIN, "user", [ada])
    assert {} == http.run(fresh)


def test_events_hold_what_was_sealed(http: Served) -> None:
    """A person's alias is opened by its own place alone: user, field and command."""
    ada = http.user()
    http.put(place(ada, "user", "ada"))
    event = http.events()[-1]

    assert isinstance(event, AliasSet)
    assert isinstance(event.text, Sealed)
    assert http.state.users[ada].email.key == event.text.key
    assert "ada" == http.vault.open(event.text, subject=ada, field="alias")
