"""What does a test need to ask any route at all: an object for its path, a body, a caller?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import UNSET

from api.openapi import Operation
from domain.access import Narrowing
from domain.aliases import SetAlias
from domain.groups import AddMember
from domain.ids import (
    MAIN,
    BindingId,
    GroupId,
    PrincipalId,
    TokenId,
    UserId,
)
from domain.permissions import from_lists
from domain.sealed import Secret
from domain.service_accounts import DisableServiceAccount
from domain.token_text import digest
from domain.tokens import DisableToken, RevokeToken
from tests.service import NOBODY, PASSWORD, ROOT_EMAIL, Headers, Served, bearer

NEW_PASSWORD: Final = "another horse, another battery"

QUESTION: Final = {
    "subject": {"type": "service_account", "id": "shared"},
    "action": {"name": "VIEW"},
    "resource": {"type": "FLOW", "id": "nightly"},
}

# Bodies by operation id, for requests that succeed; `$words` stand for what a world has.
BODIES: Final[dict[str, Any]] = {
    "addGroupMember": {"membership": "OWNER"},
    "autocompleteGroups": {"q": "bot"},
    "autocompleteRoles": {"ids": ["$role"]},
    "autocompleteTenantAccess": {"q": "ada"},
    "changeInstanceServiceAccount": {"name": "renamed", "description": "new"},
    "changeMe": {"firstName": "Ada", "lastName": "Lovelace"},
    "changeMyPassword": {"oldPassword": PASSWORD, "newPassword": NEW_PASSWORD},
    "changeUser": {"firstName": "Ada", "lastName": "Lovelace"},
    "checkInBulk": {"items": [QUESTION]},
    "createBinding": {"type": "USER", "externalId": "$account", "roleId": "$role"},
    "createBindings": [
        {"type": "GROUP", "externalId": "$group", "roleId": "$role", "namespaceId": "prod"}
    ],
    "createGroup": {"name": "$new", "membersId": ["$account"]},
    "createInstanceServiceAccount": {"name": "ci-bot", "tenants": ["main"]},
    "createRole": {"name": "deployer", "permissions": {"FLOW": ["VIEW"]}},
    "createServiceAccount": {"name": "ci-bot", "groups": [{"id": "$group"}]},
    "createSink": {"name": "SIEM", "kind": "webhook", "url": "https://siem.example/in"},
    "createTenant": {"id": "$new", "name": "Gamma"},
    "createUser": {"email": "$new@example.com", "tenants": ["main"]},
    "findAuditLog": {"resource": "GROUP"},
    "getGroupsByIds": {"ids": ["$group"]},
    "getRolesByIds": {"ids": ["$role"]},
    "grantTenantAccessByEmail": {"email": "$outsider"},
    "issueInstanceServiceAccountToken": {"name": "deploy"},
    "issueOwnToken": {"name": "deploy"},
    "issueServiceAccountToken": {"name": "deploy", "maxAge": "P30D"},
    "issueUserToken": {"name": "deploy"},
    "replaceGroup": {"name": "$new", "description": "new"},
    "replaceRole": {"name": "deployer", "permissions": {"FLOW": ["VIEW"]}},
    "replaceServiceAccount": {"name": "renamed"},
    "replaceTenant": {"name": "Delta"},
    "replaceUser": {"email": "$new@example.com", "firstName": "Ada"},
    "replaceUserGroups": {"groupIds": ["$group"]},
    "replaySink": {"after": 0},
    "rotateInstanceServiceAccountToken": {"grace": "PT1H"},
    "rotateOwnToken": {"grace": "PT1H"},
    "rotateServiceAccountToken": {"grace": "PT1H"},
    "rotateUserToken": {"grace": "PT1H"},
    "simulateAccess": {
        "changes": [
            {
                "method": "POST",
                "path": "/api/v1/main/roles",
                "body": {"name": "tried", "permissions": {"FLOW": ["VIEW"]}},
                "as": "tried",
            },
            {
                "method": "POST",
                "path": "/api/v1/main/bindings",
                "body": {"type": "USER", "externalId": "$account", "roleId": "{tried}"},
            },
        ]
    },
    "signIn": {"username": ROOT_EMAIL, "password": PASSWORD},
    "signInAtRoot": {"username": ROOT_EMAIL, "password": PASSWORD},
    "setServiceAccountPrivilege": {"instanceOwner": True},
    "setUserPassword": {"password": NEW_PASSWORD},
    "setUserPrivilege": {"superAdmin": True},
    "setUserRestricted": {"restricted": True},
}
QUERIES: Final = {
    "changeGroupMembership": "?membership=OWNER",
    "setAliasByQuery": "?alias=$alias",
    "removeAliasByQuery": "?alias=$alias",
    "tailEvents": "?seconds=0",
    "tailAllEvents": "?seconds=0",
    "listHoldings": "?type=service_account&id=shared",
    "blameAccess": "?type=service_account&id=shared&resourceType=FLOW&action=VIEW",
    "compareAccess": "?from=1",
    "getDecisionEvidence": "?type=service_account&id=shared&resourceType=FLOW&action=VIEW",
    "getPrincipalEvidence": "?type=service_account&id=shared",
    "getIntervalEvidence": "?from=1",
    "listWhoCan": "?resourceType=FLOW&action=VIEW",
    "getConsistencyProof": "?from=1&to=2",
    "getInclusionProof": "?index=0&size=2",
}

# What a request has to say besides.
SAID: Final[dict[str, Headers]] = {
    "deleteSink": {"If-Match": "*"},
    "eraseUser": {"X-Muniment-Reason": "asked for it"},
}

ADMIN: Final = {"*": ["*"]}
NARROW: Final = Narrowing(permissions=from_lists({"FLOW": ["VIEW"]}), tenants=(MAIN,))


class World:
    """An installation with someone of every kind; each request gets objects of its own."""

    def __init__(self, http: Served) -> None:
        self.http = http
        self._made = 0
        self.beta = http.tenant("beta")
        self._account = http.account("shared")
        expired = bearer(http.token(self._account, max_age_seconds=60))
        http.inputs.advance(61)
        self._nobodies: dict[str, Headers] = {
            "anonymous": NOBODY,
            "malformed": bearer("muns_notatoken"),
            "expired": expired,
            "revoked": self._revoked(),
            "disabled": self._of_disabled(),
        }
        self._callers: dict[str, tuple[PrincipalId, Headers]] = {}

    def new(self) -> str:
        """Answer a word that has not been used."""
        self._made += 1
        return f"new{self._made}"

    # Callers

    def caller(self, kind: str, *, new: bool = False) -> tuple[PrincipalId, Headers]:
        """Answer a caller of a kind; `new` for a route by which it changes or ends itself."""
        if kind in self._nobodies:
            return self._account, self._nobodies[kind]
        if new:
            return self._caller(kind)
        if kind not in self._callers:
            self._callers[kind] = self._caller(kind)
        return self._callers[kind]

    def _caller(self, kind: str) -> tuple[PrincipalId, Headers]:
        owner = kind in {"owner", "narrowed"}
        tenant = self.beta if kind == "foreign" else MAIN
        user = self.http.user(f"{self.new()}@example.com", tenants=(tenant,), owner=owner)
        if kind == "foreign":
            self.http.allow(user, ADMIN, tenant=self.beta)
        if kind == "low":
            self.http.allow(user, {"FLOW": ["VIEW"]})
        return user, self.http.bearer(user, NARROW if kind == "narrowed" else UNSET)

    def _revoked(self) -> Headers:
        text = self.http.token(self._account)
        self.http.give(RevokeToken(owner=self._account, id=self._token_id(text)))
        return bearer(text)

    def _of_disabled(self) -> Headers:
        account = self.http.account("disabled")
        token = self.http.token(account)
        self.http.give(DisableServiceAccount(id=account))
        return bearer(token)

    def _token(self, owner: PrincipalId, *, enabled: bool) -> TokenId:
        id_ = self._token_id(self.http.token(owner))
        if not enabled:
            self.http.give(DisableToken(owner=owner, id=id_))
        return id_

    def _token_id(self, text: str) -> TokenId:
        return self.http.state.digests[digest(text)]

    # Objects

    def path(self, operation: Operation, caller: PrincipalId) -> str:
        """Answer the path of a route with new objects in the places of its parameters."""
        path = operation.path.replace("{tenant}", MAIN)
        owner = caller
        if "{id}" in path:
            noun = path.partition("/{id}")[0].rpartition("/")[2]
            owner = UserId(self._object(noun))
            path = path.replace("{id}", owner)
        if "{user_id}" in path:
            path = path.replace("{user_id}", self._member(operation, GroupId(owner)))
        if "{token_id}" in path:
            token = self._token(owner, enabled="/enable" not in path)
            path = path.replace("{token_id}", token)
        path = path.replace("{detail_id}", self._account).replace("{code}", "role.escalation")
        path = path.replace("{auth}", "BASIC_AUTH")
        if "{position}" in path:
            path = path.replace("{position}", self._event()[1:])
        path = path.replace("{number}", "4")
        path = path.replace("{type}", "identity").replace("{alias_id}", "$alias")
        path += QUERIES.get(operation.id, "")
        if "$alias" not in path:
            return path
        return path.replace("$alias", self._alias(owner, there=operation.method == "DELETE"))

    def _object(self, noun: str) -> str:
        http = self.http
        makers: dict[str, Callable[[], str]] = {
            "groups": lambda: http.group(self.new()),
            "roles": lambda: http.role({"FLOW": ["VIEW"]}),
            "bindings": lambda: http.allow(self._account, {"FLOW": ["VIEW"]}),
            "principals": lambda: http.account("made"),
            "service-accounts": lambda: http.account("made"),
            "users": lambda: http.user(f"{self.new()}@example.com"),
            "tenants": lambda: http.tenant(self.new()),
            "auditlogs": self._event,
            "sinks": lambda: http.sink(self.new()),
        }
        return makers[noun]()

    def _alias(self, carrier: PrincipalId, *, there: bool) -> str:
        """Answer an alias's id that is the carrier's already, or nobody's."""
        id_ = self.new()
        if there:
            set_ = SetAlias(
                tenant=MAIN,
                principal=carrier,
                type="identity",
                id=Secret(id_),
                index=self.http.vault.alias_index(MAIN, "identity", id_),
            )
            self.http.give(set_)
        return id_

    def _event(self) -> str:
        self.http.group(self.new())
        return f"e{self.http.state.position}"

    def _member(self, operation: Operation, group: GroupId) -> str:
        member = self.http.account("member")
        if "members" in operation.path and operation.id != "addGroupMember":
            default = BindingId(self.http.inputs.id())
            self.http.give(
                AddMember(tenant=MAIN, group=group, principal=member, default_binding=default)
            )
        return member

    def body(self, operation: Operation) -> object:
        """Answer the body of a request that would succeed, UNSET for none."""
        return self._filled(BODIES.get(operation.id, UNSET))

    def _filled(self, value: object) -> object:
        if isinstance(value, dict):
            return {name: self._filled(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._filled(member) for member in value]
        return self._word(value) if isinstance(value, str) else value

    def _word(self, text: str) -> str:
        match text:
            case "$account":
                return self._account
            case "$group":
                return self.http.group(self.new())
            case "$role":
                return self.http.role({"FLOW": ["VIEW"]})
            case "$outsider":
                email = f"{self.new()}@example.com"
                self.http.user(email, tenants=())
                return email
            case _:
                return text.replace("$new", self.new())
