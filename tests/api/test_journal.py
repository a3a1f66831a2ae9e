"""Does every act that is no change leave its entry, with who, what and where, and no secret?"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from api.checks import EVALUATION
from api.journal import clean, leaked
from domain.tenants import DeleteTenant
from domain.token_text import LENGTH, TokenKind, make
from domain.tokens import DisableToken, RevokeToken
from domain.users import DisableUser
from tests.answers import problem
from tests.api.checking import Desk, question
from tests.api.journaling import AGENT, REQUEST, counts, entries, only, sign_in
from tests.fixed_inputs import START
from tests.service import ADDRESS, NOBODY, ROOT_EMAIL, basic, bearer

if TYPE_CHECKING:
    from tests.service import Served


# Credentials


def ended_tokens(http: Served) -> dict[str, str]:
    """A text of a token for each way in which one is of no use any more, by the code."""
    bot, away = http.account(), http.user("away@example.com")
    revoked, disabled, of_nobody = http.token(bot), http.token(bot), http.token(away)
    expired = http.token(bot, max_age_seconds=60)
    http.give(RevokeToken(owner=bot, id=http.token_id(revoked)))
    http.give(DisableToken(owner=bot, id=http.token_id(disabled)))
    http.give(DisableUser(id=away))
    http.inputs.advance(120)
    return {
        "token.revoked": revoked,
        "token.disabled": disabled,
        "principal.disabled": of_nobody,
        "token.expired": expired,
    }


@pytest.mark.parametrize("path", ["/api/v1/me", EVALUATION])
def test_a_token_that_is_refused_tells_whose_it_was(http: Served, path: str) -> None:
    """Of a right secret the id is known, in both worlds; of a revoked one the owner no more."""
    for code, text in ended_tokens(http).items():
        method = "GET" if path.endswith("me") else "POST"
        answer = http.request(method, path, {}, by=bearer(text), headers=REQUEST)
        problem(answer, 401, code)

    found = entries(http, "token_failure")
    assert ["token.revoked", "token.disabled", "principal.disabled", "token.expired"] == [
        one.code for one in found
    ]
    assert all(one.token and one.address == ADDRESS and one.agent == "curl/8" for one in found)
    assert [None, "service_account", "user", "service_account"] == [
        one.principal_type for one in found
    ]


def test_a_token_from_elsewhere_is_journaled(http: Served) -> None:
    """Kestra-iam 8: a use from an address that is not allowed leaves its entry."""
    text = http.token(http.account(), allowed_addresses=("10.0.0.0/8",))

    for path in ("/api/v1/me", EVALUATION):
        method = "GET" if path.endswith("me") else "POST"
        problem(http.request(method, path, {}, by=bearer(text)), 403, "token.address")

    assert [("token.address", http.token_id(text))] * 2 == [
        (one.code, one.token) for one in entries(http, "token_failure")
    ]


def test_an_unknown_token_is_journaled_and_no_token_is_counted(http: Served) -> None:
    """Security 4.1: what is of no form of ours, or none at all, has no row of its own."""
    unknown = make(TokenKind.USER, bytes(32))

    for by in (bearer(unknown), bearer("m" * LENGTH), NOBODY):
        assert 401 == http.get("me", by=by).status_code

    entry = only(entries(http, "token_failure"))
    assert ("auth.invalid", None, None) == (entry.code, entry.token, entry.principal)
    assert {("auth.invalid", 1), ("auth.required", 1)} == {
        (counted.code, number) for counted, number in counts(http)
    }
    assert {"192.0.2.0/24"} == {counted.network for counted, _ in counts(http)}


def test_a_token_in_a_request_target_is_journaled_where_it_is_ours(http: Served) -> None:
    """Security 4.3: the entry names the token by its id; a text that is nobody's leaves none."""
    bot = http.account()
    live, revoked = http.token(bot), http.token(bot)
    revoked_id = http.token_id(revoked)
    http.give(RevokeToken(owner=bot, id=revoked_id))

    for text in (live, revoked, make(TokenKind.USER, bytes(32))):
        leaked(http.service, text, ADDRESS, "req-1")

    assert [(http.token_id(live), bot), (revoked_id, None)] == [
        (one.token, one.principal) for one in entries(http, "token_leak")
    ]


# Sign-ins


def test_a_sign_in_and_its_end_are_journaled(http: Served) -> None:
    """Who came and went, from where and by what."""
    answer = sign_in(http)
    cookies = {"Cookie": f"JWT={answer.cookies['JWT']}"}
    http.post("logout", by=cookies)
    http.post("logout", by=cookies)

    came = only(entries(http, "sign_in"))
    assert (http.root_id, "user", ADDRESS, "curl/8", "req-1", "ALLOWED") == (
        came.principal,
        came.principal_type,
        came.address,
        came.agent,
        came.request_id,
        came.outcome,
    )
    assert http.root_id == only(entries(http, "sign_out")).principal


@pytest.mark.parametrize("road", ["sign_in", "basic"])
def test_a_failed_sign_in_is_journaled_without_what_was_typed(http: Served, road: str) -> None:
    """A known user is named by id; the e-mail and the password are in no entry (security 4.5)."""
    for email in (ROOT_EMAIL, "nobody@example.com"):
        if road == "sign_in":
            problem(sign_in(http, email, "hunter2 hunter2"), 401, "auth.invalid")
        else:
            problem(http.get("me", by=basic(email, "hunter2 hunter2")), 401, "auth.invalid")

    known, unknown = entries(http, "sign_in_failure")
    assert (http.root_id, None) == (known.principal, unknown.principal)
    index = http.vault.email_index(ROOT_EMAIL).hex()
    assert f'{{"account":"{index}"}}' == known.detail
    everything = repr(entries(http))
    assert "hunter2" not in everything
    assert "@example.com" not in everything


def test_a_lock_is_journaled_once_and_tries_on_it_are_told_apart(http: Served) -> None:
    """Ten failures lock; what is typed afterwards is not judged, and the entry says so."""
    for _ in range(12):
        sign_in(http, password="wrong wrong wrong")

    locked = only(entries(http, "account_locked"))
    assert (http.root_id, "DENIED", ADDRESS) == (locked.principal, locked.outcome, locked.address)
    codes = [one.code for one in entries(http, "sign_in_failure")]
    assert ["auth.invalid"] * 10 + ["account.locked"] * 2 == codes


# Refusals


def test_a_refused_command_tells_what_was_tried(http: Served) -> None:
    """At the gate or by the domain: the route, the object and the code, with the caller."""
    bot = http.account()
    by = http.bearer(bot)
    problem(http.post("main/groups", {"name": "Bots"}, by=by), 403, "permission.denied")
    http.post("main/groups", {"name": "Bots"})
    problem(http.post("main/groups", {"name": "Bots"}), 409, "group.name_taken", "name")
    problem(http.delete(f"service-accounts/{bot}x"), 404, "service_account.unknown")

    gate, taken, unknown = entries(http, "refusal")
    assert ("createGroup", "GROUP", "CREATE", "main", bot) == (
        gate.operation,
        gate.resource_type,
        gate.action,
        gate.tenant,
        gate.principal,
    )
    assert ("group.name_taken", http.root_id) == (taken.code, taken.principal)
    assert ("service_account.unknown", "DELETE", f"{bot}x", None) == (
        unknown.code,
        unknown.action,
        unknown.resource_id,
        unknown.tenant,
    )
    assert {"DENIED"} == {one.outcome for one in (gate, taken, unknown)}


def test_a_reading_that_is_refused_is_journaled_and_one_that_finds_nothing_is_not(
    http: Served,
) -> None:
    """To look for what is not there is no offence; to look where one may not is told."""
    problem(http.get("main/groups/nothing"), 404, "group.unknown")
    problem(http.get("main/groups/search?sort=x"), 422, "sort.invalid", "sort")
    problem(http.get("tenants/search", by=http.bearer(http.account())), 403, "privilege.required")

    assert "searchTenants" == only(entries(http, "refusal")).operation


def test_a_reading_of_a_tenant_where_one_has_no_access_is_journaled(http: Served) -> None:
    """Security 2.11: it seems unknown to its caller only; what is unknown to all is not told."""
    beta, gone = http.tenant(), http.tenant("gone")
    http.give(DeleteTenant(id=gone))
    by = http.bearer(http.account())

    for tenant in (beta, gone, "nowhere"):
        problem(http.get(f"{tenant}/audit/export", by=by), 404, "tenant.unknown")

    told = only(entries(http, "refusal"))
    assert (beta, "exportAudit", "tenant.unknown") == (told.tenant, told.operation, told.code)


def test_a_forged_change_by_cookie_is_journaled(http: Served) -> None:
    """Kestra-iam 3: a browser that was made to send a change is heard of."""
    cookie = {"Cookie": f"JWT={sign_in(http).cookies['JWT']}", "Origin": "https://evil.example"}

    problem(http.post("main/groups", {"name": "Bots"}, by=cookie), 403, "csrf")

    assert "csrf" == only(entries(http, "token_failure")).code


# The trail


def test_every_way_into_the_trail_is_journaled(http: Served) -> None:
    """The feed, one entry, the live tail and an event's bytes are readings too."""
    http.post("main/groups", {"name": "Bots"})
    position = http.state.position
    paths = ("main/events", f"main/events/{position}", "main/events/tail?seconds=0")
    for path in (*paths, f"audit/events/{position}/entry"):
        assert 200 == http.get(path).status_code, path

    assert 200 == http.get("main/audit/export").status_code

    assert ["listEvents", "getEvent", "tailEvents", "getEventEntry"] == [
        one.operation for one in entries(http, "audit_read")
    ]
    assert "main" == only(entries(http, "audit_export")).tenant


def test_reading_and_exporting_the_trail_is_journaled(http: Served) -> None:
    """Security 2.11: who looks at the trail is in the trail, with what was looked for, unnamed."""
    group = http.post("main/groups", {"name": "Bots"}).json()["id"]
    position = http.state.position
    http.get("main/auditlogs/search?filters[q][EQUALS]=ada@example.com")
    http.get("auditlogs/search")
    http.post("main/auditlogs/find", {"resource": "GROUP"})
    http.get(f"main/auditlogs/e{position}/diff")
    http.get(f"main/auditlogs/history/{group}")
    http.get("main/auditlogs/export")

    found = entries(http, "audit_read", "audit_export")
    assert [
        ("searchAuditLogs", "main"),
        ("searchAllAuditLogs", None),
        ("findAuditLog", "main"),
        ("diffAuditLog", "main"),
        ("getAuditLogHistory", "main"),
        ("exportAuditLogs", "main"),
    ] == [(one.operation, one.tenant) for one in found]
    assert [*["audit_read"] * 5, "audit_export"] == [one.kind for one in found]
    assert {"ALLOWED"} == {one.outcome for one in found}
    assert '{"results":0,"parameters":["filters[q][EQUALS]"]}' == found[0].detail
    assert "ada@example" not in repr(found)


def test_a_page_that_was_refused_is_no_reading(http: Served) -> None:
    """What was not shown is not told as shown."""
    http.get("main/auditlogs/search", by=http.bearer(http.account()))
    http.get("main/auditlogs/e999999/diff")

    assert [] == entries(http, "audit_read")


# Last use


def test_a_token_and_its_owner_tell_when_they_were_last_used(http: Served) -> None:
    """Kestra-iam 6.2 and 8: time, address and agent of a token, the time of a service account."""
    bot = http.account()
    text = http.token(bot)
    base = f"main/service-accounts/{bot}"
    fresh = http.get(f"{base}/api-tokens").json()["results"][0]
    assert "lastUsed" not in {*fresh, *http.get(base).json()}

    http.inputs.advance(60)
    http.get("me", by=bearer(text), headers=AGENT, address="198.51.100.7")
    http.run(http.journal.settle())

    used = "2026-01-01T00:01:00Z"
    for shown in (
        http.get(f"{base}/api-tokens").json()["results"][0],
        http.get(f"{base}/api-tokens/{fresh['id']}").json(),
        http.post(f"{base}/api-tokens/{fresh['id']}/disable").json(),
    ):
        assert (used, "198.51.100.7", "curl/8") == (
            shown["lastUsed"],
            shown["lastUsedAddress"],
            shown["lastUsedAgent"],
        )
    assert used == http.get(base).json()["lastUsed"]
    assert used == http.get(f"service-accounts/{bot}").json()["lastUsed"]
    past = http.get(f"{base}?position={http.state.position}").json()
    assert "lastUsed" not in past


def test_a_check_is_a_use_and_a_refused_token_is_none(http: Served) -> None:
    """The hot endpoints are where most tokens are used; what is turned away was not used."""
    desk = Desk(http)
    token = http.token_id(desk.by_bot["Authorization"].removeprefix("Bearer "))
    desk.ask(question(desk.bot), desk.by_bot)
    http.run(http.journal.settle())
    assert http.journal.last_use(token) == http.journal.last_use(desk.bot)
    used = http.journal.last_use(token)
    assert used is not None

    http.give(DisableToken(owner=desk.bot, id=token))
    http.inputs.advance(60)
    desk.ask(question(desk.bot), desk.by_bot)
    http.run(http.journal.settle())

    assert used == http.journal.last_use(token)


def test_a_person_is_used_by_password_and_by_session(http: Served) -> None:
    """Every credential of a principal counts for the principal."""
    seen: list[datetime] = []
    cookie = sign_in(http).cookies["JWT"]
    for by in (basic(ROOT_EMAIL), {"Cookie": f"JWT={cookie}"}):
        http.inputs.advance(60)
        http.run(http.journal.settle())
        http.get("me", by=by)
        http.run(http.journal.settle())
        used = http.journal.last_use(http.root_id)
        assert used is not None
        seen.append(used.at)

    assert [START + timedelta(seconds=60), START + timedelta(seconds=120)] == seen


# Standing


def test_an_owner_sees_how_the_journal_stands(http: Served) -> None:
    """What was dropped, if anything, is told to whom it concerns, and to nobody else."""
    sign_in(http)
    http.run(http.journal.settle())

    standing = http.get("system/journal").json()

    assert {
        "mode": "denials",
        "queued": 0,
        "unwritten": 0,
        "written": 1,
        "counted": 0,
        "dropped": 0,
        "writeFailures": 0,
    } == standing | {"queued": 0}
    by = http.bearer(http.account())
    problem(http.get("system/journal", by=by), 403, "privilege.required")


# Text that callers write


def test_no_secret_comes_into_the_journal(all_kept: Served) -> None:
    """Security 4.5: a token in a question, an agent or a request id is blotted out."""
    secret = make(TokenKind.SERVICE_ACCOUNT, sha256(b"canary").digest())
    desk = Desk(all_kept)
    body = question("ci-bot", secret, resource=(secret, secret))
    headers = {"X-Request-ID": secret, "User-Agent": secret}
    desk.ask(body, headers=headers)
    all_kept.get(f"main/groups/{secret[:20]}", by=NOBODY, headers=headers)
    all_kept.get("tenants/search", by=desk.by_bot, headers=headers)

    everything = repr(entries(all_kept)) + repr(counts(all_kept))

    assert "muns_" in everything or "***" in everything
    assert secret[5:48] not in everything


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("curl/8", "curl/8"),
        ("a\0b", "ab"),
        ("\ud800", "?"),
        ("ünïcode", "ünïcode"),
    ],
)
def test_kept_text_is_what_every_database_takes(text: str, kept: str) -> None:
    """Neither NUL nor half a character keeps a whole batch from being written."""
    assert kept == clean(text)


def test_a_batch_of_many_is_one_act_of_the_loop(all_kept: Served) -> None:
    """Every one of a thousand items has its entry."""
    desk = Desk(all_kept)
    body = question("ci-bot") | {"evaluations": [{}] * 1_000}

    desk.ask_all(body)

    assert 1_000 == len(entries(all_kept, "decision"))
