"""Are sinks made, paused, replayed and ended as the rules say, and by instance owners only?"""

from __future__ import annotations

import pytest
from msgspec import structs

from domain.ids import SinkId
from domain.limits import SINKS_MAX
from domain.sinks import (
    CreateSink,
    DeleteSink,
    PauseSink,
    ReplaySink,
    ResumeSink,
    SinkCreated,
    SinkDeleted,
    SinkPaused,
    SinkReplayed,
    SinkResumed,
)
from domain.state import State, evolve
from tests.domain.world import ADA, ROOT, WORLD
from tests.spec import facts

SIEM = SinkId("snk_siem")
URL = "https://siem.example/in"
CREATE = CreateSink(id=SIEM, name="SIEM", kind="webhook", url=URL, types=("token.*",), after=1)
CREATED = SinkCreated(id=SIEM, name="SIEM", kind="webhook", url=URL, types=("token.*",), after=1)
THERE = WORLD.and_then(CREATED)


def test_create_sink_says_what_is_sent_where() -> None:
    """Audit-export 2.2: kind, address, filter and start; a name is trimmed."""
    WORLD.when(CREATE, by=ROOT).then(CREATED)
    WORLD.when(structs.replace(CREATE, name=" SIEM "), by=ROOT).then(CREATED)
    WORLD.when(CreateSink(id=SIEM, name="archive", kind="file"), by=ROOT).then(
        SinkCreated(id=SIEM, name="archive", kind="file")
    )


@pytest.mark.parametrize(
    "command",
    [
        CREATE,
        PauseSink(id=SIEM),
        ResumeSink(id=SIEM),
        ReplaySink(id=SIEM, after=0),
        DeleteSink(id=SIEM),
    ],
    ids=lambda command: type(command).__name__,
)
def test_any_command_by_another_is_refused(command: CreateSink) -> None:
    """Security 5.8: only instance owners decide what leaves the house."""
    THERE.when(command, by=ADA).refuses("privilege.required")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://siem.example/in",
        "ftp://siem.example",
        "https://",
        "https://siem.example/in?token=x",
        "https://siem.example/#x",
        "https://user:secret@siem.example/",
        "https://siem.example:0/",
        "https://siem.example:x/",
        "https://[::1/",
        "https://siem.example/\u00e9",
        "https://siem.example/a b",
        "https://siem.example/\r\nX: y",
        "https://siem.example/" + "a" * 500,
    ],
)
def test_create_sink_with_an_unsafe_address_is_refused(url: str) -> None:
    """Security 5.8: https only, and no place for a secret, which the log would keep for ever."""
    WORLD.when(structs.replace(CREATE, url=url), by=ROOT).refuses("sink.invalid")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/in", "http://localhost/", "http://[::1]:9/"])
def test_create_sink_on_this_machine_may_be_http(url: str) -> None:
    """Whether loopback may be connected to at all is the operator's setting."""
    WORLD.when(structs.replace(CREATE, url=url), by=ROOT).then(structs.replace(CREATED, url=url))


def test_create_sink_that_does_not_fit_is_refused() -> None:
    """A name, a filter, a start or a file with an address that means nothing."""
    for changed, code in (
        ({"name": "\u202e"}, "sink.invalid"),
        ({"types": ("TOKEN",)}, "sink.invalid"),
        ({"types": ("a" * 101,)}, "sink.invalid"),
        ({"types": ("token.*",) * 21}, "sink.invalid"),
        ({"kind": "file"}, "sink.invalid"),
        ({"after": -1}, "sink.position"),
        ({"after": 10_000}, "sink.position"),
    ):
        WORLD.when(structs.replace(CREATE, **changed), by=ROOT).refuses(code)


def test_create_sink_beyond_the_limit_is_refused() -> None:
    """Security 6.2: everything that a caller can make grow has a limit."""
    many = [structs.replace(CREATED, id=SinkId(f"snk_{number}")) for number in range(SINKS_MAX)]

    WORLD.and_then(*many).when(CREATE, by=ROOT).refuses("sink.too_many")


def test_pause_sink_is_quiet_where_it_is_paused() -> None:
    """A pause is an act, and said once."""
    THERE.when(PauseSink(id=SIEM), by=ROOT).then(SinkPaused(id=SIEM))
    THERE.and_then(SinkPaused(id=SIEM)).when(PauseSink(id=SIEM), by=ROOT).records_nothing()


def test_resume_sink_also_tells_one_that_halted_to_go_on() -> None:
    """A halt is no act of anybody and stands beside the log, so resuming is always recorded."""
    THERE.when(ResumeSink(id=SIEM), by=ROOT).then(SinkResumed(id=SIEM))


def test_replay_sink_sends_from_a_position_on() -> None:
    """Audit-export 2.2: replay is a command; the future cannot be replayed."""
    THERE.when(ReplaySink(id=SIEM, after=0), by=ROOT).then(SinkReplayed(id=SIEM, after=0))
    THERE.when(ReplaySink(id=SIEM, after=10_000), by=ROOT).refuses("sink.position")


def test_delete_sink_ends_it() -> None:
    """What is deleted is sent no more."""
    THERE.when(DeleteSink(id=SIEM), by=ROOT).then(SinkDeleted(id=SIEM))


@pytest.mark.parametrize(
    "command",
    [PauseSink(id=SIEM), ResumeSink(id=SIEM), ReplaySink(id=SIEM, after=0), DeleteSink(id=SIEM)],
    ids=lambda command: type(command).__name__,
)
def test_a_command_about_no_sink_is_refused(command: PauseSink) -> None:
    """An unknown id is not found."""
    WORLD.when(command, by=ROOT).refuses("sink.unknown")


def test_the_state_tells_from_where_a_sink_sends_and_since_when() -> None:
    """A replay begins anew, whatever had been sent; an event about a deleted sink changes none."""
    said = (CREATED, SinkPaused(id=SIEM), SinkReplayed(id=SIEM, after=0), SinkResumed(id=SIEM))

    state = evolve(State(), facts(State(), said))
    gone = evolve(state, facts(state, (SinkDeleted(id=SIEM), *said[1:], SinkDeleted(id=SIEM))))

    sink = state.sinks[SIEM]
    assert (sink.after, sink.begun, sink.paused, sink.changed) == (0, 3, False, 4)
    assert not gone.sinks
