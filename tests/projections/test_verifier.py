"""Does the verifier take what is proved, and nothing that was changed by a single bit?"""

from __future__ import annotations

import ast
import random
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from projections import verifier
from projections.verifier import (
    EMPTY_ROOT,
    Checkpoint,
    InclusionProof,
    ProofError,
    Tree,
    VerifierKey,
    entry_of,
    leaf_of,
    node_of,
    open_checkpoint,
    open_note,
    signature_line,
    unsigned_checkpoint,
    verify_consistency,
    verify_event,
    verify_inclusion,
)
from tests import naive_tree

ORIGIN: Final = "authz.example/muniment/4f1c"
PRIVATE: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY: Final = VerifierKey(ORIGIN, PRIVATE.public_key().public_bytes_raw())
LETTERS: Final = [letter.encode() for letter in "abcdefg"]

# Transparency-log 1 and 2.
ROOTS: Final = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "022a6979e6dab7aa5ae4c3e5e45f7e977112a7e63593820dbec1ec738a24f93c",
    2: "b137985ff484fb600db93107c77b0365c80d78f5b429ded0fd97361d077999eb",
    3: "36642e73c2540ab121e3a6bf9545b0a24982cd830eb13d3cd19de3ce6c021ec1",
    7: "4ae191939f548d9934740b88dea2c5cb89bb8870fc4505cd79dec6bbfaaee9cb",
}
INCLUSION: Final = (
    "d070dc5b8da9aea7dc0f5ad4c29d89965200059c9a0ceca3abd5da2492dcb71d",
    ROOTS[2],
    "e286d3390665a7cdc759453bed0b00cded1842d757e3e6cfe87df53db177e725",
)
CONSISTENCY: Final = (
    "597fcb31282d34654c200d3418fca5705c648ebf326ec73d8ddef11841f876d8",
    *INCLUSION,
)
FOREIGN_KEY: Final = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOREIGN_NOTE: Final = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

Hashes = list[bytes]


def tree_of(entries: list[bytes]) -> Tree:
    """Return the tree of these entries."""
    tree = Tree()
    for entry in entries:
        tree.push(leaf_of(entry))
    return tree


def signed(checkpoint: Checkpoint, *keys: tuple[VerifierKey, Ed25519PrivateKey]) -> str:
    """Return the note of a checkpoint, signed by our key unless others are named."""
    text = checkpoint.text
    lines = [
        signature_line(key, private.sign(text.encode()))
        for key, private in keys or ((KEY, PRIVATE),)
    ]
    return f"{text}\n{''.join(lines)}"


def refused(check: Callable[..., object], *arguments: object) -> str:
    """Return the code with which something is refused."""
    with pytest.raises(ProofError) as refusal:
        check(*arguments)
    assert refusal.value.code in str(refusal.value)
    return refusal.value.code


# The module


def foreign_imports(source: str) -> set[str]:
    """Return what a module imports besides the standard library and `cryptography`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    tops = {name.partition(".")[0] for name in names}
    return tops - sys.stdlib_module_names - {"cryptography"}


def test_verifier_needs_the_standard_library_and_cryptography_only() -> None:
    """Transparency-log 3: whoever doubts the installation can read and run the verifier alone."""
    source = Path(verifier.__file__).read_text(encoding="utf-8")

    assert foreign_imports(source) == set()
    assert foreign_imports(f"import msgspec.json\nfrom domain import ids\n{source}") == {
        "msgspec",
        "domain",
    }


# The tree


def test_roots_are_those_of_the_specification() -> None:
    """Transparency-log 1: the vectors, among them the empty tree and the empty entry."""
    assert {size: tree_of(LETTERS[:size]).root().hex() for size in ROOTS} == ROOTS
    assert leaf_of(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert EMPTY_ROOT == sha256(b"").digest()


def test_roots_equal_those_of_a_second_implementation() -> None:
    """Transparency-log 6: every size to 300, and random sizes beyond."""
    chance = random.Random(3)  # noqa: S311 - nothing is to be secret, all repeatable
    entries = [b"%d" % number for number in range(4_000)]
    beyond = set(chance.sample(range(301, 4_000), 8))
    tree = Tree()
    for size, entry in enumerate(entries, 1):
        tree.push(leaf_of(entry))
        if size <= 300 or size in beyond:
            assert tree.root() == naive_tree.root(entries[:size]), size


def test_a_pushed_leaf_tells_the_subtrees_that_it_completes() -> None:
    """The fourth leaf completes a pair and the four; a copy grows by itself."""
    tree = tree_of(LETTERS[:3])
    copy = tree.copy()
    pair = node_of(leaf_of(b"c"), leaf_of(b"d"))

    made = copy.push(leaf_of(b"d"))

    assert made == leaf_of(b"d") + pair + copy.root()
    assert (tree.size, copy.size) == (3, 4)
    assert tree.root().hex() == ROOTS[3]


def test_an_entry_is_told_apart_from_every_other() -> None:
    """The topic is part of it, so no event is renamed unseen, nor cut at another place."""
    assert entry_of("a.b.v1", b"{}") == b"a.b.v1\n{}"
    assert refused(entry_of, "a\nb", b"{}") == "entry.malformed"


# Proofs


def test_proofs_are_those_of_the_specification() -> None:
    """Transparency-log 1: the vectors of index 2 in 7 leaves, and from 3 leaves to 7."""
    root = bytes.fromhex(ROOTS[7])

    verify_inclusion(2, 7, leaf_of(b"c"), [*map(bytes.fromhex, INCLUSION)], root)
    verify_consistency(3, 7, bytes.fromhex(ROOTS[3]), root, [*map(bytes.fromhex, CONSISTENCY)])


@pytest.mark.parametrize("size", range(1, 65))
def test_every_proof_of_every_pair_of_sizes_is_taken(size: int) -> None:
    """Transparency-log 6: all sizes to 64, all indexes and all earlier sizes, by the other code."""
    entries = [b"%d" % number for number in range(size)]
    root = naive_tree.root(entries)
    for index in range(size):
        path = naive_tree.path(index, entries)
        verify_inclusion(index, size, leaf_of(entries[index]), path, root)
        earlier = naive_tree.root(entries[: index + 1])
        verify_consistency(index + 1, size, earlier, root, naive_tree.proof(index + 1, entries))


def changed(hashes: Hashes) -> Iterator[Hashes]:
    """Yield a list of hashes with each one damaged, cut or gone, one too many, and in disorder."""
    for place, hash_ in enumerate(hashes):
        for byte in range(len(hash_)):
            damaged = bytearray(hash_)
            damaged[byte] ^= 1
            yield [*hashes[:place], bytes(damaged), *hashes[place + 1 :]]
        yield [*hashes[:place], hash_[:-1], *hashes[place + 1 :]]
        yield [*hashes[:place], *hashes[place + 1 :]]
    yield [*hashes, bytes(32)]
    if len(set(hashes)) > 1:
        yield hashes[::-1]


@pytest.mark.parametrize("size", [2, 3, 7, 8, 13])
def test_a_changed_proof_of_inclusion_is_refused(size: int) -> None:
    """Transparency-log 6: each byte of each hash, number, order, index, size, leaf and root."""
    entries = [b"%d" % number for number in range(size)]
    root = naive_tree.root(entries)
    for index in range(size):
        leaf, path = leaf_of(entries[index]), naive_tree.path(index, entries)
        for wrong in changed(path):
            assert refused(verify_inclusion, index, size, leaf, wrong, root).startswith("proof.")
        for other in {*range(-1, size + 1)} - {index}:
            refused(verify_inclusion, other, size, leaf, path, root)
        refused(verify_inclusion, index, size, EMPTY_ROOT, path, root)
        refused(verify_inclusion, index, size, leaf, path, EMPTY_ROOT)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 13])
def test_a_changed_proof_of_consistency_is_refused(size: int) -> None:
    """Transparency-log 6: each byte of each hash, number, order, both sizes and both roots."""
    entries = [b"%d" % number for number in range(size)]
    root = naive_tree.root(entries)
    for earlier in range(1, size):
        begin, hashes = naive_tree.root(entries[:earlier]), naive_tree.proof(earlier, entries)
        for wrong in changed(hashes):
            refused(verify_consistency, earlier, size, begin, root, wrong)
        for other in {*range(-1, size + 1)} - {earlier}:
            refused(verify_consistency, other, size, begin, root, hashes)
        refused(verify_consistency, earlier, size, EMPTY_ROOT, root, hashes)
        refused(verify_consistency, earlier, size, begin, EMPTY_ROOT, hashes)
        refused(verify_consistency, earlier, earlier - 1, begin, root, hashes)


def test_equal_sizes_need_equal_roots_and_no_hash() -> None:
    """Transparency-log 3: a tree continues itself and no other of its size."""
    root = tree_of(LETTERS).root()

    verify_consistency(7, 7, root, root, [])
    assert refused(verify_consistency, 7, 7, root, EMPTY_ROOT, []) == "proof.mismatch"
    assert refused(verify_consistency, 7, 7, root, root, [root]) == "proof.malformed"


@pytest.mark.parametrize("hashes", [[], [EMPTY_ROOT], [*map(bytes.fromhex, CONSISTENCY)]])
def test_nothing_is_proved_from_the_empty_tree(hashes: Hashes) -> None:
    """Transparency-log 3: whatever the proof holds, whoever has no checkpoint has nothing."""
    root = bytes.fromhex(ROOTS[7])

    assert refused(verify_consistency, 0, 7, EMPTY_ROOT, root, hashes) == "proof.from_zero"
    assert refused(verify_consistency, 0, 0, EMPTY_ROOT, EMPTY_ROOT, []) == "proof.from_zero"


def test_sizes_beyond_every_log_are_refused() -> None:
    """A number of any length costs nothing and crashes nothing."""
    root = bytes(32)

    assert refused(verify_inclusion, 1, 2**63, root, [], root) == "proof.range"
    assert refused(verify_consistency, 1, 2**63, root, root, []) == "proof.range"
    assert refused(verify_inclusion, 1, 2**63 - 1, root, [root] * 63, root) == "proof.mismatch"


# Notes


def test_a_note_of_others_is_taken_by_their_key() -> None:
    """Transparency-log 2: the vector of C2SP signed-note, and the key's own text."""
    key = VerifierKey.parse(FOREIGN_KEY)

    assert str(key) == FOREIGN_KEY
    assert open_note(FOREIGN_NOTE, [KEY, key]) == ("This is an example message.\n", (key,))


def test_a_note_with_any_character_changed_is_refused() -> None:
    """Transparency-log 6: text, name, key id, signature and every spelling of its last bits."""
    note = signed(Checkpoint(ORIGIN, 7, bytes.fromhex(ROOTS[7])))

    for place, character in enumerate(note):
        for other in {chr(ord(character) ^ 1), chr(ord(character) ^ 2), "A", "\n", ""} - {
            character
        }:
            refused(open_checkpoint, f"{note[:place]}{other}{note[place + 1 :]}", [KEY])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n\nname AAAAAAAA\n",
        "text\n\n— name\n",
        "text\n\n— name AAAA\n",
        "text\n\n— name ÄÄÄÄÄÄÄÄ\n",
        "text\n\n— na+me AAAAAAAA\n",
        "text\n\n— name AAAAAAAA",
        "te\rxt\n\n— name AAAAAAAA\n",
        "text\n\n" + "— name AAAAAAAA\n" * 101,
        "text" * 25_000 + "\n\n— name AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    """C2SP signed-note: text, a blank line, and one to a hundred whole lines of signatures."""
    assert refused(open_note, note, [KEY]) == "note.malformed"


def test_signatures_by_strangers_are_passed_over_and_prove_nothing() -> None:
    """Transparency-log 2: an unknown key does not harm, and does not help."""
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other = VerifierKey(ORIGIN, stranger.public_key().public_bytes_raw())
    checkpoint = Checkpoint(ORIGIN, 7, bytes.fromhex(ROOTS[7]))
    both = signed(checkpoint, (KEY, PRIVATE), (other, stranger))

    assert open_checkpoint(both, [KEY]) == checkpoint
    assert open_note(both, [other, KEY])[1] == (KEY, other)
    assert refused(open_checkpoint, signed(checkpoint, (other, stranger)), [KEY]) == "note.unknown"
    assert unsigned_checkpoint(both) == checkpoint


def test_one_wrong_signature_by_a_known_key_spoils_the_note() -> None:
    """Transparency-log 2: beside a right one, too; a key that is none signs nothing."""
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other = VerifierKey(ORIGIN, stranger.public_key().public_bytes_raw())
    no_point = VerifierKey(ORIGIN, b"\xff" * 32)
    checkpoint = Checkpoint(ORIGIN, 7, bytes.fromhex(ROOTS[7]))
    note = signed(checkpoint, (KEY, PRIVATE), (other, PRIVATE))

    assert open_checkpoint(note, [KEY]) == checkpoint
    assert refused(open_checkpoint, note, [KEY, other]) == "note.forged"
    assert refused(open_note, signed(checkpoint, (no_point, PRIVATE)), [no_point]) == "note.forged"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        FOREIGN_KEY.replace("530d903a", "530d903b"),
        FOREIGN_KEY.replace("foo", "bar"),
        FOREIGN_KEY.replace("+Aeky", "+Beky"),
        FOREIGN_KEY[:-1],
        f"{FOREIGN_KEY}A",
        str(VerifierKey("a name", KEY.public)),
        str(VerifierKey("", KEY.public)),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    """C2SP signed-note: the id follows from name and key, so a mistyped key is noticed."""
    assert refused(VerifierKey.parse, text) == "key.malformed"


# Checkpoints


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n07\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n-7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n9223372036854775808\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        f"{ORIGIN}\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==\n",
        f"{ORIGIN}\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nmore\n",
        "two words\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Transparency-log 2: three lines, one way to write each, nothing after them."""
    assert refused(Checkpoint.parse, text) == "checkpoint.malformed"


def test_a_checkpoint_is_taken_from_its_own_origin_only() -> None:
    """A known signer of one log cannot speak for another one."""
    note = signed(Checkpoint("authz.example/other", 7, bytes(32)))

    assert refused(open_checkpoint, note, [KEY]) == "note.unknown"


# Proof files


def proof_file() -> str:
    """Return the proof of index 2 in seven leaves."""
    note = signed(Checkpoint(ORIGIN, 7, bytes.fromhex(ROOTS[7])))
    return InclusionProof(2, tuple(map(bytes.fromhex, INCLUSION)), note).text


def test_a_proof_file_with_its_entry_and_a_key_is_enough() -> None:
    """Transparency-log 3: header, index, hashes from the leaf's sibling on, the checkpoint."""
    lines = proof_file().split("\n")

    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 2"]
    assert (len(lines[2]), lines[5], lines[6]) == (44, "", ORIGIN)
    assert verify_event(proof_file(), b"c", [KEY]).size == 7
    assert InclusionProof.parse(proof_file()).text == proof_file()


def test_a_proof_file_with_any_character_changed_is_refused() -> None:
    """Transparency-log 6: whatever is altered in it, it proves nothing any more."""
    text = proof_file()

    for place, character in enumerate(text):
        for other in {chr(ord(character) ^ 1), "\n", ""} - {character}:
            refused(verify_event, f"{text[:place]}{other}{text[place + 1 :]}", b"c", [KEY])
    for entry in (b"", b"b", b"cc"):
        assert refused(verify_event, text, entry, [KEY]) == "proof.mismatch"
    assert refused(verify_event, "A" * 200_000, b"c", [KEY]) == "proof.malformed"


def test_the_proof_of_a_lone_event_has_no_hash() -> None:
    """The first event of a log is the whole tree."""
    note = signed(Checkpoint(ORIGIN, 1, leaf_of(b"a")))

    assert verify_event(InclusionProof(0, (), note).text, b"a", [KEY]).size == 1


@given(text=st.text(max_size=300), entry=st.binary(max_size=20))
def test_whatever_is_shown_is_an_error_and_never_a_crash(text: str, entry: bytes) -> None:
    """Security 6.6: parsers of notes, checkpoints, keys and proofs take any text."""
    for read in (VerifierKey.parse, Checkpoint.parse, unsigned_checkpoint, InclusionProof.parse):
        refused(read, text)
    refused(open_checkpoint, f"{text}\n\n— {text} {text}\n", [KEY])
    refused(verify_event, f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}", entry, [KEY])
