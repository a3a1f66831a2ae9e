"""Do secrets stay hidden wherever they are shown by accident?"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import cast

import msgspec
import pytest

from domain.ids import CommandId
from domain.sealed import ERASED, Erased, KeyId, Sealed, Secret, decode_secret, encode_secret

CANARY = "correct horse battery staple"


class SignIn(msgspec.Struct, frozen=True):
    username: str
    password: Secret


DECODER = msgspec.json.Decoder(SignIn, dec_hook=decode_secret)
BODY = msgspec.json.encode({"username": "ada", "password": CANARY})


def test_a_secret_is_decoded_from_a_body_and_revealed_on_demand() -> None:
    """Operations 3: a password travels from the body to the edge in a type of its own."""
    given = DECODER.decode(BODY)

    assert CANARY == given.password.reveal()


def shown(value: object) -> list[str]:
    """Every way in which a value gets into a text by accident."""
    return [
        repr(value),
        str(value),
        format(value),
        f"{value} {value!r}",
        "%s %r" % (value, value),  # noqa: UP031 the logging module still formats so
        repr([value]),
        repr(SignIn("ada", cast("Secret", value))),
    ]


def test_a_secret_is_not_shown() -> None:
    """Security 4.5: repr, str and format of a secret, and of what holds it, are redacted."""
    for text in shown(Secret(CANARY)):
        assert CANARY not in text
        assert "***" in text


def test_a_plain_text_in_its_place_is_shown() -> None:
    """Security 4.5, the control: without the type every one of these ways leaks."""
    assert all(CANARY in text for text in shown(CANARY))


def test_a_secret_is_not_encoded_plainly() -> None:
    """Security 4.5: without the hook encoding fails, with it there are stars."""
    given = DECODER.decode(BODY)

    with pytest.raises(TypeError):
        msgspec.json.encode(given)
    encoded = msgspec.json.encode(given, enc_hook=encode_secret)

    assert b'{"username":"ada","password":"***"}' == encoded


def test_the_hook_encodes_nothing_else() -> None:
    """An unknown type in an answer is a fault, not stars."""
    with pytest.raises(TypeError, match="no encoding for object"):
        msgspec.json.encode(object(), enc_hook=encode_secret)


def test_a_secret_is_not_copied() -> None:
    """Security 4.5: a secret gets into no pickle, and no copy outlives the request unseen."""
    spreads: list[Callable[[object], object]] = [pickle.dumps, copy.copy, copy.deepcopy]
    for spread in spreads:
        with pytest.raises(TypeError, match="never pickled or copied"):
            spread(Secret(CANARY))


@pytest.mark.parametrize("value", [b"1", b"null", b'["x"]', b'{"a":"x"}', b"true"])
def test_a_secret_of_another_type_is_refused_at_its_place(value: bytes) -> None:
    """http-api 2: a password that is no string is a fault of that member."""
    with pytest.raises(msgspec.ValidationError, match=r"Expected `str` - at `\$\.password`"):
        DECODER.decode(b'{"username":"ada","password":%s}' % value)


def test_secrets_compare_by_value() -> None:
    """Two secrets of one text are equal and nothing else is."""
    assert Secret(CANARY) == Secret(CANARY)
    assert {Secret(CANARY)} == {Secret(CANARY)}
    assert Secret(CANARY) != Secret("other")
    assert Secret(CANARY) != CANARY


def test_a_sealed_field_survives_the_wire() -> None:
    """Design 3: what is in the event is exactly what is read from it again, or is known erased."""
    sealed = Sealed(
        key=KeyId("k"), command_id=CommandId("c"), text=bytes(range(256)), commit=bytes(32)
    )
    decoder = msgspec.json.Decoder(Sealed | Erased)

    assert sealed == decoder.decode(msgspec.json.encode(sealed))
    assert ERASED is decoder.decode(msgspec.json.encode(ERASED))
