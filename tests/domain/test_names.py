"""Are names well formed, told apart, and never deceptive? (kestra-iam 2.4, security 2.9)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import names

DECEPTIVE = (
    "\x00",
    "\x1b",
    "\x7f",
    "\u200b",
    "\u202e",
    "\u2066",
    "\ufeff",
    "\ue000",
    "\u2028",
    "\U000e0041",
)
# Letters and marks by their category, so that no rule about categories refuses them.
NO_WIDTH = ("\u034f", "\u115f", "\u17b4", "\u180b", "\u3164", "\ufe0f", "\uffa0", "\U000e0100")
PATTERNED: tuple[Callable[[str], str], ...] = (
    names.label,
    names.tenant_id,
    names.identifier,
    names.namespace,
)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (names.label, "ci-bot"),
        (names.label, "0"),
        (names.label, "a" * 63),
        (names.tenant_id, "main"),
        (names.tenant_id, "0_-"),
        (names.tenant_id, "a" * 63),
        (names.identifier, "FLOW"),
        (names.identifier, "*"),
        (names.identifier, "a.b:c_d-e"),
        (names.identifier, "A" * 64),
        (names.namespace, "prod"),
        (names.namespace, "prod.billing_1.A-b"),
        (names.namespace, ".".join("a" * 20)),
        (names.namespace, "a" * 150),
        (names.display_name, "Bots"),
        (names.display_name, "B" * 100),
        (names.description, ""),
        (names.description, "two\nlines\r\nand a\ttab"),
        (names.description, "x" * 2000),
        (names.email, "ada@example.com"),
        (names.resource_id, "r 17"),
        (names.resource_id, "r" * 256),
    ],
)
def test_a_good_name_is_taken_as_it_is(rule: Callable[[str], str], text: str) -> None:
    """Kestra-iam 2.4: the longest and the strangest that are still allowed."""
    assert text == rule(text)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (names.label, ""),
        (names.label, "CI"),
        (names.label, "-a"),
        (names.label, "a-"),
        (names.label, "a--b"),
        (names.label, "a_b"),
        (names.label, "a" * 64),
        (names.tenant_id, "_a"),
        (names.tenant_id, "A"),
        (names.tenant_id, "a" * 64),
        (names.identifier, ""),
        (names.identifier, "A*"),
        (names.identifier, "**"),
        (names.identifier, "A B"),
        (names.identifier, "A/B"),
        (names.identifier, "A" * 65),
        (names.namespace, ""),
        (names.namespace, "."),
        (names.namespace, "a."),
        (names.namespace, "a..b"),
        (names.namespace, "a b"),
        (names.namespace, "a/b"),
        (names.namespace, ".".join("a" * 21)),
        (names.namespace, "a" * 151),
        (names.display_name, ""),
        (names.display_name, " \t "),
        (names.display_name, "B" * 101),
        (names.display_name, "two\nlines"),
        (names.description, "x" * 2001),
        (names.email, "ada"),
        (names.email, "@example.com"),
        (names.email, "a b@example.com"),
        (names.email, "a@b@c"),
        (names.email, "a" * 250 + "@b.de"),
        (names.resource_id, ""),
        (names.resource_id, " r"),
        (names.resource_id, "r" * 257),
        (names.resource_id, "e\u0301"),
    ],
)
def test_a_bad_name_is_refused(rule: Callable[[str], str], text: str) -> None:
    """Kestra-iam 2.4: what does not fit is refused with a reason."""
    with pytest.raises(ValueError, match=r"\Amust "):
        rule(text)


@pytest.mark.parametrize("rule", PATTERNED)
@pytest.mark.parametrize("tail", ["\n", "\r", "\0", " ", "\u0661", "é"])
def test_a_pattern_ends_where_the_text_ends(rule: Callable[[str], str], tail: str) -> None:
    """Security 2.9: ASCII only, and no final newline passes."""
    assert "a1" == rule("a1")
    with pytest.raises(ValueError, match=r"\Amust "):
        rule("a1" + tail)


@pytest.mark.parametrize("character", DECEPTIVE)
def test_what_cannot_be_seen_is_refused(character: str) -> None:
    """Security 2.9: no control, format, zero-width, private or unassigned characters."""
    for rule in (names.display_name, names.description, names.resource_id):
        with pytest.raises(ValueError, match="control"):
            rule(f"a{character}b")


@pytest.mark.parametrize("character", NO_WIDTH)
def test_what_has_no_width_is_refused(character: str) -> None:
    """Security 2.9: no letter or mark of no width makes two names that look alike."""
    for rule in (names.display_name, names.description, names.resource_id):
        with pytest.raises(ValueError, match="no width"):
            rule(f"Bots{character}")


def test_a_name_is_kept_in_its_normal_form() -> None:
    """Security 2.9: NFC and trimmed."""
    assert "Zoë" == names.display_name("  Zoe\u0308 ")
    assert "Ada@example.com" == names.email(" Ada@example.com ")


@for_all(st.text(max_size=30))
def test_a_name_taken_is_taken_again_as_it_is(text: str) -> None:
    """Security 2.9: a normal form is its own normal form."""
    try:
        name = names.display_name(text)
    except ValueError:
        return
    assert name == names.display_name(name)
    assert unicodedata.is_normalized("NFC", name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bots", "bOTS"),
        ("\uff22\uff2f\uff34\uff33", "bots"),
        ("Straße", "STRASSE"),
        ("ﬁt", "FIT"),
        ("é", "É"),
    ],
)
def test_names_that_look_alike_compare_equal(one: str, other: str) -> None:
    """Security 2.9: unique names compare by NFKC case fold."""
    assert names.folded(one) == names.folded(other)


def test_names_that_differ_stay_apart() -> None:
    """Case fold takes no letter for another."""
    assert 4 == len({names.folded(name) for name in ("a", "b", "ä", "a b")})


def test_an_email_is_found_by_any_spelling() -> None:
    """Kestra-iam 2.4: e-mails are unique ignoring case."""
    assert names.canonical_email(" Ada@Example.COM ") == names.canonical_email("ada@example.com")


def test_reserved_tenants_are_well_formed() -> None:
    """Kestra-iam 2.1: a reserved word that no tenant could have would be a typing error."""
    assert {"users", "me", "api", "v1", "well-known"} < names.RESERVED_TENANTS
    assert "main" not in names.RESERVED_TENANTS
    for word in names.RESERVED_TENANTS:
        assert word == names.tenant_id(word)
