"""Who may do what where and when, by the plainest reading of the specification?

It knows nothing of the product: a model is a dict of lists of dicts, and every question walks all
of it (kestra-iam 5.1, 5.3, 8; design 2).
"""

from __future__ import annotations

from typing import Any

Model = dict[str, Any]


def allowed(
    model: Model, tenant: str, subject: str, question: tuple[str, str, str, str], now: float
) -> bool:
    """`question` is type, action, namespace and resource ("" for none; "type/id")."""
    is_able = model["enabled"].get(subject) and (subject, tenant) in model["access"]
    if subject not in model["groups"] and not is_able:
        return False
    holders = {subject} | {
        row["group"] for row in model["members"] if row["principal"] == subject and within(row, now)
    }
    return tenant in model["tenants"] and any(
        row["tenant"] == tenant
        and row["subject"] in holders
        and within(row, now)
        and reaches(row["place"], question[2], question[3])
        and grants(model["roles"][row["role"]], question[0], question[1])
        for row in model["bindings"]
    )


def within(row: dict[str, Any], now: float) -> bool:
    return bool(row["begins"] <= now < row["ends"])


def reaches(place: str, namespace: str, resource: str) -> bool:
    return place in ("", resource) or (namespace + ".").startswith(place + ".")


def grants(pairs: list[tuple[str, str]], type_: str, action: str) -> bool:
    listed = [pair for pair in pairs if pair[0] in ("*", type_)]
    meant = {"VIEW": {"VIEW", "READ", "*"}, "LIST": {"LIST", "READ", "*"}}
    return any(verb in meant.get(action, {action, "*"}) for _, verb in listed)
