"""What does an entry of the trail say, in one sentence for a person?

One line for every topic. What has a name is named in quotes, so that no name passes for a part of
the sentence; what has none, or none that may be told, stands by its id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from projections.entries import Entry

# Answers the name of an id as it may be told now, None where there is none.
NameOf = Callable[[str], str | None]

TEMPLATES: Final[dict[str, str]] = {
    "log.opened.v1": "{actor} opened the log {object}",
    "tenant.created.v1": "{actor} created the tenant {object}",
    "tenant.renamed.v1": "{actor} renamed the tenant {object}",
    "tenant.deleted.v1": "{actor} deleted the tenant {object}",
    "role.managed_created.v1": "{actor} created the managed role {object}",
    "user.created.v1": "{actor} created the user {object}",
    "user.email_changed.v1": "{actor} changed the e-mail address of the user {object}",
    "user.renamed.v1": "{actor} renamed the user {object}",
    "user.password_set.v1": "{actor} set the password of the user {object}",
    "user.password_rehashed.v1": "{actor} stored the password of the user {object} anew",
    "user.password_removed.v1": "{actor} removed the password of the user {object}",
    "user.restricted.v1": "{actor} restricted the user {object}",
    "user.unrestricted.v1": "{actor} ended the restriction of the user {object}",
    "user.disabled.v1": "{actor} disabled the user {object}",
    "user.enabled.v1": "{actor} enabled the user {object}",
    "user.sessions_ended.v1": "{actor} ended all sessions of the user {object}",
    "user.deleted.v1": "{actor} deleted the user {object}",
    "user.erased.v1": "{actor} erased the personal data of the user {object}",
    "service_account.created.v1": "{actor} created the service account {object}",
    "service_account.renamed.v1": "{actor} renamed the service account {object}",
    "service_account.described.v1": "{actor} described the service account {object} anew",
    "service_account.disabled.v1": "{actor} disabled the service account {object}",
    "service_account.enabled.v1": "{actor} enabled the service account {object}",
    "service_account.deleted.v1": "{actor} deleted the service account {object}",
    "tenant_access.granted.v1": "{actor} gave {user} access to the tenant {tenant}",
    "tenant_access.ended.v1": "{actor} ended the access of {user} to the tenant {tenant}",
    "group.member_added.v1": "{actor} added {user} to the group {group}",
    "group.member_removed.v1": "{actor} removed {user} from the group {group}",
    "group.membership_changed.v1": "{actor} changed the membership of {user} in the group {group}",
    "group.created.v1": "{actor} created the group {object}",
    "group.renamed.v1": "{actor} renamed the group {object}",
    "group.described.v1": "{actor} described the group {object} anew",
    "group.deleted.v1": "{actor} deleted the group {object}",
    "binding.created.v1": "{actor} bound the role {role} to {subject} {place}",
    "binding.deleted.v1": "{actor} took the role {role} from {subject} {place}",
    "token.issued.v1": "{actor} issued the token {token} for {object}",
    "token.rotated.v1": "{actor} rotated the token {token} of {object}",
    "token.disabled.v1": "{actor} disabled the token {token} of {object}",
    "token.enabled.v1": "{actor} enabled the token {token} of {object}",
    "token.extended.v1": "{actor} extended the token {token} of {object} by using it",
    "token.revoked.v1": "{actor} revoked the token {token} of {object}",
    "alias.set.v1": "{actor} set an alias of the type {alias} for {object}",
    "alias.removed.v1": "{actor} removed an alias of the type {alias} from {object}",
    "instance_owner.granted.v1": "{actor} made {object} an instance owner",
    "instance_owner.revoked.v1": "{actor} made {object} an instance owner no more",
    "role.created.v1": "{actor} created the role {object}",
    "role.renamed.v1": "{actor} renamed the role {object}",
    "role.described.v1": "{actor} described the role {object} anew",
    "role.permissions_set.v1": "{actor} set the permissions of the role {object}",
    "role.made_default.v1": "{actor} made the role {object} the default of the tenant",
    "role.default_ended.v1": "{actor} ended that the role {object} is the default of the tenant",
    "role.deleted.v1": "{actor} deleted the role {object}",
    "sink.created.v1": "{actor} set up the sink {object}",
    "sink.paused.v1": "{actor} paused the sink {object}",
    "sink.resumed.v1": "{actor} resumed the sink {object}",
    "sink.replayed.v1": "{actor} let the sink {object} begin at another position",
    "sink.deleted.v1": "{actor} deleted the sink {object}",
}


def sentence(entry: Entry, name_of: NameOf) -> str:
    """Answer what an entry says; names that were recorded stand for those that are gone."""

    def called(id_: str | None, recorded: str | None = None) -> str:
        if id_ is None:
            return "nobody"
        name = name_of(id_) or recorded
        return id_ if name is None else _quoted(name)

    place = entry.namespace
    return TEMPLATES[entry.topic].format(
        actor=called(entry.actor_id, entry.actor_name),
        object=called(entry.object_id, entry.object_name),
        user=called(entry.user_id),
        group=called(entry.group_id, entry.object_name),
        role=called(entry.role_id),
        subject=called(entry.user_id or entry.group_id),
        token=called(entry.token_id, entry.token_name),
        tenant=called(entry.tenant),
        alias=entry.alias_type,
        place="in the whole tenant" if place is None else f"in the namespace {_quoted(place)}",
    )


def _quoted(name: str) -> str:
    return msgspec.json.encode(name).decode()
