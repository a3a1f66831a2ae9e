"""What does an entry of the trail look like that has everything an entry can have?"""

from __future__ import annotations

from datetime import UTC, datetime

from domain.ids import MAIN, CommandId
from projections.entries import Entry


def entry() -> Entry:
    """Answer an entry whose every id is a word and that knows no name."""
    return Entry(
        position=7,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        tenant=MAIN,
        topic="group.created.v1",
        type="CREATE",
        resource="GROUP",
        object_id="object-1",
        object_name=None,
        namespace=None,
        user_id="user-1",
        group_id="group-1",
        role_id="role-1",
        token_id="token-1",
        token_name=None,
        alias_type="identity",
        actor_type="service_account",
        actor_id="actor-1",
        actor_name=None,
        actor_token_id=None,
        actor_via=None,
        actor_address=None,
        actor_user_agent=None,
        actor_impersonator=None,
        command_id=CommandId("command-1"),
        correlation_id="request-1",
        reason=None,
        before=None,
        after=None,
    )
