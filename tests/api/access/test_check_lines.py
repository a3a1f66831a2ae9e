"""Is a question a line answered by a line, as they come, for as long as the caller may ask?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import pytest
from litestar.exceptions import LitestarException
from msgspec import UNSET, UnsetType, structs

from api.access import check_bulk
from api.access.lines import LINE_BYTES_MAX
from api.app import create_app
from api.front import BodyClock, Front
from api.judging import Lasting, Moment
from domain.ids import MAIN
from domain.principals import BindingDeleted, TokenRevoked
from tests.answers import problem
from tests.api.access.streaming import Stream, publish_at
from tests.api.checking import ALLOWED, DENIED, Desk, Json, question
from tests.service import NOBODY, Headers, Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH: Final = "main/access/check-bulk"
LINES: Final = {"Content-Type": "application/x-ndjson"}
Work = Callable[[Stream], Coroutine[Any, Any, None]]


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation that several tests ask, and none changes for another."""
    with served(tmp_path_factory.mktemp("lines")) as http:
        yield Desk(http)


def line(desk: Desk, action: str = "UPDATE", **more: Any) -> bytes:  # noqa: ANN401 - the options of question
    """Answer a question about the bot as a line."""
    return msgspec.json.encode(question(desk.bot, action, **more)) + b"\n"


def ask(desk: Desk, lines: bytes, by: Headers | UnsetType = UNSET) -> httpx.Response:
    """Send all lines at once, as the instance owner unless told."""
    by = desk.http.root if by is UNSET else by
    return desk.http.post(PATH, content=lines, headers=LINES, by=by)


def told(response: httpx.Response) -> list[Json]:
    """Answer the lines of a success."""
    assert 200 == response.status_code, response.content
    assert "application/x-ndjson" == response.headers["content-type"]
    return [msgspec.json.decode(text) for text in response.content.splitlines()]


def streamed(desk: Desk, work: Work, by: Headers | UnsetType = UNSET) -> Stream:
    """Do something with a stream that is open, then let it end; by the bot unless told."""

    async def whole() -> Stream:
        stream = Stream(desk.http, desk.by_bot if by is UNSET else by)
        await work(stream)
        await stream.task
        return stream

    return desk.http.run(whole())


# Lines


def test_answers_are_lines_in_the_order_of_the_questions(shared: Desk) -> None:
    """Exactly these bytes, and the position at which all were decided."""
    response = ask(shared, line(shared) + line(shared, "DELETE") + line(shared).rstrip())

    assert ALLOWED + b"\n" + DENIED + b"\n" + ALLOWED + b"\n" == response.content
    assert str(shared.http.state.position) == response.headers["x-muniment-position"]
    assert "nosniff" == response.headers["x-content-type-options"]


def test_lines_are_answered_as_the_items_of_one_body(shared: Desk) -> None:
    """2,000 questions, right and wrong ones: the same answers in both forms."""
    chance = random.Random(3)  # noqa: S311 - nothing is to be secret, all repeatable
    items: list[object] = [
        chance.choice(
            (
                question(shared.bot, chance.choice(("UPDATE", "VIEW"))),
                question("nobody"),
                question(shared.bot, tenant="unheard"),
                question(shared.bot, context={"explain": True}),
                {"subject": 7},
                {},
                None,
                [],
            )
        )
        for _ in range(2_000)
    ]

    lines = told(ask(shared, b"\n".join(map(msgspec.json.encode, items))))

    assert shared.http.post(PATH, {"items": items}).json()["items"] == lines


@pytest.mark.parametrize(
    ("bad", "status", "message"),
    [
        (b"{", 400, "the item is malformed"),
        (b"{}{}", 400, "the item is malformed"),
        (b"x", 400, "the item is malformed"),
        (b'"', 400, "the item is malformed"),
        (b'{"subject": null}', 400, "the item is malformed"),
        (b"{}", 400, "subject is required"),
        (b'{"a": "\xff"}', 400, "the body is not valid UTF-8"),
        (b'{"a": "\x01"}', 400, "the body contains a control character"),
        (b'{"a": "\\u0000"}', 400, "the body contains a control character"),
        (b"[" * 8_000 + b"]" * 8_000, 400, "the body nests deeper than 32"),
        (b'{"a":' * 2_700 + b"1" + b"}" * 2_700, 400, "the body nests deeper than 32"),
        (b'{"a": "' + b"x" * LINE_BYTES_MAX + b'"}', 400, "a line has at most 16384 bytes"),
        (b'{"a": "munu_' + b"x" * 49 + b'"}', 400, "a token that stood here should be revoked"),
    ],
    ids=range(13),
)
def test_a_faulty_line_fails_alone(shared: Desk, bad: bytes, status: int, message: str) -> None:
    """It is a deny with why; those before and behind it are answered."""
    good = line(shared)

    for lines in (good + bad + b"\n" + good, good + b'"\n' * 2 + bad + b"\n" + good):
        first, *_, failed, last = told(ask(shared, lines))
        assert ({"decision": True}, {"decision": True}) == (first, last)
        error = failed["context"]["error"]
        assert (False, status) == (failed["decision"], error["status"])
        assert error["message"].startswith(message)


def test_no_line_is_read_together_with_another(shared: Desk) -> None:
    """A line of two values, and two lines of one, do not shift the answers of the others."""
    good = line(shared)
    for parts in (b"{}{}\n[1\n,2]\n", b"{},{}\n[1\n2]\n", b'{"subject":\n7}\n{}\n'):
        answers = told(ask(shared, good + parts + good))

        assert 5 == len(answers)
        assert [True, False, False, False, True] == [one["decision"] for one in answers]


def test_blank_lines_are_no_questions(shared: Desk) -> None:
    """And either line end will do."""
    lines = b"\n\r\n" + line(shared).rstrip() + b"\r\n \n" + line(shared)

    assert [{"decision": True}] * 2 == told(ask(shared, lines))


def test_words_that_look_like_a_prefix_are_no_tokens(shared: Desk) -> None:
    """`community` is read like any other word."""
    resource = ("FLOW", "municipal-community")

    assert [{"decision": True}] == told(ask(shared, line(shared, resource=resource)))


# What is refused before the first line


@pytest.mark.parametrize("lines", [b"", b"\n", b" \n\r\n"])
def test_no_line_at_all_is_refused(shared: Desk, lines: bytes) -> None:
    """As an empty body is."""
    problem(ask(shared, lines), 400, "body.missing")


def test_who_may_not_be_here_is_refused_as_everywhere(shared: Desk) -> None:
    """A problem, not a line (http-api 2)."""
    problem(ask(shared, line(shared), NOBODY), 401, "auth.required")
    response = shared.http.post("beta/access/check-bulk", headers=LINES, by=shared.by_bot)
    problem(response, 404, "tenant.unknown")
    encoded = {**LINES, "Content-Encoding": "gzip"}
    problem(shared.http.post(PATH, content=b"{}", headers=encoded), 415, "body.encoded")
    latin = {"Content-Type": "application/x-ndjson; charset=latin-1"}
    problem(shared.http.post(PATH, content=b"{}", headers=latin), 415, "body.charset")


# Streaming


def test_lines_are_answered_while_others_are_to_come(desk: Desk) -> None:
    """Whoever waits for an answer before it asks again is not kept waiting."""

    async def in_steps(stream: Stream) -> None:
        for number in range(1, 4):
            stream.give(line(desk)[:-10])
            await stream.settle()
            assert number - 1 == len(stream.lines)
            stream.give(line(desk)[-10:])
            await stream.settle()
            assert number == len(stream.lines)
        assert not stream.has_ended
        stream.give(b"", more=False)

    stream = streamed(desk, in_steps)

    assert [ALLOWED] * 3 == stream.lines
    assert stream.has_ended


def test_all_lines_are_answered_at_one_moment(desk: Desk) -> None:
    """What is published meanwhile changes no answer, however long it takes."""
    before = desk.http.state.position

    stream = streamed(desk, interleaved(desk, BindingDeleted(tenant=MAIN, id=desk.binding)))

    assert [ALLOWED] * 4 == stream.lines
    assert str(before) == stream.headers["x-muniment-position"]
    assert not desk.says(question(desk.bot), desk.by_bot)


def test_answers_of_the_live_graph_throughout_are_caught(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: with the live graph for every piece the answers are of two moments."""
    graph = desk.http.service.graph
    moment = Lasting.moment

    def live(self: Lasting) -> Moment:
        found = moment(self)
        return Moment(found.state, found.now, found.asked, graph.resolve, graph.check)

    monkeypatch.setattr(Lasting, "moment", live)
    stream = streamed(desk, interleaved(desk, BindingDeleted(tenant=MAIN, id=desk.binding)))

    assert [ALLOWED] * 2 + [DENIED] * 2 == stream.lines


def interleaved(desk: Desk, event: Any) -> Work:  # noqa: ANN401 - an event of any noun
    """Answer four pieces of a line each, with an event published before the third."""

    async def work(stream: Stream) -> None:
        # Once for the request itself, then for each piece.
        publish_at(desk.http, 4, event)
        for _ in range(4):
            stream.give(line(desk))
            await stream.settle()
        stream.give(b"", more=False)

    return work


def test_a_caller_whose_token_is_revoked_is_told_no_more(desk: Desk) -> None:
    """The answers end with a line that says so (security 2.5)."""
    text = desk.by_bot["Authorization"].removeprefix("Bearer ")

    stream = streamed(desk, interleaved(desk, TokenRevoked(id=desk.http.token_id(text))))

    *answers, last = stream.lines
    assert [ALLOWED] * 2 == answers
    error = {"status": 401, "code": "token.revoked", "message": "this token was revoked"}
    assert {"error": error} == msgspec.json.decode(last)
    assert stream.has_ended


def test_a_token_that_expires_on_the_way_ends_the_answers(desk: Desk) -> None:
    """Its time is judged for every piece, too."""
    http = desk.http
    by = {"Authorization": f"Bearer {http.token(desk.bot, max_age_seconds=60)}"}

    async def slowly(stream: Stream) -> None:
        stream.give(line(desk))
        await stream.settle()
        http.inputs.advance(60)
        stream.give(line(desk), more=False)

    stream = streamed(desk, slowly, by)

    assert ALLOWED == stream.lines[0]
    assert "token.expired" == msgspec.json.decode(stream.lines[1])["error"]["code"]


def test_a_node_that_halts_on_the_way_ends_the_answers(desk: Desk) -> None:
    """Unknown means no: no more decisions, and 503 in the last line (security 2.1)."""

    async def halting(stream: Stream) -> None:
        stream.give(line(desk))
        await stream.settle()
        desk.http.health = structs.replace(desk.http.health, reason="halted")
        stream.give(line(desk), more=False)

    stream = streamed(desk, halting)

    assert ALLOWED == stream.lines[0]
    assert (503, "not_ready.halted") == tuple(
        msgspec.json.decode(stream.lines[1])["error"][name] for name in ("status", "code")
    )


def test_an_unforeseen_fault_on_the_way_is_no_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is cut off, so that nobody takes it for whole."""

    async def breaking(stream: Stream) -> None:
        stream.give(line(desk))
        await stream.settle()

        def fail(*_: object) -> bool:
            raise ZeroDivisionError

        monkeypatch.setattr(desk.http.service.graph, "check", fail)
        stream.give(line(desk), more=False)
        await stream.settle()
        assert [ALLOWED] == stream.lines
        assert not stream.has_ended

    with pytest.raises(LitestarException, match="after response started"):
        streamed(desk, breaking)


def test_a_caller_that_leaves_ends_the_work(desk: Desk) -> None:
    """In the middle of its lines, and before the first."""

    async def leaving(stream: Stream) -> None:
        stream.give(line(desk) * 2 + b"{")
        await stream.settle()
        stream.leave()

    stream = streamed(desk, leaving)

    assert [ALLOWED] * 2 == stream.lines[:2]
    assert 2 == stream.taken

    async def leaving_at_once(stream: Stream) -> None:
        stream.leave()

    assert 400 == streamed(desk, leaving_at_once).start["status"]


def test_a_stream_that_stops_is_cut_with_a_last_line(desk: Desk) -> None:
    """Security 6.3: what came is answered, then the answers end by saying why."""
    service = desk.http.service
    front = Front(
        create_app(service),
        hosts=("iam.example",),
        public_https=True,
        new_id=desk.http.inputs.id,
        on_leak=lambda *_: None,
        clock=BodyClock(seconds=0.05, grace_seconds=0.01, sweep_seconds=0.01),
    )

    async def silent() -> Stream:
        stream = Stream(desk.http, desk.by_bot, front)
        stream.give(line(desk))
        await stream.task
        return stream

    stream = desk.http.run(silent())

    assert ALLOWED == stream.lines[0]
    assert (408, "body.too_slow") == tuple(
        msgspec.json.decode(stream.lines[1])["error"][name] for name in ("status", "code")
    )
    assert stream.has_ended


def test_a_caller_that_does_not_read_is_not_read_from(desk: Desk) -> None:
    """Back-pressure: while answers wait to be taken, no more questions are taken."""

    async def greedy(stream: Stream) -> None:
        stream.stop_reading()
        for _ in range(50):
            stream.give(line(desk))
        await stream.settle()
        assert stream.taken <= 2
        stream.read_on()
        stream.give(b"", more=False)

    stream = streamed(desk, greedy)

    assert [ALLOWED] * 50 == stream.lines
    assert 51 == stream.taken


def test_a_stream_has_an_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit every line is answered; the one beyond it ends the answers."""
    monkeypatch.setattr(check_bulk, "LINES_MAX", 1_200)

    exactly = told(ask(desk, line(desk) * 1_200))
    *answers, last = told(ask(desk, line(desk) * 1_201))

    assert [{"decision": True}] * 1_200 == exactly == answers
    assert (413, "batch.too_large") == (last["error"]["status"], last["error"]["code"])


def test_others_are_answered_between_the_lines(desk: Desk) -> None:
    """A piece of many lines does not hold up one question (6.4)."""
    http = desk.http
    done: list[str] = []

    async def both() -> None:
        stream = Stream(http, desk.by_bot)
        stream.give(line(desk) * 20_000, more=False)
        stream.task.add_done_callback(lambda _: done.append("lines"))
        await asyncio.sleep(0)
        await http.send("POST", "/access/v1/evaluation", question(desk.bot))
        done.append("one")
        await stream.task
        assert 20_000 == len(stream.lines)

    http.run(both())

    assert ["one", "lines"] == done
