"""Does a token ever hold more than its owner, or outlive what it hangs on? (security 2.5)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec import UNSET

from domain import access
from domain.access import Narrowing, Rights
from domain.commands import decide, require_usable
from domain.errors import CredentialError, DomainError
from domain.ids import MAIN, TenantId, TokenId
from domain.permissions import Permission
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.state import evolve
from domain.tokens import IssueToken
from tests import oracle
from tests.domain.campaign import ASKED, Campaign
from tests.domain.makers import MAKERS, TENANTS
from tests.domain.model import QUESTIONS, Question, leaves, model_of
from tests.domain.test_access import narrowings
from tests.domain.world import (
    ADA,
    BETA,
    CAL,
    DAN,
    DRONE,
    EVE,
    NEW_TOKEN,
    ROOT,
    SHARED,
    WORLD,
    digest_of,
    prefix_of,
)
from tests.domain.world import token as issued
from tests.spec import context, facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.commands import Context
    from domain.state import Facts
    from domain.tokens import Token

CALLERS = (ROOT, ADA, CAL, DAN, EVE, DRONE)


def scope_of(asked: Question) -> Scope:
    """Answer the scope of a question that names one place."""
    _, _, namespace, resource = asked
    if resource:
        type_, _, id_ = resource.partition("/")
        return Scope(resource=Resource(type_, id_))
    return Scope(namespace=namespace) if namespace else WHOLE_TENANT


def usable(state: Facts, circumstances: Context) -> bool:
    """Tell whether the gate takes the credential."""
    try:
        require_usable(state, circumstances)
    except CredentialError:
        return False
    return True


class Tokens(RuleBasedStateMachine):
    """An installation whose tokens are compared with their owners after every command."""

    def __init__(self) -> None:
        super().__init__()
        self.campaign = Campaign(0)

    @rule(seed=st.integers(min_value=0, max_value=2**32), minutes=st.integers(0, 600))
    def command(self, seed: int, minutes: int) -> None:
        """Give a random command; most callers may do a lot."""
        one = self.campaign
        one.random.seed(seed)
        one.at += timedelta(minutes=minutes)
        command = MAKERS[one.pick(one.kinds)](one)
        try:
            events = decide(one.state, command, context(one.pick(CALLERS), at=one.at))
        except DomainError:
            return
        if isinstance(events, tuple):
            one.state = evolve(one.state, facts(one.state, events, one.at))

    @invariant()
    def no_token_is_wider_than_its_owner(self) -> None:
        """Rights of a token = its scope and its owner's rights, at the moment of use."""
        one = self.campaign
        model = model_of(one.state)
        for token in one.state.tokens.values():
            with_token = context(token.owner, at=one.at, token=token.id)
            expected = self.is_live(token)
            assert expected == usable(one.state, with_token)
            if not expected:
                continue
            for tenant in TENANTS:
                held = access.rights(one.state, with_token, tenant)
                for asked in ASKED:
                    now = one.at.timestamp()
                    owners = oracle.allowed(model, tenant, token.owner, asked, now)
                    within = owners and leaves(token.narrowing, tenant, asked)
                    assert within == self.may(held, asked)

    def may(self, held: Rights, asked: Question) -> bool:
        """Ask for the right itself, without what the escalation rule adds for an owner."""
        return held._replace(everything=False).holds(asked[0], asked[1], scope_of(asked))

    def is_live(self, token: Token) -> bool:
        """Tell, by the words of kestra-iam 6.2, whether the token may be used."""
        state, at = self.campaign.state, self.campaign.at
        principal = state.users.get(token.owner) or state.service_accounts.get(token.owner)
        over = token.expires_at is not UNSET and at >= token.expires_at
        return principal is not None and principal.enabled and token.enabled and not over


def run_machine(examples: int) -> None:
    """Run the comparison over so many histories."""
    run_state_machine_as_test(
        Tokens, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )


def test_no_token_is_wider_than_its_owner() -> None:
    """Security 2.5: rights of a token are its scope within its owner's rights, at each use."""
    run_machine(8)


def copied_at_issue(held: Rights) -> Rights:
    """Answer as if a token held all that could be had when it was made."""
    return held._replace(masks={"": (1 << 400) - 1})


def never_narrowed(held: Rights) -> Rights:
    """Answer as if no token were narrowed."""
    return held._replace(narrowing=UNSET)


@pytest.mark.parametrize("broken", [copied_at_issue, never_narrowed])
def test_a_token_with_rights_of_its_own_is_caught(
    broken: Callable[[Rights], Rights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 2.5, the control: rights copied into the token, or not cut down by it."""
    real = access.rights

    def rights(state: Facts, circumstances: Context, tenant: TenantId) -> Rights:
        return broken(real(state, circumstances, tenant))

    monkeypatch.setattr(access, "rights", rights)

    with pytest.raises(AssertionError):
        run_machine(5)


def test_a_privilege_narrowed_to_some_permissions_is_no_more_than_those() -> None:
    """Kestra-iam 8: what an instance owner counts as holding is cut down by its token."""
    from_root = Campaign(0).state
    held = access.rights(from_root, context(ROOT, token="tok_root"), BETA)

    assert Narrowing(tenants=(MAIN,), instance_owner=True) == held.narrowing
    assert not held.passes(Permission("ROLE", "DELETE"))
    assert access.rights(from_root, context(ROOT, token="tok_root"), MAIN).passes(
        Permission("ROLE", "DELETE")
    )


@settings(max_examples=60)
@for_all(own=narrowings, asked=narrowings)
def test_a_narrowed_token_makes_none_that_leaves_more(own: Narrowing, asked: Narrowing) -> None:
    """Kestra-iam 8: whatever the new token leaves, the one that made it leaves too."""
    made = IssueToken(
        owner=SHARED,
        id=NEW_TOKEN,
        name="deploy",
        digest=digest_of(NEW_TOKEN),
        prefix=prefix_of(NEW_TOKEN),
        narrowing=asked,
    )
    world = WORLD.and_then(issued(TokenId("tok_own"), SHARED, own))

    outcome = world.when(made, by=SHARED, token="tok_own")

    if isinstance(outcome.verdict, tuple):
        assert own.instance_owner or not asked.instance_owner
        for tenant in TENANTS:
            for question in QUESTIONS:
                assert leaves(own, tenant, question) or not leaves(asked, tenant, question)
