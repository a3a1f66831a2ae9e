"""Do permissions mean what the contract says, old spellings included?"""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.errors import Faults, InvalidError
from domain.permissions import (
    ADMINISTRATION,
    KNOWN,
    MANAGED_ROLES,
    Permissions,
    count,
    expand_legacy,
    from_lists,
    granted,
    judge,
    to_lists,
)

VERBS = ["READ", "CREATE", "UPDATE", "DELETE"]


def test_read_grants_view_list_and_itself() -> None:
    """Kestra-iam 5.3: READ grants VIEW and LIST of its type, and the literal READ."""
    permissions = from_lists({"FLOW": ["READ", "CREATE"]})

    assert [("FLOW", "READ"), ("FLOW", "VIEW"), ("FLOW", "LIST"), ("FLOW", "CREATE")] == list(
        granted(permissions)
    )
    assert 2 == count(permissions)


@for_all(st.dictionaries(st.text(), st.lists(st.text())))
def test_lists_come_back_exactly_as_sent(lists: dict[str, list[str]]) -> None:
    """Kestra-iam rule 7: same keys, order and spelling; only empty lists are left out."""
    expected = {type_: actions for type_, actions in lists.items() if actions}

    permissions = from_lists(lists)

    assert list(expected.items()) == list(to_lists(permissions).items())
    assert sum(map(len, expected.values())) == count(permissions)


# Kestra-iam 5.3, the table itself: READ, CREATE, UPDATE, DELETE of each old type.
EXPANDED = {
    "FLOW": {
        "FLOW": "VIEW LIST EXPORT CREATE IMPORT UPDATE EXECUTE DISABLE ENABLE VALIDATE DELETE"
    },
    "EXECUTION": {
        "EXECUTION": "VIEW LIST ACCESS_LOGS ACCESS_OUTPUTS ACCESS_FILES EXPORT FOLLOW CREATE "
        "UPDATE RESTART KILL REPLAY PAUSE RESUME CHANGE_LABELS UNQUEUE FORCE_RUN DELETE"
    },
    "TRIGGER": {"TRIGGER": "VIEW LIST EXPORT CREATE UNLOCK RESTART DISABLE ENABLE BACKFILL DELETE"},
    "NAMESPACE": {
        "NAMESPACE": "VIEW LIST EXPORT_PLUGIN_DEFAULTS CREATE UPDATE MANAGE_FILES "
        "IMPORT_PLUGIN_DEFAULTS DELETE"
    },
    "APP": {"APP": "VIEW LIST CREATE UPDATE EXECUTE ACCESS_FILES ACCESS_LOGS DELETE"},
    "APPEXECUTION": {"APP": "VIEW LIST CREATE UPDATE EXECUTE ACCESS_FILES ACCESS_LOGS DELETE"},
    "USER": {"USER": "VIEW LIST CREATE UPDATE MANAGE_GROUP_MEMBERSHIP DELETE"},
    "TENANT_ACCESS": {"USER": "VIEW LIST CREATE UPDATE MANAGE_GROUP_MEMBERSHIP DELETE"},
    "GROUP": {"GROUP": "VIEW LIST CREATE UPDATE MANAGE_MEMBERS DELETE"},
    "GROUP_MEMBERSHIP": {"GROUP": "VIEW LIST CREATE UPDATE MANAGE_MEMBERS DELETE"},
    "AUDITLOG": {"AUDITLOG": "VIEW LIST EXPORT"},
    "SETTING": {"SYSTEM_SETTINGS": "VIEW UPDATE", "TENANT_SETTINGS": "VIEW UPDATE"},
    "AI_COPILOT": {"COPILOT": "USE"},
    "TEST": {"TESTSUITE": "VIEW LIST CREATE UPDATE DELETE"},
    "SECRET": {"SECRET": "VIEW LIST CREATE UPDATE DELETE"},
    "record": {"record": "VIEW LIST CREATE UPDATE DELETE"},
    "TEMPLATE": {},
    "IMPERSONATE": {},
}


@pytest.mark.parametrize("type_", EXPANDED)
def test_the_old_verbs_of_a_type_expand_as_the_table_says(type_: str) -> None:
    """Kestra-iam 5.3: with expandLegacy a body of generation 1 becomes one of generation 2."""
    expected = {new: actions.split() for new, actions in EXPANDED[type_].items()}

    assert expected == to_lists(expand_legacy(from_lists({type_: VERBS})))


def test_new_actions_stay_and_renamed_types_are_merged() -> None:
    """Kestra-iam 5.3: a renamed type joins the entry that is already there, without doubles."""
    old = from_lists({"USER": ["VIEW", "IMPERSONATE"], "TENANT_ACCESS": ["READ", "DELETE"]})

    assert {"USER": ["VIEW", "IMPERSONATE", "LIST", "DELETE"]} == to_lists(expand_legacy(old))


def test_expanding_leaves_every_newer_action() -> None:
    """Kestra-iam 5.3: what generation 2 already says stays said, by its new type."""
    plain = from_lists(
        {type_: [one for one in actions if one not in VERBS] for type_, actions in KNOWN.items()}
    )
    kept = expand_legacy(plain)

    assert set(granted(plain)) - {("TENANT_ACCESS", one) for one in ("VIEW", "LIST")} <= set(
        granted(kept)
    )


def test_managed_roles_are_those_of_the_contract() -> None:
    """Kestra-iam 5.4: five roles, each within the next wider one."""
    assert ["Admin", "Developer", "Editor", "Launcher", "Viewer"] == list(MANAGED_ROLES)
    sizes = {name: set(granted(permissions)) for name, permissions in MANAGED_ROLES.items()}
    assert ("*", "*") in sizes["Admin"]
    assert {(type_, one) for type_, actions in KNOWN.items() for one in actions} < sizes["Admin"]
    assert sizes["Editor"] < sizes["Developer"] < sizes["Admin"]
    assert sizes["Launcher"] < sizes["Editor"]
    assert sizes["Viewer"] - sizes["Editor"] == {("NAMESPACE", "EXPORT_PLUGIN_DEFAULTS")}


@pytest.mark.parametrize("name", ["Developer", "Editor", "Launcher", "Viewer"])
def test_managed_roles_below_admin_administer_nothing(name: str) -> None:
    """Kestra-iam 5.4: no IAM types, no wildcards; secrets only for developers."""
    types = {type_ for type_, _ in granted(MANAGED_ROLES[name])}

    assert types.isdisjoint(ADMINISTRATION | {"*"})
    assert (name == "Developer") == ("SECRET" in types) == ("CREDENTIAL" in types)


def test_known_permissions_are_those_of_the_contract() -> None:
    """Kestra-iam 5.2: types and actions as acls/permissions lists them."""
    assert 25 == len(KNOWN)
    assert ("VIEW", "LIST", "CREATE", "UPDATE", "DELETE", "EXECUTE") == KNOWN["TESTSUITE"]
    assert ("VIEW", "LIST", "EXPORT") == KNOWN["AUDITLOG"]
    assert "MANAGE_MEMBERS" in KNOWN["GROUP"]
    assert "READ" not in {one for actions in KNOWN.values() for one in actions}


def faults_of(permissions: Permissions) -> list[tuple[str, str]]:
    """Answer path and code of every fault."""
    faults = Faults()
    judge(permissions, faults, "permissions")
    try:
        faults.refuse("role.invalid")
    except InvalidError as refusal:
        return [(fault.path, fault.code) for fault in refusal.fields]
    return []


def test_malformed_permissions_are_named() -> None:
    """Kestra-iam 5.2: identifiers are open, case-sensitive, and well formed."""
    bad = from_lists({"no type": ["VIEW"], "FLOW": ["no action", "VIEW"], "*": ["*"]})

    assert [("permissions", "invalid"), ("permissions.FLOW", "invalid")] == faults_of(bad)
    assert [] == faults_of(from_lists({"T": [f"A{number}" for number in range(2000)]}))
    many = from_lists({"T": [f"A{number}" for number in range(2001)]})
    assert [("permissions", "too_many")] == faults_of(many)
