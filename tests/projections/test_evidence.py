"""Does a pack say what the product says, and does its verifier find every lie and flipped byte?"""

from __future__ import annotations

import ast
import json
import random
import runpy
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain.access import Question
from domain.events import TOPICS, decode
from domain.explaining import all_held
from domain.ids import MAIN
from domain.state import State, evolve
from projections import evidence, evidence_pack, evidence_verifier, views
from projections.blame import TooMuchError
from projections.evidence_verifier import FOLD, SILENT
from projections.runner import ViewRunner
from tests.domain.test_explaining_histories import drawn
from tests.histories import Histories
from tests.memory_log import MemoryLog
from tests.projections.packs import (
    KEY,
    STRANGER,
    changed_lines,
    key_of,
    members_of,
    refusal,
    sealed,
    signed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from domain.ids import PrincipalId, SubjectId, TenantId

COMMANDS: Final = 150
QUESTIONS: Final = 5
LINES_MAX: Final = 400
EVERYTHING: Final = 1_000_000
SOURCE: Final = Path(evidence_verifier.__file__)


def unhurried() -> None:
    """Take the time that it takes."""


def instant(seconds: float) -> str:
    """Answer an instant as a pack tells it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def form(question: Question) -> dict[str, Any]:
    """Answer a question as a pack tells it."""
    told: dict[str, Any] = {"type": question.type, "action": question.action}
    if question.namespaces:
        told["namespace"] = question.namespaces[0]
    if question.resource is not None:
        told["resource"] = {"type": question.resource[0], "id": question.resource[1]}
    return told


def answers_of(
    history: Histories, seed: int, *, everything: bool = True
) -> Iterator[tuple[TenantId, list[dict[str, Any]]]]:
    """Yield the product's answers about random principals at random moments, by tenant."""
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    facts = [decode(record) for record in history.records]
    for _ in range(QUESTIONS):
        position = chance.randrange(len(facts) // 2, len(facts) + 1)
        state = evolve(State(), facts[:position])
        subject, question = _holding(state, chance)
        if subject in state.groups:
            continue
        who, tenant = cast("PrincipalId", subject), question.tenant
        now = state.at.timestamp() + chance.choice((0.0, 61.0, 90_000.0))
        seen = [
            fact
            for fact in facts[:position]
            if evidence_pack.visible(fact, tenant, everything=everything) is not None
        ]
        at = {"subject": subject, "position": position, "at": instant(now)}
        asked = {**at, "question": form(question)}
        rights, past = evidence.rights, evidence.history
        yield (
            tenant,
            [
                {"kind": "rights", **asked, "answer": rights(state, tenant, who, now, question)},
                {"kind": "rights", **at, "answer": rights(state, tenant, who, now)},
                {
                    "kind": "history",
                    **asked,
                    "answer": past(seen, tenant, who, now, question, unhurried),
                },
                {"kind": "history", **at, "answer": past(seen, tenant, who, now, None, unhurried)},
            ],
        )


def _holding(state: State, chance: random.Random) -> tuple[SubjectId, Question]:
    """Draw a subject and a question, rather of one who holds something."""
    for _ in range(10):
        subject, question = drawn(state, chance)
        if any(True for _ in all_held(state, question.tenant, subject)):
            break
    return subject, question


@settings(max_examples=8, deadline=None)
@for_all(seed=st.integers(0, 2**32))
def test_the_verifier_comes_to_the_products_answers(seed: int) -> None:
    """Issue 5: rights and their history, folded by two folds, shown whole or told by place."""
    history = Histories(seed)
    history.run(COMMANDS)
    for everything in (True, False):
        for tenant, answers in answers_of(history, seed, everything=everything):
            file = sealed(members_of(history.records, tenant, answers, everything=everything))
            assert refusal(file, KEY) == ""


def test_random_answers_are_neither_all_empty_nor_all_alike() -> None:
    """Control of the property above: it compares something."""
    found = []
    for seed in range(12):
        history = Histories(seed)
        history.run(COMMANDS)
        found += [one for _, answers in answers_of(history, seed) for one in answers]

    changes = [one for answer in found if answer["kind"] == "history" for one in answer["answer"]]
    assert sum(bool(one["answer"]) for one in found) > len(found) // 4
    assert any(one["byClock"] for one in changes)
    assert any(one["lost"] for one in changes)


# Lies


@cache
def told() -> dict[str, bytes]:
    """Answer the members of a true pack with some rights in it."""
    seed = 0
    while True:
        history = Histories(seed)
        history.run(120)
        for tenant, answers in answers_of(history, seed):
            if all(one["answer"] for one in answers):
                shown = {"question": answers[0]["question"], "allowed": True}
                about = {"subject": answers[0]["subject"], **shown}
                return members_of(history.records, tenant, answers, kind="decision", **about)
        seed += 1


def _no_permission(lines: list[dict[str, Any]]) -> None:
    lines[1]["answer"][0]["permissions"].pop()


def _another_instant(lines: list[dict[str, Any]]) -> None:
    lines[2]["answer"][0]["at"] = "2020-01-01T00:00:00+00:00"


def _more_rights(lines: list[dict[str, Any]]) -> None:
    lines[1]["answer"][0]["permissions"].append(["SECRET", "DELETE"])


def _nothing(lines: list[dict[str, Any]]) -> None:
    lines[0]["answer"].clear()


def _other_kind(lines: list[dict[str, Any]]) -> None:
    lines[0]["kind"] = "opinion"


@pytest.mark.parametrize(
    "lie", [_no_permission, _another_instant, _more_rights, _nothing, _other_kind]
)
def test_an_answer_that_is_a_lie_is_refused(lie: Callable[[list[dict[str, Any]]], None]) -> None:
    """Issue 5: even the signer cannot answer what its events do not amount to."""
    assert refusal(sealed(told()), KEY) == ""

    assert refusal(sealed(changed_lines(told(), "answers.ndjson", lie)), KEY)


def _removed(lines: list[dict[str, Any]]) -> None:
    at = next(n for n, one in enumerate(lines) if one["topic"] == "binding.created.v1")
    del lines[at:]


def _swapped(lines: list[dict[str, Any]]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def _rewritten(lines: list[dict[str, Any]]) -> None:
    lines[-1]["state"] = lines[-1]["state"].replace("2026", "2025", 1)


def _moved(lines: list[dict[str, Any]]) -> None:
    lines[-1]["position"] += 1


def _renamed(lines: list[dict[str, Any]]) -> None:
    lines[-1]["topic"] = "role.renamed.v1"


def _short_proof(lines: list[dict[str, Any]]) -> None:
    lines[-1]["proof"].pop()


@pytest.mark.parametrize("lie", [_removed, _swapped, _rewritten, _moved, _renamed, _short_proof])
def test_events_that_were_tampered_with_are_refused(
    lie: Callable[[list[dict[str, Any]]], None],
) -> None:
    """Issue 5: removed where it matters, swapped, rewritten, moved, renamed, not proved."""
    assert refusal(sealed(changed_lines(told(), "events.ndjson", lie)), KEY)


def test_an_unknown_topic_is_refused() -> None:
    """Unknown means no: an event that the verifier does not know may take a right away."""
    facts = evidence_verifier.Facts("main")

    with pytest.raises(evidence_verifier.RefusedError, match="unknown topic"):
        facts.apply(1, "role.suspended.v1", {"id": "r"})
    with pytest.raises(evidence_verifier.RefusedError, match="another tenant"):
        facts.apply(1, "binding.created.v1", {"tenant": "beta"})


def test_a_decision_that_was_otherwise_is_refused() -> None:
    """What the page shows in large letters follows from the events as well."""
    pack = json.loads(told()["pack.json"])
    lie = {**told(), "pack.json": json.dumps({**pack, "allowed": False}).encode()}

    assert refusal(sealed(lie), KEY) == "it was decided otherwise"


def test_a_pack_of_another_signer_is_refused() -> None:
    """Who has not the installation's key makes no evidence, whatever keys stand in the pack."""
    forged = {**told(), "keys.txt": f"{key_of(STRANGER)}\n".encode()}

    assert refusal(sealed(told(), STRANGER), KEY) == "no known key has signed this"
    assert refusal(sealed(forged, STRANGER), KEY)
    assert refusal(sealed({**told(), "keys.txt": b"nothing\n"}))
    assert refusal(sealed(told()), str(key_of(STRANGER)))


def test_each_member_is_held_to_the_manifest() -> None:
    """A member that was changed after signing is refused, also the page and the verifier."""
    whole = sealed(told())
    note = evidence_verifier.opened(whole)["manifest.txt"].decode()
    for name, data in told().items():
        assert refusal(evidence_pack.sealed({**told(), name: data + b"\n"}, note), KEY), name
    assert refusal(evidence_verifier.container({**told(), "more.txt": b"", "manifest.txt": b""}))


def test_no_byte_can_be_flipped() -> None:
    """Issue 5: any flipped byte fails; every one near the structure, and a sample of the rest."""
    whole = sealed(told())
    chance = random.Random(5)  # noqa: S311 - nothing is to be secret, all repeatable
    tail = range(len(whole) - 700, len(whole))
    places = {*range(200), *tail, *chance.sample(range(len(whole)), 600)}
    survived = []
    for place in sorted(places):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chance.randrange(8)
        if not refusal(bytes(flipped), KEY):
            survived.append(place)

    assert survived == []
    for cut in (0, 1, 21, len(whole) // 2, len(whole) - 1):
        assert refusal(whole[:cut], KEY)
    assert refusal(whole + b"\0", KEY)
    assert refusal(b"x" + whole, KEY)


# The interval


def interval(records: list[Any], *, forget: int = 0) -> bytes:
    """Answer the pack of all rights at the end of a log, without some of the subjects."""
    state = evolve(State(), [decode(record) for record in records])
    at = {"position": state.position, "at": instant(state.at.timestamp())}
    there = sorted(one for one, held in state.access.items() if MAIN in held)[forget:]
    answers = [
        {
            "kind": "rights",
            "subject": subject,
            **at,
            "answer": evidence.rights(
                state, MAIN, cast("PrincipalId", subject), state.at.timestamp()
            ),
        }
        for subject in there
    ]
    complete = (state.position,)
    return sealed(members_of(records, MAIN, answers, kind="interval", complete=complete))


def test_an_interval_tells_of_all_who_had_access() -> None:
    """Issue 5: who else could; a pack that leaves somebody out is refused."""
    history = Histories(3)
    history.run(150)

    assert refusal(interval(history.records), KEY) == ""
    assert refusal(interval(history.records, forget=1), KEY).startswith("nothing is said")


@pytest.fixture(scope="module")
def file_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Yield views in a file, made anew for each log."""
    engine = views.open_sqlite(tmp_path_factory.mktemp("evidence") / "views.db")
    yield engine
    engine.dispose()


@settings(max_examples=6, deadline=None)
@for_all(seed=st.integers(0, 2**32))
def test_what_a_tenants_rights_rest_on_is_all_found(file_engine: Engine, seed: int) -> None:
    """Issue 5: the events that are chosen amount to the rights of the whole log."""
    history = Histories(seed)
    history.run(COMMANDS)
    log = MemoryLog(f"log-{seed}")
    log.append(1, history.records)
    ViewRunner(log, file_engine).catch_up()
    state, now = history.state, history.state.at.timestamp()
    for tenant in state.tenants:
        with file_engine.connect() as connection:
            found = evidence.of_tenant(
                connection, tenant, state.position - 9, state.position, EVERYTHING
            )
        facts = evidence_verifier.Facts(tenant)
        for position in found:
            record = history.records[position - 1]
            if evidence_pack.visible(decode(record), tenant, everything=True):
                facts.apply(position, record.topic, json.loads(record.state)["event"])
        for subject, held in state.access.items():
            if tenant in held:
                who = cast("PrincipalId", subject)
                grants = facts.grants(subject, datetime.fromtimestamp(now, UTC))
                expected = [evidence_verifier.told(one) for one in grants if one[4]]
                assert expected == evidence.rights(state, tenant, who, now)


def test_more_events_than_may_be_looked_at_are_too_many(
    file_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 6.7: what a pack costs is bounded, whichever of its parts is large."""
    history = Histories(1)
    history.run(200)
    log = MemoryLog("log-large")
    log.append(1, history.records)
    ViewRunner(log, file_engine).catch_up()
    head = history.state.position
    with file_engine.connect() as connection:
        whole = evidence.of_tenant(connection, MAIN, 0, head, EVERYTHING)
        assert whole == evidence.of_tenant(connection, MAIN, 0, head, len(whole))
        for limit in (1, len(whole) // 2, len(whole) - 1):
            with pytest.raises(TooMuchError):
                evidence.of_tenant(connection, MAIN, 0, head, limit)
        monkeypatch.setattr(evidence, "PAGE_ENTRIES", 7)
        assert whole == evidence.of_tenant(connection, MAIN, 0, head, EVERYTHING)


# The verifier itself


def test_every_topic_is_folded_or_silent_and_none_is_both() -> None:
    """A new topic has to be placed here before any pack with it is accepted."""
    assert {f"{name}.v1" for name in (*FOLD, *SILENT)} == set(TOPICS.values())
    assert not set(FOLD) & SILENT


def test_the_verifier_is_short_and_needs_nothing_but_cryptography() -> None:
    """Issue 5: under 400 lines, and no dependency but `cryptography`."""
    source = SOURCE.read_text(encoding="utf-8")
    imports = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert len(source.splitlines()) < LINES_MAX
    assert imports - sys.stdlib_module_names == {"cryptography"}
    assert evidence_pack.verifier().decode() == source


def test_the_verifier_runs_alone(tmp_path: Path) -> None:
    """Issue 5: unpacked from the file, in a process that sees no Muniment."""
    program, pack = tmp_path / "verify.py", tmp_path / "pack.zip"
    program.write_bytes(evidence_pack.verifier())
    pack.write_bytes(sealed(told()))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(sealed(told())[:-1])

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            (sys.executable, "-I", str(program), *arguments),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    trusted, own, bad = run(str(pack), "--key", KEY), run(str(pack)), run(str(broken))
    assert (0, True) == (trusted[0], "by the keys that you gave" in trusted[1])
    assert (0, True) == (own[0], "compare keys.txt" in own[1])
    assert (10, True) == (bad[0], bad[1].startswith("refused: "))
    assert run(str(tmp_path / "none.zip"))[0] == 10
    assert run()[0] == 2


def test_the_program_tells_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 with what is proved, 10 with the reason; a note that is no checkpoint is one."""
    pack, other = tmp_path / "pack.zip", tmp_path / "other.zip"
    pack.write_bytes(sealed(told()))
    other.write_bytes(sealed({**told(), "checkpoint.txt": signed("something else\n").encode()}))

    assert evidence_verifier.main([str(pack), "--key", KEY]) == 0
    assert capsys.readouterr().out.startswith("verified\ndecision in tenant ")
    assert evidence_verifier.main([str(other)]) == 10
    assert capsys.readouterr().err == "refused: this is no checkpoint\n"
    monkeypatch.setattr(sys, "argv", ["verify.py", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SOURCE), run_name="__main__")
    assert ended.value.code == 10


def test_the_page_runs_nothing_and_shows_names_as_text() -> None:
    """Security: a name is no markup, and the page loads nothing from anywhere."""
    evil = "<script>alert(1)</script>"
    pack = evidence_pack.Pack(
        kind="decision",
        tenant=evil,
        log_id=evil,
        made_at="then",
        made_by=evil,
        subject=evil,
        question={"type": evil, "action": evil, "resource": {"type": evil, "id": evil}},
        allowed=False,
        end={"position": 1, "at": evil},
    )
    rights = {"kind": "rights", "subject": evil, "position": 1, "answer": []}

    page = evidence_pack.page(pack, [rights], [], {evil: evil}, lambda _: False)

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "DENIED" in page
    assert "None." in page
