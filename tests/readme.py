"""Which blocks does a document tell its reader to run, and what happens when they are run?

Fenced blocks of bash, sh, console and python are run from top to bottom in one bash session, so
that a variable or a directory set by one is there for the next; a python block sees what was
exported. In a console block the lines behind `$ ` are run and the others are what has to be
printed, with `…` for anything. Two comments tell what a reader does by hand:

- `<!-- runs: server -->` before a block: leave it running, and go on at `listening on`.
- `<!-- given: COMMAND -->` before a block: run this first, for what is to be pasted by hand;
  `$SERVER_OUTPUT` names the file that holds what the last server printed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

RUN: Final = frozenset({"bash", "sh", "console", "python"})
SHOWN: Final = frozenset({"json", "text"})
# As long as a slow machine may take; what hangs is ended.
SESSION_SECONDS_MAX: Final = 600
_PORT: Final = re.compile(r"\b8080\b")
_MARK: Final = "=== block at line "
_END: Final = "=== end"
_BLOCK: Final = re.compile(
    r"(?P<comments>(?:^<!--[^\n]*-->\n+)*)^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# Waits as long as a slow machine needs: what ends the waiting is the line, or the server's end.
_START_SERVER: Final = """
export SERVER_OUTPUT={output}
(
{text}
) >"$SERVER_OUTPUT" 2>&1 &
_server=$!
until grep -q 'listening on' "$SERVER_OUTPUT"; do
  kill -0 "$_server" || {{ cat "$SERVER_OUTPUT"; exit 1; }}
  sleep 0.05
done
cat "$SERVER_OUTPUT"
"""


class Block(Struct, frozen=True):
    """A fenced block: the line of its fence, its language, its text, and the comments before."""

    line: int
    language: str
    text: str
    is_server: bool = False
    given: tuple[str, ...] = ()

    @property
    def expected(self) -> list[str]:
        """What a console block shows as printed."""
        if self.language != "console":
            return []
        return [line for line in self.text.splitlines() if not line.startswith("$ ")]


class Session(Struct, frozen=True):
    """What was printed by each block that began, by its line, and whether the last one ended."""

    printed: dict[int, str]
    finished: bool


def blocks(document: str) -> list[Block]:
    """Every fenced block of a Markdown document, in order."""
    return [
        Block(
            line=document.count("\n", 0, found.start("language")) + 1,
            language=found["language"].strip(),
            text=found["text"],
            is_server="<!-- runs: server -->" in found["comments"],
            given=tuple(re.findall(r"<!-- given: (.*?) -->", found["comments"])),
        )
        for found in _BLOCK.finditer(document)
    ]


def run(listed: list[Block], *, root: Path, directory: Path) -> Session:
    """Run the blocks in order in one session at `root`, with servers and files in `directory`.

    The first block that fails ends the session. Nothing that was started outlives it.
    """
    binaries = Path(sys.executable).parent
    port = _free_port()
    script = directory / "session.sh"
    script.write_text(_script(listed, directory, port), encoding="utf-8")
    environment = {
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "MUNIMENT_DATA_DIR": str(directory / "data"),
        "MUNIMENT_PORT": str(port),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", str(script)],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            # A server keeps the pipe open, so the session itself ends them before it ends.
            printed, _ = process.communicate(timeout=SESSION_SECONDS_MAX)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return Session(_by_block(printed), finished=printed.rstrip().endswith(_END))


def faults(listed: list[Block], session: Session) -> list[str]:
    """The block that failed, with what it printed, and every console block that lies."""
    found: list[str] = []
    if not session.finished:
        line, printed = list(session.printed.items())[-1]
        found.append(f"the block at line {line} failed:\n{printed}")
    for block in listed:
        lines = iter(session.printed.get(block.line, "").splitlines())
        for wanted in block.expected:
            pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
            if not any(re.fullmatch(pattern, line) for line in lines):
                found.append(f"the block at line {block.line} did not print: {wanted}")
                break
    return found


def _script(listed: list[Block], directory: Path, port: int) -> str:
    parts = ["trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for block in listed:
        text = _PORT.sub(str(port), block.text).replace("./ops/start", "muniment dev")
        parts += [f"echo '{_MARK}{block.line}'", *block.given]
        if block.language == "python":
            file = directory / f"block-{block.line}.py"
            file.write_text(text, encoding="utf-8")
            parts.append(f"python {shlex.quote(str(file))}")
        elif block.is_server:
            output = shlex.quote(str(directory / f"server-{block.line}.txt"))
            parts.append(_START_SERVER.format(output=output, text=text))
        elif block.language == "console":
            parts += re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        else:
            parts.append(text)
    return "\n".join([*parts, f"echo '{_END}'", ""])


def _by_block(printed: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for part in printed.split(_MARK)[1:]:
        line, _, text = part.partition("\n")
        found[int(line)] = text.removesuffix(f"{_END}\n")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
