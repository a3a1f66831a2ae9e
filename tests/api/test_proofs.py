"""Can an outsider check everything with what the routes give, and does nobody see too much?"""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import structs

from api.app import create_app
from api.front import Front
from api.openapi import document
from domain.ids import MAIN, TenantId
from domain.users import UserCreated
from ops.vault import FIRST_SIGNING_KEY
from projections.verifier import (
    ProofError,
    VerifierKey,
    open_checkpoint,
    verify_consistency,
    verify_event,
    verify_inclusion,
)
from tests import naive_tree
from tests.service import NOBODY, Headers, Served
from tests.signing import ORIGIN

VIEWER: Final = {"AUDITLOG": ["VIEW"]}


def entries(http: Served) -> list[bytes]:
    """Return every entry, by the letter of the specification."""
    return [record.topic.encode() + b"\n" + record.state for record in http.log.read(0, 10_000)]


def keys(http: Served, by: Headers) -> list[VerifierKey]:
    """Return the verifier keys that the service lists."""
    listed = http.get("audit/keys", by=by).json()["keys"]
    return [VerifierKey.parse(key["verifierKey"]) for key in listed]


def hashes(answer: httpx.Response) -> list[bytes]:
    """Return the hashes of a proof."""
    return [base64.b64decode(one) for one in answer.json()["hashes"]]


def code(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def anyone(http: Served) -> Headers:
    """A caller without any right at all."""
    return http.bearer(http.user("any@example.com", tenants=()))


# Checkpoints and keys


def test_newest_checkpoint_covers_the_log_and_is_judged_by_the_listed_keys(
    http: Served, anyone: Headers
) -> None:
    """Transparency-log 4: whoever has a valid token gets the note, as plain text."""
    answer = http.get("audit/checkpoint", by=anyone)

    checkpoint = open_checkpoint(answer.text, keys(http, anyone))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.origin == ORIGIN
    assert checkpoint.root == naive_tree.root(entries(http)[: checkpoint.size])
    assert http.get("audit/checkpoint", by=NOBODY).status_code == 401


def test_earlier_checkpoint_is_found_by_its_size(http: Served) -> None:
    """Transparency-log 4: what was signed once is shown for ever, and nothing else is."""
    first = http.get("audit/checkpoint").text
    size = int(first.split("\n")[1])
    http.group("More")
    http.get(f"audit/events/{http.state.position}/proof")

    assert http.get(f"audit/checkpoint?size={size}").text == first
    assert int(http.get("audit/checkpoint").text.split("\n")[1]) > size
    assert code(http.get("audit/checkpoint?size=1")) == (404, "checkpoint.unknown")


def test_list_of_checkpoints_pages_from_the_newest_to_the_first(http: Served) -> None:
    """Transparency-log 4: cursor pages, each note once; how far is sealed stands in each page."""
    for number in range(5):
        http.group(f"Group {number}")
        http.get(f"audit/events/{http.state.position}/proof")
    every = http.get("audit/checkpoints").json()

    walked = http.get("audit/checkpoints?limit=2").json()
    found = [*walked["items"]]
    while "nextCursor" in walked:
        walked = http.get(f"audit/checkpoints?limit=2&cursor={walked['nextCursor']}").json()
        found += walked["items"]

    sizes = [item["size"] for item in found]
    assert found == every["items"]
    assert sizes == sorted(set(sizes), reverse=True)
    assert every["sealedThrough"] == sizes[0] == http.state.position
    assert found[0]["checkpoint"] == http.get("audit/checkpoint").text


def test_page_of_checkpoints_takes_no_foreign_cursor_and_no_silly_limit(
    http: Served, anyone: Headers
) -> None:
    """Http-api 5: a cursor of another caller, damage and sizes out of range are refused."""
    for number in range(2):
        http.group(f"Group {number}")
        http.get(f"audit/events/{http.state.position}/proof")
    cursor = http.get("audit/checkpoints?limit=1").json()["nextCursor"]

    assert code(http.get(f"audit/checkpoints?cursor={cursor}", by=anyone)) == (
        400,
        "cursor.invalid",
    )
    assert code(http.get("audit/checkpoints?cursor=x")) == (400, "cursor.invalid")
    assert code(http.get("audit/checkpoints?limit=0")) == (422, "page.invalid")
    assert code(http.get("audit/checkpoints?limit=1001")) == (422, "page.invalid")


def test_keys_tell_of_a_rotation_and_of_the_origin_before_a_restore(http: Served) -> None:
    """Transparency-log 2: retired keys stay listed, and the cut is visible instead of hidden."""
    before = http.get("audit/checkpoint").text
    size = int(before.split("\n")[1])
    http.sealer.checkpoints.rotate(http.vault, http.inputs)
    http.sealer.checkpoints.begin(http.vault, "iam.example/again", http.inputs, size)

    told = http.get("audit/keys").json()

    assert told["origin"] == "iam.example/again"
    assert [key["verifierKey"].split("+")[0] for key in told["keys"]] == [
        *[ORIGIN] * 2,
        *["iam.example/again"] * 2,
    ]
    assert ["retired" in key for key in told["keys"]] == [True, True, False, False]
    assert told["former"] == [
        {
            "origin": ORIGIN,
            "ended": told["keys"][2]["since"],
            "equalThrough": size,
            "checkpoint": before,
        }
    ]


def test_origin_that_never_signed_has_no_last_checkpoint(http: Served) -> None:
    """An installation restored twice in a row tells of the origin in between, without a note."""
    http.get("audit/checkpoint")
    for name in ("iam.example/two", "iam.example/three"):
        http.sealer.checkpoints.begin(http.vault, name, http.inputs)

    former = http.get("audit/keys").json()["former"]

    assert [*map(sorted, former)][1] == ["ended", "equalThrough", "origin"]


# Proofs


def test_inclusion_of_every_index_is_proved_to_anyone(http: Served, anyone: Headers) -> None:
    """Transparency-log 4: it shows hashes only, so it needs no right in any tenant."""
    of = entries(http)
    size = len(of)
    for index in range(size):
        answer = http.get(f"audit/proofs/inclusion?index={index}&size={size}", by=anyone)
        told = answer.json()
        leaf, root = (base64.b64decode(told[name]) for name in ("leafHash", "root"))
        verify_inclusion(index, size, leaf, hashes(answer), root)
        assert (leaf, root) == (naive_tree.root([of[index]]), naive_tree.root(of))
    newest = http.get("audit/proofs/inclusion?index=0", by=anyone).json()
    assert newest["size"] >= size


def test_consistency_is_proved_from_an_older_checkpoint(http: Served, anyone: Headers) -> None:
    """Transparency-log 3: who kept a checkpoint sees that the log was only added to."""
    old = open_checkpoint(http.get("audit/checkpoint").text, keys(http, anyone))
    http.group("More")
    size = http.state.position

    answer = http.get(f"audit/proofs/consistency?from={old.size}&to={size}", by=anyone)

    told = answer.json()
    new = open_checkpoint(http.get("audit/checkpoint").text, keys(http, anyone))
    assert (told["from"], told["to"]) == (old.size, new.size) == (old.size, size)
    assert base64.b64decode(told["rootFrom"]) == old.root
    assert base64.b64decode(told["rootTo"]) == new.root
    verify_consistency(old.size, new.size, old.root, new.root, hashes(answer))
    same = http.get(f"audit/proofs/consistency?from={size}", by=anyone).json()
    assert (same["to"], same["hashes"]) == (size, [])


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ("consistency?from=0&to=1", (400, "proof.from_zero")),
        ("consistency?from=2&to=1", (400, "proof.range")),
        ("consistency?to=1", (400, "query.invalid")),
        ("consistency?from=-1&to=1", (400, "position.invalid")),
        ("consistency?from=1&to=999999", (404, "proof.not_sealed")),
        ("inclusion?index=1&size=1", (400, "proof.range")),
        ("inclusion?index=0&size=0", (400, "proof.range")),
        ("inclusion?size=1", (400, "query.invalid")),
        ("inclusion?index=x", (400, "position.invalid")),
        ("inclusion?index=0&size=999999", (404, "proof.not_sealed")),
        ("inclusion?index=999999", (404, "proof.not_sealed")),
    ],
)
def test_a_proof_that_does_not_exist_is_refused(
    asked: str, refusal: tuple[int, str], http: Served
) -> None:
    """Transparency-log 3 and 4: from nothing, out of range, or of what is not signed yet."""
    answer = http.get(f"audit/proofs/{asked}")

    assert code(answer) == refusal
    assert ("retry-after" in answer.headers) == (refusal[0] == 404)


# An event


def test_proof_file_and_entry_are_enough_for_whoever_has_a_key(http: Served) -> None:
    """Transparency-log 3: signed on demand, one event is proved offline."""
    http.group("Bots")
    position = http.state.position

    entry = http.get(f"audit/events/{position}/entry")
    proof = http.get(f"audit/events/{position}/proof")

    assert entry.content == entries(http)[position - 1]
    assert entry.headers["content-type"] == "application/octet-stream"
    assert proof.headers["content-type"] == "text/plain; charset=utf-8"
    assert verify_event(proof.text, entry.content, keys(http, http.root)).size >= position
    with pytest.raises(ProofError):
        verify_event(proof.text, entry.content + b" ", keys(http, http.root))


def test_an_event_is_shown_to_its_own_tenants_auditors_only(http: Served) -> None:
    """Security 2.3: to others it is as if there were none; what has no tenant is the owners'."""
    beta = http.tenant("beta")
    of_tenant = {}
    for tenant in (MAIN, beta):
        http.group("Bots", tenant=tenant)
        of_tenant[tenant] = http.state.position
    http.account("anywhere")
    http.get("audit/checkpoint")
    callers = {
        "auditor": _caller(http, MAIN, VIEWER),
        "member": _caller(http, MAIN, {"FLOW": ["VIEW"]}),
        "owner": http.root,
    }

    statuses = {
        (name, what): {
            http.get(f"audit/events/{position}/{form}", by=by).status_code
            for form in ("entry", "proof")
        }
        for name, by in callers.items()
        for what, position in (
            ("own", of_tenant[MAIN]),
            ("beta", of_tenant[beta]),
            ("installation", 1),
            ("none", 999_999),
        )
    }

    assert statuses == {
        ("auditor", "own"): {200},
        ("auditor", "beta"): {404},
        ("auditor", "installation"): {404},
        ("auditor", "none"): {404},
        ("member", "own"): {403},
        ("member", "beta"): {404},
        ("member", "installation"): {404},
        ("member", "none"): {404},
        ("owner", "own"): {200},
        ("owner", "beta"): {200},
        ("owner", "installation"): {200},
        ("owner", "none"): {404},
    }
    hidden, absent = (
        http.get(f"audit/events/{position}/entry", by=callers["auditor"]).json()
        for position in (of_tenant[beta], 999_999)
    )
    assert hidden["code"] == absent["code"] == "auditlog.unknown"
    for text in ("0", "-1", "01", "x", "9" * 30):
        assert code(http.get(f"audit/events/{text}/entry")) == (404, "auditlog.unknown")


def _caller(http: Served, tenant: TenantId, rights: dict[str, list[str]]) -> Headers:
    user = http.user(f"{len(http.state.users)}@example.com", tenants=(tenant,))
    http.allow(user, rights, tenant=tenant)
    return http.bearer(user)


def test_erasing_a_person_leaves_every_proof_as_it_was(http: Served, tmp_path: Path) -> None:
    """Transparency-log 5 and 6: leaves cover ciphertext, so the value goes and no hash does."""
    canary = "erased.ada@canary.example"
    user = http.user(canary, first_name="Erased")
    http.group("Newer")
    size = http.state.position
    position = next(
        fact.position
        for fact in http.facts()
        if isinstance(fact.envelope.event, UserCreated) and fact.envelope.event.id == user
    )
    # Any checkpoint that covers the event is enough for its proof: let there be one of them all.
    http.run(http.service.reach_views(size))
    assert http.get(f"audit/proofs/inclusion?index=0&size={size}").status_code == 200
    kept = {
        form: http.get(f"audit/events/{position}/{form}").content for form in ("entry", "proof")
    }
    sealed = http.state.users[user].email
    assert http.opens(sealed, user, "email")

    http.vault.destroy(sealed.key, FIRST_SIGNING_KEY)

    assert not http.opens(sealed, user, "email")
    assert http.get(f"audit/events/{position}/entry").content == kept["entry"]
    proof = kept["proof"].decode()
    assert verify_event(proof, kept["entry"], keys(http, http.root)).size >= size
    for index in range(size):
        answer = http.get(f"audit/proofs/inclusion?index={index}&size={size}")
        told = answer.json()
        leaf, root = (base64.b64decode(told[name]) for name in ("leafHash", "root"))
        verify_inclusion(index, size, leaf, hashes(answer), root)
        assert root == naive_tree.root(entries(http)[:size])
    http.group("After the erasure")
    assert http.get(f"audit/events/{http.state.position}/proof").status_code == 200
    stored = [file.read_bytes() for file in tmp_path.iterdir() if file.is_file()]
    for content in (*entries(http), *stored, *kept.values()):
        assert canary.encode() not in content


# When it cannot be told


def test_what_is_not_signed_in_time_is_not_there_yet(http: Served) -> None:
    """Transparency-log 4: a signer that may not sign leaves 404 with Retry-After, no proof."""
    http.get("audit/checkpoint")
    http.sealer.stop()
    http.group("After the last checkpoint")

    answer = http.get(f"audit/events/{http.state.position}/proof")

    assert code(answer) == (404, "proof.not_sealed")
    assert answer.headers["retry-after"] == "1"


def _break(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def test_a_tree_that_is_made_anew_is_told_as_such(http: Served, tmp_path: Path) -> None:
    """Unknown means no: while the nodes are missing nobody gets a proof of half of them."""
    http.get("audit/checkpoint")
    _break(tmp_path / "views.db", "DELETE FROM tree_v1")

    assert code(http.get("audit/proofs/inclusion?index=0&size=1")) == (503, "views.behind")


def test_views_that_cannot_be_reached_are_told_as_such(http: Served, tmp_path: Path) -> None:
    """A database that is away is 503, as everywhere."""
    http.get("audit/checkpoint")
    _break(tmp_path / "views.db", "ALTER TABLE tree_v1 RENAME TO gone")

    assert code(http.get("audit/proofs/inclusion?index=0&size=1")) == (503, "store.unreachable")


def test_a_store_of_checkpoints_that_is_away_is_told_as_such(http: Served, tmp_path: Path) -> None:
    """So is the place where the signed notes are."""
    _break(tmp_path / "vault.db", "ALTER TABLE checkpoints RENAME TO gone")

    assert code(http.get("audit/checkpoints")) == (503, "store.unreachable")


def test_many_who_ask_at_once_are_answered_by_one_checkpoint(http: Served) -> None:
    """Transparency-log 2: asking signs at most so often, however many ask."""
    http.group("Bots")
    path = f"audit/events/{http.state.position}/proof"

    answers = http.together(*(http.send("GET", path) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_public_checkpoints_need_no_token_and_events_still_do(http: Served) -> None:
    """Transparency-log 4: by setting, hashes are for everybody; an event's bytes never are."""
    http.get("audit/checkpoint")
    settings = structs.replace(http.service.settings, public_checkpoints=True)
    http.service.settings = settings
    app = create_app(http.service)
    front = Front(
        app, hosts=("iam.example",), public_https=True, new_id=http.inputs.id, on_leak=print
    )

    async def ask(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=cast("Any", _with_state(front)))
        async with httpx.AsyncClient(transport=transport, base_url=settings.public_url) as client:
            return await client.get(f"/api/v1/audit/{path}")

    paths = (
        "checkpoint",
        "checkpoints?limit=1",
        "keys",
        "proofs/inclusion?index=0",
        "proofs/consistency?from=1",
        "events/1/entry",
        "events/1/proof",
    )
    assert [http.run(ask(path)).status_code for path in paths] == [*[200] * 5, 401, 401]
    described = document(app, version="0", public_url="")["paths"]["/api/v1/audit/keys"]["get"]
    assert described["security"] == []


def _with_state(app: ASGIApp) -> ASGIApp:
    async def stated(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {}
        await app(scope, receive, send)

    return stated
