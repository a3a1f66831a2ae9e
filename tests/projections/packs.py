"""How does a test make an evidence pack of a log, and lie in one?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.events import Fact, Record, decode
from projections import evidence_pack, evidence_verifier
from projections.evidence_pack import Pack, Proved, Signature
from projections.transparency import leaf
from projections.verifier import Checkpoint, Tree, VerifierKey, signature_line, split

if TYPE_CHECKING:
    from domain.ids import TenantId

Json = dict[str, Any]

ORIGIN: Final = "iam.example/log-1"
SIGNER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def key_of(signer: Ed25519PrivateKey) -> VerifierKey:
    """Answer the key by which a signer's notes are judged."""
    return VerifierKey(ORIGIN, signer.public_key().public_bytes_raw())


KEY: Final = str(key_of(SIGNER))


def signed(text: str, signer: Ed25519PrivateKey = SIGNER) -> str:
    """Answer a note."""
    return f"{text}\n{signature_line(key_of(signer), signer.sign(text.encode()))}"


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Answer the hashes that prove a leaf (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    middle = split(len(leaves))
    left, right = leaves[:middle], leaves[middle:]
    if index < middle:
        return [*path(index, left), root(right)]
    return [*path(index - middle, right), root(left)]


def root(leaves: Sequence[bytes]) -> bytes:
    """Answer the root of a tree."""
    tree = Tree()
    for one in leaves:
        tree.push(one)
    return tree.root()


def members_of(
    records: Sequence[Record],
    tenant: TenantId,
    answers: Sequence[Json],
    *,
    everything: bool = True,
    **about: Any,  # noqa: ANN401 - the members of a pack
) -> dict[str, bytes]:
    """Answer the members of a pack of a whole log, as a tenant or an instance owner is given it."""
    leaves = [leaf(record) for record in records]
    seen: list[tuple[Fact, bool]] = []
    lines = []
    for number, record in enumerate(records):
        fact = decode(record)
        is_shown = evidence_pack.visible(fact, tenant, everything=everything)
        if is_shown is not None:
            seen.append((fact, is_shown))
            proved = Proved(record, tuple(path(number, leaves)))
            lines.append(evidence_pack.event_line(proved, is_shown=is_shown))
    common: Json = {"kind": "principal", "log_id": "log-1", "made_at": "then", "made_by": "ada"}
    pack = Pack(
        **{**common, "end": {"position": len(records), "at": "then"}, **about}, tenant=tenant
    )
    checkpoint = signed(Checkpoint(ORIGIN, len(records), root(leaves)).text)
    signature = Signature(origin=ORIGIN, checkpoint=checkpoint, keys=(KEY,))
    page = evidence_pack.page(pack, answers, seen, {}, lambda _: False)
    return evidence_pack.members(pack, answers, lines, page, signature)


def sealed(members: dict[str, bytes], signer: Ed25519PrivateKey = SIGNER) -> bytes:
    """Answer the file of these members, signed."""
    return evidence_pack.sealed(members, signed(evidence_pack.manifest(members, ORIGIN), signer))


def changed_lines(
    members: dict[str, bytes], name: str, change: Callable[[list[Json]], object]
) -> dict[str, bytes]:
    """Answer the members with the lines of one changed in place."""
    lines = [json.loads(line) for line in members[name].decode().split("\n")[:-1]]
    change(lines)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    return {**members, name: text.encode()}


def refusal(file: bytes, *keys: str) -> str:
    """Answer with which words a pack is refused, empty where it is not."""
    try:
        evidence_verifier.verify(file, keys)
    except evidence_verifier.RefusedError as fault:
        return str(fault)
    except Exception as fault:  # noqa: BLE001 - as the program itself takes it
        return type(fault).__name__
    return ""
