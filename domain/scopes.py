"""Where does a permission hold, and which place covers which other?"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Struct, UnsetType

# What a compiled grant is found by: "" is the whole tenant, a text a namespace subtree, a pair
# one resource (type, id). Different types, so that no namespace can be spelled like a resource.
ScopeKey = str | tuple[str, str]

WHOLE_TENANT_KEY: Final = ""


class Resource(Struct, frozen=True, gc=False):
    """One object of an application, by its own type and id."""

    type: str
    id: str


class Scope(Struct, frozen=True, kw_only=True):
    """The whole tenant (neither member), a namespace subtree, or one resource."""

    namespace: str | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET

    @property
    def key(self) -> ScopeKey:
        """The key under which a grant at this scope is compiled."""
        if self.resource is not UNSET:
            return (self.resource.type, self.resource.id)
        return WHOLE_TENANT_KEY if self.namespace is UNSET else self.namespace


WHOLE_TENANT: Final = Scope()


def ancestors(namespace: str) -> tuple[str, ...]:
    """Answer the namespace and all above it, nearest first: `a.b` gives `a.b`, `a`."""
    found = [namespace]
    end = namespace.rfind(".")
    while end > 0:
        found.append(namespace[:end])
        end = namespace.rfind(".", 0, end)
    return tuple(found)
