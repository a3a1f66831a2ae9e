"""Does a refusal say all that is wrong, and nothing that must stay secret?"""

from __future__ import annotations

import pytest

from domain import names
from domain.errors import (
    ConflictError,
    CredentialError,
    Dependent,
    DomainError,
    Faults,
    FieldFault,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Requirement,
    StaleError,
)


def test_a_refusal_carries_its_code_and_what_it_points_at() -> None:
    """Style 6.5: a stable code, a message, and the fields, requirements and dependents."""
    fault, missing = FieldFault("[2].roleId", "is unknown", "role.unknown"), Requirement("A", "B")
    refusal = ConflictError(
        "role.in_use",
        "bindings name role r",
        fields=(fault,),
        required=(missing,),
        dependents=(Dependent("BINDING", "bnd_1"),),
    )

    assert ("role.in_use", "bindings name role r") == refusal.args
    assert ("role.in_use", "bindings name role r") == (refusal.code, refusal.detail)
    assert ((fault,), (missing,)) == (refusal.fields, refusal.required)
    assert (Dependent("BINDING", "bnd_1"),) == refusal.dependents


@pytest.mark.parametrize(
    "kind", [NotFoundError, ForbiddenError, CredentialError, ConflictError, InvalidError]
)
def test_every_refusal_is_one_of_the_family(kind: type[DomainError]) -> None:
    """Style 6.5: one table maps classes to statuses, so no class is another's by accident."""
    assert (DomainError, Exception) == kind.__mro__[1:3]
    refusal = kind("noun.reason", "detail")
    assert ((), (), ()) == (refusal.fields, refusal.required, refusal.dependents)


def test_a_stale_refusal_knows_the_position_of_the_change() -> None:
    """http-api 3: the answer carries the current tag."""
    refusal = StaleError("etag.mismatch", "changed", position=7)

    assert ("etag.mismatch", 7) == (refusal.code, refusal.position)


def test_faults_are_named_all_at_once() -> None:
    """Kestra-iam rule 8: each fault with its path, and the good values in their normal form."""
    faults = Faults()

    assert "Bots" == faults.check("name", names.display_name, " Bots ")
    assert "Nö" == faults.check("tenant", names.tenant_id, "Nö")
    faults.add("expiresAt", "must be in the future", "past")

    with pytest.raises(InvalidError) as refused:
        faults.refuse("thing.invalid")
    assert [("tenant", "invalid"), ("expiresAt", "past")] == [
        (fault.path, fault.code) for fault in refused.value.fields
    ]
    assert "expiresAt must be in the future" in refused.value.detail
    assert "Nö" not in refused.value.detail


def test_no_faults_refuse_nothing() -> None:
    """Where all fits there is nothing to say."""
    faults = Faults()
    faults.check("name", names.display_name, "Bots")

    faults.refuse("thing.invalid")
