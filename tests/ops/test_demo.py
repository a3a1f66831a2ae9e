"""Does the demo tell the story that it promises?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import UNSET

from domain.access import is_over
from domain.sealed import Secret
from domain.state import State
from ops.demo import OWNER_EMAIL, seed
from ops.inputs import SystemInputs
from ops.settings import read_settings
from ops.stores import open_stores
from ops.wiring import replay


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> State:
    """The state at the end of the story."""
    directory: Path = tmp_path_factory.mktemp("demo") / "data"
    settings = read_settings({}, data_dir=directory)
    inputs = SystemInputs()
    shown = seed(settings, inputs.now(), Secret("a password of its own"), Secret("$argon2id$…"))
    assert shown.email == OWNER_EMAIL
    with open_stores(settings, inputs) as stores:
        return replay(stores.log, State(), lambda _position: None)


def test_the_demo_has_its_people_programs_and_groups(told: State) -> None:
    """Eight users, six service accounts, the group Bots and others, three namespace trees."""
    roots = {
        binding.scope.namespace.split(".")[0]
        for binding in told.bindings.values()
        if binding.scope.namespace is not UNSET
    }

    assert len(told.users) == 8
    assert len(told.service_accounts) == 6
    assert "Bots" in {group.name for group in told.groups.values()}
    assert len(told.groups) > 3
    assert roots == {"prod", "staging", "dev"}


def test_the_demo_has_tokens_in_every_condition(told: State) -> None:
    """One expired, one disabled, one never used, one that works."""
    conditions = {token.name: token for token in told.tokens.values()}

    assert is_over(conditions["once"].expires_at, told.at)
    assert not conditions["old"].enabled
    assert not is_over(conditions["never-used"].expires_at, told.at)
    assert conditions["demo"].enabled
    assert any(not user.enabled for user in told.users.values())


def test_the_demo_spans_a_year_and_ends_now(told: State) -> None:
    """Twelve months of back-dated events; nothing lies in the future."""
    begun = min(tenant.created for tenant in told.tenants.values())

    assert told.at - begun > timedelta(days=360)
    assert told.at <= SystemInputs().now()
    assert told.position > 100
