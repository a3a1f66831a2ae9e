"""Does the demo tell the story that it promises?"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import UNSET

from domain.access import is_over
from domain.events import Fact, decode
from domain.sealed import Secret
from domain.state import State, evolve
from ops.demo import OWNER_EMAIL, seed
from ops.inputs import SystemInputs
from ops.settings import read_settings
from ops.stores import open_stores, read_all


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fact, ...]:
    """The whole story."""
    directory: Path = tmp_path_factory.mktemp("demo") / "data"
    settings = read_settings({}, data_dir=directory)
    inputs = SystemInputs()
    shown = seed(settings, inputs.now(), Secret("a password of its own"), Secret("$argon2id$…"))
    assert shown.email == OWNER_EMAIL
    with open_stores(settings, inputs) as stores:
        return tuple(map(decode, read_all(stores.log)))


@pytest.fixture(scope="module")
def told(facts: tuple[Fact, ...]) -> State:
    """The state at the end of the story."""
    return evolve(State(), facts)


def test_the_demo_has_its_people_programs_and_groups(told: State) -> None:
    """Eight users, six service accounts, the group Bots and others, three namespace trees."""
    namespaces = {
        binding.scope.namespace
        for binding in told.bindings.values()
        if binding.scope.namespace is not UNSET
    }
    roots = {namespace for namespace in namespaces if "." not in namespace}
    branches = {namespace.partition(".")[0] for namespace in namespaces - roots}

    assert len(told.users) == 8
    assert len(told.service_accounts) == 6
    assert "Bots" in {group.name for group in told.groups.values()}
    assert len(told.groups) > 3
    assert roots == branches == {"prod", "staging", "dev"}


def test_the_demo_has_tokens_in_every_condition(told: State) -> None:
    """One expired, one disabled, one never used, one that works."""
    conditions = {token.name: token for token in told.tokens.values()}

    assert is_over(conditions["once"].expires_at, told.at)
    assert not conditions["old"].enabled
    assert not is_over(conditions["never-used"].expires_at, told.at)
    assert conditions["demo"].enabled
    assert any(not user.enabled for user in told.users.values())


def test_the_demo_goes_on_all_year(facts: tuple[Fact, ...]) -> None:
    """Each command has an instant of its own, and no month passes without any."""
    instants = {fact.envelope.command_id: fact.envelope.at for fact in facts}
    # The log and its first owner are made together.
    apart = sorted(instants.values())[1:]

    assert len(apart) == len(set(apart))
    assert all(after - before < timedelta(days=31) for before, after in pairwise(apart))


def test_the_demo_spans_a_year_and_ends_now(told: State) -> None:
    """Twelve months of back-dated events; nothing lies in the future."""
    begun = min(tenant.created for tenant in told.tenants.values())

    assert told.at - begun > timedelta(days=360)
    assert told.at <= SystemInputs().now()
    assert told.position > 100
