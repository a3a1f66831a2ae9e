r"""Which names, identifiers and paths are well formed, and what is their normal form?

Each rule takes the text as sent, answers its normal form and raises ValueError with the
reason otherwise (kestra-iam 2.4, security 2.9). Patterns end in `\Z`, because `$` lets a
final newline pass.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NAMESPACE_CHARACTERS_MAX: Final = 150
NAMESPACE_SEGMENTS_MAX: Final = 20
NAME_CHARACTERS_MAX: Final = 100
DESCRIPTION_CHARACTERS_MAX: Final = 2000
EMAIL_CHARACTERS_MAX: Final = 254
RESOURCE_ID_CHARACTERS_MAX: Final = 256
REASON_CHARACTERS_MAX: Final = 500

_LABEL = re.compile(r"(?=.{1,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_IDENTIFIER = re.compile(r"(?:[A-Za-z0-9_.:-]{1,64}|\*)\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\Z")

# Control, format (zero-width and bidirectional marks among them), surrogate, private use, not
# assigned, and the two separators that end a line: none of them is seen, all of them deceive.
_DECEPTIVE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Joiners, fillers and variation selectors: letters and marks by their category, but of no width.
_NO_WIDTH = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)

# Words that stand in a path where a tenant may stand (kestra-iam 2.1).
RESERVED_TENANTS: Final = frozenset(
    """
    auditlogs auths banners configs forgotten-password instance invitation invitations
    kill-switches license license-info login logout main-tenant-flows me notifications pebble
    plugins request-code reset-password service-accounts setup tenants users validate-password
    access api auth audit checkpoints compliance console events health internal livez metrics
    oauth openapi positions principals proofs readyz roles schema scim sessions system tokens ui
    v1 well-known
    """.split()
)


def label(text: str) -> str:
    """Answer the name of a service account or token: lower-case words joined by hyphens."""
    if not _LABEL.match(text):
        msg = "must be 1 to 63 lower-case letters, digits and single hyphens between them"
        raise ValueError(msg)
    return text


def tenant_id(text: str) -> str:
    """Answer the id of a tenant; whether it is reserved is another question."""
    if not _TENANT.match(text):
        msg = "must be 1 to 63 characters a-z 0-9 _ - and begin with a letter or digit"
        raise ValueError(msg)
    return text


def identifier(text: str) -> str:
    """Answer a resource type or action: case counts, `*` alone stands for any."""
    if not _IDENTIFIER.match(text):
        msg = "must be 1 to 64 characters A-Z a-z 0-9 _ . : - or a lone *"
        raise ValueError(msg)
    return text


def namespace(text: str) -> str:
    """Answer a dotted namespace path of at most 20 segments and 150 characters."""
    if (
        len(text) > NAMESPACE_CHARACTERS_MAX
        or not _NAMESPACE.match(text)
        or text.count(".") >= NAMESPACE_SEGMENTS_MAX
    ):
        msg = "must be segments of A-Z a-z 0-9 _ - joined by dots, at most 20 and 150 characters"
        raise ValueError(msg)
    return text


def visible(text: str, *, characters_max: int) -> str:
    """Answer text in NFC and trimmed, refusing what a reader could not see."""
    normal = unicodedata.normalize("NFC", text).strip()
    if len(normal) > characters_max:
        msg = f"must be at most {characters_max} characters"
        raise ValueError(msg)
    if any(unicodedata.category(character) in _DECEPTIVE for character in normal):
        msg = "must not contain control, format, private or unassigned characters"
        raise ValueError(msg)
    if _NO_WIDTH.search(normal):
        msg = "must not contain characters of no width"
        raise ValueError(msg)
    return normal


def display_name(text: str) -> str:
    """Answer the name of a group, role, tenant or person."""
    normal = visible(text, characters_max=NAME_CHARACTERS_MAX)
    if not normal:
        msg = "must not be empty"
        raise ValueError(msg)
    return normal


def description(text: str) -> str:
    """Answer a description, which may have lines and may be empty."""
    lines = text.replace("\r\n", "\n").replace("\t", " ").split("\n")
    if len(text) > DESCRIPTION_CHARACTERS_MAX:
        msg = f"must be at most {DESCRIPTION_CHARACTERS_MAX} characters"
        raise ValueError(msg)
    for line in lines:
        visible(line, characters_max=DESCRIPTION_CHARACTERS_MAX)
    return text


def email(text: str) -> str:
    """Answer an e-mail address in the spelling that its owner uses."""
    normal = visible(text, characters_max=EMAIL_CHARACTERS_MAX)
    if not _EMAIL.match(normal):
        msg = "must be an e-mail address"
        raise ValueError(msg)
    return normal


def canonical_email(text: str) -> str:
    """Answer the form by which an e-mail is found: case, spaces and variants do not count."""
    return folded(text.strip())


def resource_id(text: str) -> str:
    """Answer the id of one resource of an application: 1 to 256 visible characters."""
    normal = visible(text, characters_max=RESOURCE_ID_CHARACTERS_MAX)
    if not normal or normal != text:
        msg = "must be 1 to 256 characters without surrounding spaces"
        raise ValueError(msg)
    return normal


def folded(text: str) -> str:
    """Answer the form by which unique names are compared: NFKC, case folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
