"""Does everything that README.md tells its reader to run do what it says?"""

from __future__ import annotations

from pathlib import Path

from tests import readme
from tests.tidy import ROOT

LISTENER = """\
<!-- runs: server -->
```bash
python -c '
import socket, time
listener = socket.create_server(("127.0.0.1", 8080))
print("token: s3cret", flush=True)
print("listening on", 8080, flush=True)
connection, _ = listener.accept()
connection.sendall(b"hello")
connection.close()
time.sleep(600)'
```
"""


def faults_of(document: str, directory: Path) -> list[str]:
    """Run every block of the document; what went wrong."""
    listed = readme.blocks(document)
    return readme.faults(listed, readme.run(listed, root=ROOT, directory=directory))


def test_the_readme_names_the_language_of_every_block() -> None:
    """No block escapes from being run by a language that nobody knows."""
    listed = readme.blocks((ROOT / "README.md").read_text(encoding="utf-8"))

    unknown = [block for block in listed if block.language not in readme.RUN | readme.SHOWN]

    assert unknown == []


def test_the_readme_runs(tmp_path: Path) -> None:
    """A reader who runs the blocks from top to bottom sees each of them succeed."""
    document = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = [block for block in readme.blocks(document) if block.language in readme.RUN]

    session = readme.run(listed, root=ROOT, directory=tmp_path)

    assert listed
    assert readme.faults(listed, session) == []
    assert list(session.printed) == [block.line for block in listed]


def test_blocks_share_one_session(tmp_path: Path) -> None:
    """What one block exports, the next ones see, bash and python alike."""
    document = (
        "```bash\nexport WORD=muniment\n```\n"
        "```python\nimport os\nassert os.environ['WORD'] == 'muniment'\n```\n"
        "```console\n$ echo one $WORD\none …\n```\n"
    )

    assert faults_of(document, tmp_path) == []


def test_a_failing_block_is_noticed(tmp_path: Path) -> None:
    """The first block that fails is named, with what it printed, and none runs after it."""
    document = "```bash\ntrue\n```\n\n```bash\necho because\nfalse\n```\n\n```bash\ntrue\n```\n"

    assert faults_of(document, tmp_path) == ["the block at line 5 failed:\nbecause\n"]


def test_a_failing_python_block_is_noticed(tmp_path: Path) -> None:
    """An assertion that does not hold fails the block."""
    (fault,) = faults_of("```python\nassert 1 == 2, 'not so'\n```\n", tmp_path)

    assert "AssertionError: not so" in fault


def test_a_block_that_ends_the_session_is_noticed(tmp_path: Path) -> None:
    """Leaving early is no success, because the later blocks did not run."""
    document = "```bash\nexit 0\n```\n```bash\nfalse\n```\n"

    assert faults_of(document, tmp_path) == ["the block at line 1 failed:\n"]


def test_a_console_block_that_lies_is_noticed(tmp_path: Path) -> None:
    """What a console block shows as printed has to be printed."""
    document = "```console\n$ echo right\nwrong\n```\n"

    assert faults_of(document, tmp_path) == ["the block at line 1 did not print: wrong"]


def test_a_server_block_runs_beside_the_others(tmp_path: Path) -> None:
    """A server is left running on a free port, and its output can be pasted from."""
    document = (
        LISTENER
        + """
<!-- given: TOKEN="$(sed -n 's/^token: //p' "$SERVER_OUTPUT")" -->
```bash
test "$TOKEN" = s3cret
exec 3<>/dev/tcp/127.0.0.1/8080
test "$(cat <&3)" = hello
```
"""
    )

    assert faults_of(document, tmp_path) == []


def test_a_server_that_ends_at_once_is_noticed(tmp_path: Path) -> None:
    """A server which never listens fails its block with what it printed."""
    document = "<!-- runs: server -->\n```bash\necho port taken\n```\n"

    (fault,) = faults_of(document, tmp_path)

    assert "port taken" in fault
