"""Is a state from a snapshot the very state that was saved, and is every other file discarded?"""

from __future__ import annotations

import os
import stat
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import defstruct

from domain.access import compile_subject
from domain.events import Record, decode
from domain.state import PersistentMap, State, digest, evolve
from ops import packed_state, snapshots, unpacked_state
from ops.bench import data
from ops.snapshots import Snapshots
from ops.store_errors import StoreUnreachableError
from projections import history as past
from tests.histories import LOG_ID, Histories
from tests.memory_log import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

COMMANDS = 120


def grown(seed: int = 1, commands: int = COMMANDS) -> Histories:
    """A history of so many random commands."""
    history = Histories(seed)
    history.run(commands)
    return history


def grown_with(table: str) -> Histories:
    """The first history at whose end there is something in a table of the state."""
    return next(history for history in map(grown, count(1)) if getattr(history.state, table))


def log_of(records: Iterable[Record], log_id: str = LOG_ID) -> MemoryLog:
    """A log that holds these records."""
    log = MemoryLog(log_id)
    log.append(1, list(records))
    return log


def save(path: Path, history: Histories) -> None:
    """Save the history's state at its end."""
    snapshots.save(path, history.state, snapshots.leaf_hash(history.records[-1]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32), commands=st.integers(0, COMMANDS))
def test_load_of_what_was_saved_is_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, seed: int, commands: int
) -> None:
    """Whatever has happened, a state that comes from a snapshot equals the one from the log."""
    history = grown(seed, commands)
    path = tmp_path_factory.mktemp("snapshots") / "snapshot"
    save(path, history)

    loaded = snapshots.load(path, log_of(history.records))

    assert loaded is not None
    assert digest(history.state) == digest(loaded)
    assert history.state == loaded


def test_load_of_masks_beyond_64_bits_is_the_same_state(tmp_path: Path) -> None:
    """A role's mask has as many bits as the tenant has permissions, and all come back."""
    world = data.make_world(0.002, rich=True)
    records = list(data.records(data.history(world, sum(1 for _ in world.events()) + 1)))
    state = evolve(State(), map(decode, records))
    assert max(role.mask for role in state.roles.values()) >= 2**64
    snapshots.save(tmp_path / "snapshot", state, snapshots.leaf_hash(records[-1]))

    loaded = snapshots.load(tmp_path / "snapshot", log_of(records, data.LOG_ID))

    assert loaded is not None
    assert digest(state) == digest(loaded)


def test_load_in_the_middle_of_a_log_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """A snapshot and the events after it amount to what the whole log amounts to."""
    history = grown()
    save(tmp_path / "snapshot", history)
    at = history.state.position
    history.run(COMMANDS)

    loaded = snapshots.load(tmp_path / "snapshot", log_of(history.records))

    assert loaded is not None
    assert at < history.state.position
    tail = evolve(loaded, map(decode, history.records[at:]))
    assert digest(history.state) == digest(tail)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_commands_on_a_loaded_state_leave_the_same_events(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Rules read and folds write inner maps that nobody had asked for, as they do all others."""
    history, restarted = grown(seed), grown(seed)
    path = tmp_path_factory.mktemp("snapshots") / "snapshot"
    save(path, history)
    loaded = snapshots.load(path, log_of(history.records))
    assert loaded is not None
    restarted.state = loaded

    history.run(COMMANDS)
    restarted.run(COMMANDS)

    assert history.records == restarted.records
    assert digest(history.state) == digest(restarted.state)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_rights_in_a_loaded_state_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Every principal and group may do after a start what it might before, in every tenant."""
    history = grown(seed)
    path = tmp_path_factory.mktemp("snapshots") / "snapshot"
    save(path, history)

    loaded = snapshots.load(path, log_of(history.records))

    assert loaded is not None
    now = history.inputs.now().timestamp()
    state = history.state
    for tenant in state.tenants:
        for subject in (*state.users, *state.service_accounts, *state.groups):
            before = compile_subject(state, tenant, subject, now)
            assert before == compile_subject(loaded, tenant, subject, now)


@pytest.mark.parametrize("index", ["by_group", "by_principal"])
def test_an_inner_map_that_forgets_a_row_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    """The comparison would notice one membership less, on either side (positive control)."""
    history = grown_with("memberships")
    save(tmp_path / "snapshot", history)
    whole: Callable[..., list[object]] = getattr(unpacked_state.MembershipRows, index)

    def forgetful(rows: unpacked_state.MembershipRows, numbers: Sequence[int]) -> list[object]:
        return whole(rows, numbers)[1:]

    monkeypatch.setattr(unpacked_state.MembershipRows, index, forgetful)
    loaded = snapshots.load(tmp_path / "snapshot", log_of(history.records))

    assert loaded is not None
    assert history.state != loaded
    assert digest(history.state) != digest(loaded)


def test_principal_and_group_share_a_loaded_membership(tmp_path: Path) -> None:
    """What two indexes hold is in memory once, whichever is asked first."""
    history = grown_with("memberships")
    save(tmp_path / "snapshot", history)
    loaded = snapshots.load(tmp_path / "snapshot", log_of(history.records))
    assert loaded is not None
    assert loaded.memberships

    for held in loaded.memberships.values():
        for group, membership in held.items():
            assert membership is loaded.members[group][membership.principal]


def test_digest_of_a_snapshot_that_lost_a_binding_differs(tmp_path: Path) -> None:
    """The comparison of digests would notice one binding less (positive control)."""
    history = grown_with("bindings")
    save(tmp_path / "snapshot", history)
    loaded = snapshots.load(tmp_path / "snapshot", log_of(history.records))
    assert loaded is not None
    assert loaded.bindings

    lost = msgspec.structs.replace(loaded, bindings=loaded.bindings.delete(min(loaded.bindings)))

    assert digest(history.state) != digest(lost)


def test_aliases_of_a_loaded_state_are_found_both_ways(tmp_path: Path) -> None:
    """By what an application asks, and by whose they are (authzen 3)."""
    history = grown_with("aliases")
    save(tmp_path / "snapshot", history)

    loaded = snapshots.load(tmp_path / "snapshot", log_of(history.records))

    assert loaded is not None
    assert history.state.aliases == loaded.aliases
    assert history.state.aliases_of == loaded.aliases_of


def test_every_member_of_the_state_is_stored_or_built() -> None:
    """No table of the state can be forgotten: it is written, or it is an index built anew."""
    kinds = (packed_state.INDEXES, packed_state.LARGE, set(packed_state.OTHERS))

    assert set(State.__struct_fields__) == set().union(*kinds)
    assert len(State.__struct_fields__) == sum(map(len, kinds))


# What does not fit


def test_load_without_a_file_is_none(tmp_path: Path) -> None:
    """Where there is no snapshot the log is replayed."""
    assert snapshots.load(tmp_path / "snapshot", log_of(grown().records)) is None


def test_load_for_another_log_is_none(tmp_path: Path) -> None:
    """A snapshot of another installation is discarded, though its bytes are sound."""
    history = grown()
    save(tmp_path / "snapshot", history)

    other = log_of(history.records, "00000000-0000-4000-8000-000000000000")

    assert snapshots.load(tmp_path / "snapshot", other) is None


def test_load_for_another_history_is_none(tmp_path: Path) -> None:
    """A log with another record at the position is not the one that the state came from."""
    history = grown()
    save(tmp_path / "snapshot", history)
    last = history.records[-1]

    changed = Record(last.position, last.topic, last.state.replace(b"{", b"{ ", 1))

    assert snapshots.load(tmp_path / "snapshot", log_of([*history.records[:-1], changed])) is None


def test_load_for_a_log_that_is_shorter_is_none(tmp_path: Path) -> None:
    """A log restored from an older backup has not happened as far as the snapshot says."""
    history = grown()
    save(tmp_path / "snapshot", history)

    assert snapshots.load(tmp_path / "snapshot", log_of(history.records[:-1])) is None


@pytest.mark.parametrize("part", range(8))
def test_load_of_a_damaged_file_is_none(tmp_path: Path, part: int) -> None:
    """One flipped bit anywhere is noticed, in the header and in the body."""
    history = grown()
    path = tmp_path / "snapshot"
    save(path, history)
    written = bytearray(path.read_bytes())
    written[len(written) * part // 8 + 2] ^= 1
    path.write_bytes(written)

    assert snapshots.load(path, log_of(history.records)) is None


@pytest.mark.parametrize("size", [0, 1, 300, -1])
def test_load_of_a_cut_file_is_none(tmp_path: Path, size: int) -> None:
    """A file that a power cut left short is noticed."""
    history = grown()
    path = tmp_path / "snapshot"
    save(path, history)
    path.write_bytes(path.read_bytes()[:size])

    assert snapshots.load(path, log_of(history.records)) is None


def test_load_of_another_release_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that a release with another shape of state wrote is discarded."""
    history = grown()
    with monkeypatch.context() as other_release:
        other_release.setattr(snapshots, "FORMAT", "another")
        save(tmp_path / "snapshot", history)

    assert snapshots.load(tmp_path / "snapshot", log_of(history.records)) is None


def test_format_changes_with_any_field_of_the_state() -> None:
    """A field more, less, renamed or retyped, at any depth, is another format."""
    fields: list[list[tuple[str, object]]] = [
        [("id", str)],
        [("id", str), ("name", str)],
        [("key", str)],
        [("id", int)],
        [("id", str | None)],
    ]
    shapes = []
    for members in fields:
        inner = defstruct("Inner", members)
        shapes.append(
            defstruct("Shape", [("things", PersistentMap.__class_getitem__((str, inner)))])
        )

    formats = [snapshots.format_of(shape) for shape in shapes]

    assert len(shapes) == len(set(formats))
    assert formats == [snapshots.format_of(shape) for shape in shapes]


def test_format_is_the_same_in_every_process() -> None:
    """The format hangs on the shape alone: no address and no order of a hash table is in it."""
    assert "0x" not in snapshots.described(State)
    assert snapshots.FORMAT == snapshots.format_of(State)


# The file


def test_save_writes_a_private_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Names and digests of tokens are in it, so nobody else may read it (security 7.2)."""
    path = tmp_path / "snapshot"

    save(path, grown())
    save(path, grown(2))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path] == list(tmp_path.iterdir())


def test_save_that_fails_leaves_the_earlier_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file appears whole or not at all: a full disk costs the new one only."""
    history = grown()
    path = tmp_path / "snapshot"
    save(path, history)
    written = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fdopen", full)
        with pytest.raises(OSError, match="no space"):
            save(path, grown(2))

    assert written == path.read_bytes()
    assert snapshots.load(path, log_of(history.records)) is not None


# The directory


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep snapshots at short distances, so that a short log has several."""
    monkeypatch.setattr(snapshots, "SPARED_POSITIONS", 10)
    monkeypatch.setattr(snapshots, "SAVED_POSITIONS", 100)


def states_of(history: Histories) -> list[State]:
    """The state at every position."""
    states = [State()]
    for record in history.records:
        states.append(evolve(states[-1], [decode(record)]))
    return states


def kept_in(directory: Path) -> list[int]:
    """The positions of the snapshots in a directory."""
    return sorted(int(path.stem.removeprefix("state-")) for path in directory.glob("*"))


@pytest.mark.usefixtures("_small")
def test_the_last_snapshot_and_one_of_each_far_stretch_are_kept(tmp_path: Path) -> None:
    """A start needs the last one; questions about the past need some, and no disk is filled."""
    history = grown(1, 400)
    states = states_of(history)
    kept = Snapshots(tmp_path / "snapshots", log_of(history.records))

    for position in range(20, 350, 15):
        kept.save(states[position])

    assert kept_in(tmp_path / "snapshots") == [110, 200, 305, 335]
    assert stat.S_IMODE((tmp_path / "snapshots").stat().st_mode) == 0o700
    assert kept.last() == states[335]
    assert kept.between(0, 199) == states[110]
    assert kept.between(110, 199) is None


@pytest.mark.usefixtures("_small")
def test_no_snapshot_is_written_near_the_one_before(tmp_path: Path) -> None:
    """What spares nobody a long replay is not worth the disk."""
    history = grown(1, 200)
    states = states_of(history)
    kept = Snapshots(tmp_path, log_of(history.records))

    for position in (9, 50, 59):
        kept.save(states[position])

    assert kept_in(tmp_path) == [50]


@pytest.mark.usefixtures("_small")
def test_a_snapshot_that_does_not_fit_is_removed_and_an_older_one_taken(tmp_path: Path) -> None:
    """A damaged byte, another position, or the name of a former release: nothing rests on it."""
    history = grown(1, 400)
    states = states_of(history)
    kept = Snapshots(tmp_path, log_of(history.records))
    for position in (150, 250, 350):
        kept.save(states[position])
    (tmp_path / "state.snapshot").write_bytes(b"of a former release")
    (tmp_path / "state-350.snapshot").write_bytes(b"damaged")
    (tmp_path / "state-260.snapshot").write_bytes((tmp_path / "state-250.snapshot").read_bytes())
    (tmp_path / "state-250.snapshot").unlink()

    assert kept.last() == states[150]
    assert kept_in(tmp_path) == [150]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("fault", [OSError("no space"), StoreUnreachableError("gone")])
def test_a_snapshot_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """A full disk, or a log that does not answer, costs no answer and no stop."""
    history = grown(1, 200)
    log = log_of(history.records)
    kept = Snapshots(tmp_path, log)

    def failing(*_: object) -> list[Record]:
        raise fault

    monkeypatch.setattr(log, "read", failing)
    kept.save(history.state)

    assert kept_in(tmp_path) == []


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("seed", [1, 2])
def test_the_past_from_real_snapshots_is_the_fold_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A second process answers from the files that a first one left, as the fold does."""
    monkeypatch.setattr(past, "LOOKED_FOR_POSITIONS", 30)
    monkeypatch.setattr(past, "SAVED_POSITIONS", 100)
    monkeypatch.setattr(past, "FAR_POSITIONS", 25)
    history = grown(seed, 400)
    states = states_of(history)
    log = log_of(history.records)
    first = past.History(log, Snapshots(tmp_path, log))
    first.at(len(states) - 1)
    assert kept_in(tmp_path)

    second = past.History(log, Snapshots(tmp_path, log))
    positions = [*range(0, len(states), 7), *reversed(range(0, len(states), 11))]

    assert [states[position] for position in positions] == [*map(second.at, positions)]
