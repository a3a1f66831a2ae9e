"""What can be permitted, which spellings mean it, and which roles every tenant starts with?"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from domain import names
from domain.limits import PERMISSIONS_A_ROLE_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from domain.errors import Faults

ANY: Final = "*"


class Permission(Struct, frozen=True, gc=False):
    """A resource type and an action; `*` stands for any."""

    type: str
    action: str


class TypeActions(Struct, frozen=True, gc=False):
    """The actions that a role lists for one type, in the order in which they were sent."""

    type: str
    actions: tuple[str, ...]


# A role's permissions, exactly as sent: order, spelling and legacy verbs (kestra-iam, rule 7).
Permissions = tuple[TypeActions, ...]

_CRUDL = ("VIEW", "LIST", "CREATE", "UPDATE", "DELETE")


def _listed(text: str) -> tuple[str, ...]:
    words = (_CRUDL if word == "CRUDL" else (word,) for word in text.split())
    return tuple(chain.from_iterable(words))


# kestra-iam 5.2, in the order in which `acls/permissions` lists them.
KNOWN: Final[dict[str, tuple[str, ...]]] = {
    "FLOW": _listed("CRUDL EXECUTE DISABLE ENABLE VALIDATE EXPORT IMPORT"),
    "EXECUTION": _listed(
        "CRUDL RESTART KILL REPLAY PAUSE RESUME UNQUEUE FORCE_RUN FOLLOW CHANGE_LABELS "
        "ACCESS_LOGS ACCESS_OUTPUTS ACCESS_FILES EXPORT"
    ),
    "TRIGGER": _listed("CRUDL UNLOCK RESTART DISABLE ENABLE EXPORT BACKFILL"),
    "NAMESPACE": _listed("CRUDL MANAGE_FILES EXPORT_PLUGIN_DEFAULTS IMPORT_PLUGIN_DEFAULTS"),
    "APP": _listed("CRUDL EXECUTE ACCESS_FILES ACCESS_LOGS"),
    "TESTSUITE": _listed("CRUDL EXECUTE"),
    "KVSTORE": _CRUDL,
    "SECRET": _CRUDL,
    "CREDENTIAL": _CRUDL,
    "REUSABLE_INPUTS": _CRUDL,
    "DASHBOARD": _CRUDL,
    "BLUEPRINT": _CRUDL,
    "ASSET": _CRUDL,
    "MCP_SERVER": _CRUDL,
    "USER": _listed("CRUDL MANAGE_GROUP_MEMBERSHIP IMPERSONATE"),
    "GROUP": _listed("CRUDL MANAGE_MEMBERS"),
    "ROLE": _CRUDL,
    "BINDING": _CRUDL,
    "SERVICE_ACCOUNT": _CRUDL,
    "INVITATION": _CRUDL,
    "TENANT_ACCESS": _CRUDL,
    "AUDITLOG": _listed("VIEW LIST EXPORT"),
    "COPILOT": ("USE",),
    "SYSTEM_SETTINGS": ("VIEW", "UPDATE"),
    "TENANT_SETTINGS": ("VIEW", "UPDATE"),
}

# The types that guard Muniment's own routes: an instance owner passes these gates in every
# tenant, and no others (kestra-iam 5.5). ACCESS are questions about others (authzen 3), METRICS
# how a process fares (operations 1); that is asked of no tenant but `main`.
ADMINISTRATION: Final = frozenset(
    {
        "USER",
        "GROUP",
        "ROLE",
        "BINDING",
        "SERVICE_ACCOUNT",
        "INVITATION",
        "TENANT_ACCESS",
        "AUDITLOG",
        "ACCESS",
        "METRICS",
    }
)

# What the owners of a group may do in it without being given it by a role (kestra-iam 6.3).
MANAGE_MEMBERS: Final = ("GROUP", "MANAGE_MEMBERS")

# The one legacy verb that still stands for others when a question is judged (kestra-iam 5.3).
_READ_GRANTS = ("READ", "VIEW", "LIST")


def granted(permissions: Permissions) -> Iterator[tuple[str, str]]:
    """Yield every (type, action) pair that a role with these permissions grants."""
    for entry in permissions:
        for action in entry.actions:
            if action == "READ":
                for meant in _READ_GRANTS:
                    yield entry.type, meant
            else:
                yield entry.type, action


def count(permissions: Permissions) -> int:
    """Answer the number of pairs as written."""
    return sum(len(entry.actions) for entry in permissions)


def from_lists(lists: Mapping[str, Iterable[str]]) -> Permissions:
    """Answer permissions in the given order; types with an empty list are left out."""
    entries = (TypeActions(type_, tuple(actions)) for type_, actions in lists.items())
    return tuple(entry for entry in entries if entry.actions)


def to_lists(permissions: Permissions) -> dict[str, list[str]]:
    """Answer the wire form `{TYPE: [ACTION]}`, exactly as it was sent."""
    return {entry.type: list(entry.actions) for entry in permissions}


def judge(permissions: Permissions, faults: Faults, path: str) -> None:
    """Note every type or action that is no identifier, and a role that lists too many."""
    if count(permissions) > PERMISSIONS_A_ROLE_MAX:
        faults.add(path, f"must hold at most {PERMISSIONS_A_ROLE_MAX} permissions", "too_many")
        return
    for entry in permissions:
        faults.check(path, names.identifier, entry.type)
        for action in entry.actions:
            faults.check(f"{path}.{entry.type}", names.identifier, action)


# kestra-iam 5.4. Editor and below list no type that guards administration.
_EDITOR = (
    "FLOW EXECUTION TRIGGER KVSTORE DASHBOARD APP TESTSUITE ASSET MCP_SERVER SYSTEM_SETTINGS "
    "TENANT_SETTINGS COPILOT"
).split()
_DEVELOPER = "NAMESPACE SECRET CREDENTIAL BLUEPRINT".split()
_VIEW_LIST = ("VIEW", "LIST")
_SEE_EXECUTION = ("ACCESS_LOGS", "ACCESS_OUTPUTS", "ACCESS_FILES", "FOLLOW")

MANAGED_ROLES: Final[dict[str, Permissions]] = {
    "Admin": from_lists({**KNOWN, ANY: (ANY,)}),
    "Developer": from_lists({type_: KNOWN[type_] for type_ in [*_EDITOR, *_DEVELOPER]}),
    "Editor": from_lists(
        {
            **{type_: KNOWN[type_] for type_ in _EDITOR},
            "NAMESPACE": _VIEW_LIST,
            "BLUEPRINT": _VIEW_LIST,
        }
    ),
    "Launcher": from_lists(
        {
            "FLOW": (*_VIEW_LIST, "EXECUTE"),
            "EXECUTION": (
                *_VIEW_LIST,
                "REPLAY",
                "RESTART",
                "CHANGE_LABELS",
                *_SEE_EXECUTION,
                "EXPORT",
            ),
            **dict.fromkeys(("TRIGGER", "KVSTORE", "DASHBOARD", "ASSET", "NAMESPACE"), _VIEW_LIST),
        }
    ),
    "Viewer": from_lists(
        {
            "FLOW": (*_VIEW_LIST, "EXPORT"),
            "TRIGGER": (*_VIEW_LIST, "EXPORT"),
            "EXECUTION": (*_VIEW_LIST, "EXPORT", *_SEE_EXECUTION),
            "NAMESPACE": (*_VIEW_LIST, "EXPORT_PLUGIN_DEFAULTS"),
            "MCP_SERVER": _VIEW_LIST,
        }
    ),
}

# kestra-iam 5.3, for `?expandLegacy=true`: what an old verb of a type stood for. A verb that is
# listed with nothing is dropped; one that is not listed for its type means itself.
_EXPANSIONS: Final[dict[str, dict[str, str]]] = {
    "FLOW": {
        "READ": "VIEW LIST EXPORT",
        "CREATE": "CREATE IMPORT",
        "UPDATE": "UPDATE EXECUTE DISABLE ENABLE VALIDATE",
    },
    "EXECUTION": {
        "READ": "VIEW LIST ACCESS_LOGS ACCESS_OUTPUTS ACCESS_FILES EXPORT FOLLOW",
        "UPDATE": ("UPDATE RESTART KILL REPLAY PAUSE RESUME CHANGE_LABELS UNQUEUE FORCE_RUN"),
    },
    "TRIGGER": {
        "READ": "VIEW LIST EXPORT",
        "UPDATE": "UNLOCK RESTART DISABLE ENABLE BACKFILL",
    },
    "NAMESPACE": {
        "READ": "VIEW LIST EXPORT_PLUGIN_DEFAULTS",
        "UPDATE": "UPDATE MANAGE_FILES IMPORT_PLUGIN_DEFAULTS",
    },
    "APP": {"UPDATE": "UPDATE EXECUTE ACCESS_FILES ACCESS_LOGS"},
    "USER": {"UPDATE": "UPDATE MANAGE_GROUP_MEMBERSHIP"},
    "GROUP": {"UPDATE": "UPDATE MANAGE_MEMBERS"},
    "AUDITLOG": {"READ": "VIEW LIST EXPORT", "CREATE": "", "UPDATE": "", "DELETE": ""},
    "SYSTEM_SETTINGS": {"READ": "VIEW", "CREATE": "", "DELETE": ""},
    "TENANT_SETTINGS": {"READ": "VIEW", "CREATE": "", "DELETE": ""},
    "COPILOT": {"READ": "USE", "CREATE": "", "UPDATE": "", "DELETE": ""},
}
_RENAMES: Final[dict[str, tuple[str, ...]]] = {
    "SETTING": ("SYSTEM_SETTINGS", "TENANT_SETTINGS"),
    "AI_COPILOT": ("COPILOT",),
    "TEST": ("TESTSUITE",),
    "APPEXECUTION": ("APP",),
    "TENANT_ACCESS": ("USER",),
    "GROUP_MEMBERSHIP": ("GROUP",),
    "TEMPLATE": (),
    "IMPERSONATE": (),
}


def expand_legacy(permissions: Permissions) -> Permissions:
    """Answer the permissions of generation 2 for those of generation 1 (kestra-iam 5.3)."""
    expanded: dict[str, dict[str, None]] = {}
    for entry in permissions:
        for type_ in _RENAMES.get(entry.type, (entry.type,)):
            verbs = _EXPANSIONS.get(type_, {})
            actions = expanded.setdefault(type_, {})
            for action in entry.actions:
                meant = verbs.get(action, "VIEW LIST" if action == "READ" else action)
                actions.update(dict.fromkeys(meant.split()))
    return from_lists(expanded)
