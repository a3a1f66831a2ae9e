"""How does a test tell a journal what happens, and see what it holds?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec import UNSET

from api.journal import Decisions
from api.judging import Asked, Asker, Moment
from api.questions import Evaluation, Subject
from domain.ids import MAIN, ServiceAccountId, TokenId
from domain.state import State
from domain.tokens import Token
from ops import journal as ops_journal
from ops.journal import StoredJournal
from projections import journal
from projections.journal import Entry, Wanted
from tests.fixed_inputs import START, FixedInputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from ops.settings import JournalMode

BOT = ServiceAccountId("bot")
REFUSED = Entry(
    at=START, kind="token_failure", outcome="DENIED", code="auth.invalid", position=1, agent="curl"
)
SIGNED_IN = Entry(at=START, kind="sign_in", outcome="ALLOWED", position=1, principal="ada")


def asker(token: str = "t1") -> Asker:  # noqa: S107 - the id of a token is no secret
    """A caller, by the id of its token."""
    held = Token(
        id=TokenId(token),
        owner=BOT,
        name="deploy",
        description="",
        digest=b"",
        prefix="T00001",
        created=START,
        created_by="ada",
        expires_at=UNSET,
        max_age_seconds=UNSET,
        extended=False,
        enabled=True,
        narrowing=UNSET,
        allowed_addresses=(),
        rotated_from=UNSET,
        rotated_to=UNSET,
        grace_until=UNSET,
        changed=1,
    )
    return Asker(held.owner, held, "192.0.2.1", "req-1")


MOMENT = Moment(
    State(),
    START.timestamp(),
    START.timestamp(),
    lambda *_: None,
    lambda *_: False,
)


def decisions(
    number: int = 1, *, allowed: bool = True, action: str = "VIEW", by: Asker | None = None
) -> Decisions:
    """So many equal answers in one request."""
    asked = Asked(BOT, "FLOW", action, MAIN, None, None, None, "", explains=False)
    written = Evaluation(Subject("service_account", "bot"))
    return Decisions(by or asker(), MOMENT, [(asked, written, allowed)] * number)


class Desk:
    """A journal without a thread of its own: `flush` does what the thread would."""

    def __init__(self, path: Path, mode: JournalMode = "denials", **more: object) -> None:
        self.inputs = FixedInputs()
        self.path = path
        self.engine: Engine = journal.open_sqlite(path)
        exists = cast("Callable[[str], bool]", more.get("exists", lambda _: True))
        self.journal = StoredJournal(
            self.engine, self.inputs, lambda _: b"index", mode=mode, days=1, exists=exists
        )

    def write(self) -> None:
        """Let so much time go by that everything is due, and write it."""
        self.inputs.advance(ops_journal.COUNTS_SECONDS)
        self.journal.flush()

    def kept(self) -> list[Entry]:
        """The entries in the store."""
        with self.engine.connect() as connection:
            found = journal.following(connection, Wanted(tenant=None), 0, 1_000_000)
        return [one.entry for one in found]

    def counted(self) -> int:
        """The sum of all counts in the store."""
        with self.engine.connect() as connection:
            return sum(number for _, number in journal.counted(connection, 0, 2**40))

    def break_store(self) -> None:
        """Let every write fail, as on a full disk."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE journal_head RENAME TO away")

    def mend_store(self) -> None:
        """Let writes succeed again."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO journal_head")
