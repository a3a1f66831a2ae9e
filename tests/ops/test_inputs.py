"""Are ids and tokens as unpredictable, and instants as exact, as everything else relies on?"""

from __future__ import annotations

import re
from datetime import UTC, timedelta

import pytest

from domain.token_text import TokenKind, well_formed
from ops.inputs import Inputs, SystemInputs
from tests.fixed_inputs import START, FixedInputs

BOTH = pytest.mark.parametrize("inputs", [SystemInputs(), FixedInputs()], ids=["system", "fixed"])


@BOTH
def test_ids_are_opaque_and_never_repeat(inputs: Inputs) -> None:
    """Style 6.2: 22 characters of base62, no two alike."""
    ids = [inputs.id() for _ in range(10_000)]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9A-Za-z]{22}", one) for one in ids)


def test_ids_use_all_their_bits() -> None:
    """Style 6.2: 128 random bits; were they fewer, some place would show few characters."""
    ids = [SystemInputs().id() for _ in range(5_000)]

    assert [len({one[place] for one in ids}) for place in range(1, 22)] == [62] * 21


@BOTH
def test_bytes_have_the_size_asked_for_and_never_repeat(inputs: Inputs) -> None:
    """Security 7.3: nonces are never used twice."""
    drawn = [inputs.random_bytes(size) for size in (12, 44, 44, 32, 100)]

    assert [12, 44, 44, 32, 100] == [len(one) for one in drawn]
    assert len(set(drawn)) == 5


@BOTH
def test_tokens_have_their_form_and_prefixes_theirs(inputs: Inputs) -> None:
    """Security 4.1 and kestra-iam 6.2: a well-formed secret and a public label of six."""
    for kind in TokenKind:
        text = inputs.token(kind).reveal()
        assert well_formed(text)
        assert text.startswith(kind.value)
    assert re.fullmatch(r"[0-9A-Z]{6}", inputs.token_prefix())


def test_the_label_is_no_part_of_the_secret() -> None:
    """kestra-iam 6.2: what a listing shows gives none of the 256 bits away."""
    inputs = SystemInputs()

    assert not any(
        inputs.token_prefix() in inputs.token(TokenKind.USER).reveal().upper() for _ in range(200)
    )


@BOTH
def test_the_instant_is_aware_and_in_utc(inputs: Inputs) -> None:
    """Style 6.2: instants are aware UTC datetimes."""
    assert UTC is inputs.now().tzinfo
    assert inputs.monotonic() <= inputs.monotonic()


@BOTH
def test_the_timestamp_is_the_same_instant(inputs: Inputs) -> None:
    """Operations 1: the clock that every check reads, without a date being made of it."""
    before, read = inputs.now().timestamp(), inputs.timestamp()

    assert before <= read <= inputs.now().timestamp() + 1e-6


def test_the_instant_keeps_microseconds() -> None:
    """Audit: two acts within one millisecond are told apart where the clock can."""
    inputs = SystemInputs()

    assert any(inputs.now().microsecond % 1000 for _ in range(50))


def test_the_fixed_clock_moves_only_when_told() -> None:
    """Style 6.7: time never decides a test."""
    inputs = FixedInputs()

    assert START == inputs.now() == inputs.now()
    inputs.advance(1.5)
    assert START + timedelta(seconds=1.5) == inputs.now()
    assert inputs.monotonic() == 1.5
