"""How fast could a check be that knows no wildcards, no time limits and no resources?

The bare mask loop of performance 2, built from the made-up installation and not from our state:
the reference that our own check is measured by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.bench.data import World

Masks = dict[str, int]


class MaskLoop:
    """Compiled masks by principal, the bits of each pair, and every namespace's ancestors."""

    def __init__(self, world: World) -> None:
        self.needs: dict[str, dict[str, int]] = {}
        self._roles: dict[str, int] = {}
        for role in world.roles:
            self._roles[role.id] = sum(
                self._bit(entry.type, action)
                for entry in role.permissions
                for action in entry.actions
            )
        self._groups: dict[str, list[str]] = {}
        for member in world.members:
            self._groups.setdefault(member.principal, []).append(member.group)
        self._bindings: dict[str, list[tuple[str, int]]] = {}
        for binding in world.bindings:
            grant = (binding.scope.namespace or "", self._roles[binding.role])
            self._bindings.setdefault(binding.subject, []).append(grant)
        self.ancestors = {namespace: _ancestors(namespace) for namespace in world.namespaces}
        self.compiled: dict[str, Masks] = {}

    def _bit(self, type_: str, action: str) -> int:
        known = self.needs.setdefault(type_, {})
        if action not in known:
            known[action] = 1 << sum(len(actions) for actions in self.needs.values())
        return known[action]

    def compile(self, principal: str) -> Masks:
        """Work out what the principal may do where."""
        masks: Masks = {}
        for subject in (principal, *self._groups.get(principal, ())):
            for scope, mask in self._bindings.get(subject, ()):
                masks[scope] = masks.get(scope, 0) | mask
        self.compiled[principal] = masks
        return masks


def _ancestors(namespace: str) -> tuple[str, ...]:
    parts = namespace.split(".")
    return tuple(".".join(parts[:end]) for end in range(len(parts), 0, -1))


def check(graph: MaskLoop, principal: str, type_: str, action: str, namespace: str) -> bool:
    """Tell whether the principal may do that there."""
    masks = graph.compiled.get(principal)
    if masks is None:
        masks = graph.compile(principal)
    need = graph.needs[type_][action]
    for scope in graph.ancestors[namespace]:
        mask = masks.get(scope)
        if mask is not None and mask & need:
            return True
    return False
