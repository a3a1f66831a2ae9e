"""Is the list of all people filtered, sorted and paged as kestra-iam 2.2, 2.3 and 6.6 say?"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.service import PASSWORD, PUBLIC_URL, Served

EMAIL: Final = "ada@example.com"


def create(http: Served, *, email: str = EMAIL, **members: object) -> dict[str, Any]:
    """Create a user by its route; answer the answer."""
    response = http.post("users", {"email": email, **members})
    assert 201 == response.status_code, response.text
    user: dict[str, Any] = response.json()
    return user


def test_a_list_item_has_the_contracts_members(http: Served) -> None:
    """Kestra-iam 6.6: TF finds a user by `filters[q][EQUALS]=<email>&size=100`."""
    id_ = create(http, firstName="Ada", lastName="Lovelace", tenants=["main"])["id"]

    response = http.get("users?filters[q][EQUALS]=ada@example.com&size=100")

    assert {
        "results": [
            {
                "id": id_,
                "username": EMAIL,
                "displayName": "Ada Lovelace",
                "tenants": [{"id": "main", "name": "main"}],
                "auths": [],
                "instanceOwner": False,
                "superAdmin": False,
            }
        ],
        "total": 1,
    } == response.json()
    assert str(http.log.head()) == response.headers["x-muniment-position"]


@pytest.fixture
def crowd(http: Served) -> dict[str, str]:
    """Five users besides the owner; answers their ids by their first names."""
    group = http.group()
    return {
        "group": group,
        "Ada": create(http, firstName="Ada", lastName="Lovelace", groups=[group])["id"],
        "Grace": create(http, email="grace@example.org", firstName="Grace", superAdmin=True)["id"],
        "Alan": create(http, email="alan@example.org", firstName="Alan", password=PASSWORD)["id"],
        "Edsger": create(http, email="edsger@example.net", firstName="edsger")["id"],
        "Barbara": create(http, email="barbara@example.net", firstName="Barbara")["id"],
    }


def names(http: Served, query: str) -> list[str]:
    """Answer the displayed names that a query finds, in order."""
    response = http.get(f"users?{query}")
    assert 200 == response.status_code, response.text
    return [user["displayName"] for user in response.json()["results"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("filters[q][EQUALS]=LOVE", ["Ada Lovelace"]),
        ("filters[username][STARTS_WITH]=ALAN", ["Alan"]),
        ("filters[email][ENDS_WITH]=.org", ["Alan", "Grace"]),
        ("filters[name][EQUALS]=edsger", ["edsger"]),
        ("filters[name][REGEX]=^.da", ["Ada Lovelace"]),
        ("filters[instance_owner][EQUALS]=true", ["Grace", "root@example.com"]),
        ("filters[superAdmin][NOT_EQUALS]=true&size=2", ["Ada Lovelace", "Alan"]),
        ("filters[enabled][EQUALS]=false", []),
        ("filters[locked][EQUALS]=true", ["Alan"]),
        ("filters[type][EQUALS]=STANDARD&size=1", ["Ada Lovelace"]),
        ("filters[existingOnly][EQUALS]=false&size=1", ["Ada Lovelace"]),
        ("filters[groupList][IN]=none,{group}", ["Ada Lovelace"]),
        ("filters[id][EQUALS]={Ada}", ["Ada Lovelace"]),
        ("filters[created][LESS_THAN]=2026-01-01", []),
        (
            "filters[or][0][name][EQUALS]=Ada Lovelace&filters[or][1][name][EQUALS]=Alan",
            ["Ada Lovelace", "Alan"],
        ),
        ("size=2&page=2", ["Barbara", "edsger"]),
        ("sort=username:desc&size=2", ["root@example.com", "Grace"]),
        ("sort=instanceOwner:desc&sort=name&size=3", ["Grace", "root@example.com", "Ada Lovelace"]),
    ],
)
def test_users_are_filtered_and_sorted(
    http: Served, crowd: dict[str, str], query: str, found: list[str]
) -> None:
    """Kestra-iam 2.2 and 2.3: text ignores case; names ascending unless sorted."""
    index = http.vault.email_index("alan@example.org")
    for _ in range(10):
        http.run(http.failures.failed(index, "203.0.113.7"))

    assert found == names(http, query.format(**crowd))


@pytest.mark.usefixtures("crowd")
def test_pages_link_to_each_other_and_have_a_total(http: Served) -> None:
    """Http-api 5: exact total; Link to first, previous, next, last, with all other parameters."""
    response = http.get("users?size=2&page=2&sort=name")

    assert 6 == response.json()["total"]
    links = {
        relation.strip('"'): target.strip("<>")
        for target, relation in (
            part.split("; rel=") for part in response.headers["link"].split(", ")
        )
    }
    assert {"first": "1", "prev": "1", "next": "3", "last": "3"} == {
        relation: target.rpartition("page=")[2] for relation, target in links.items()
    }
    assert all(link.startswith(f"{PUBLIC_URL}/api/v1/users?") for link in links.values())
    assert all("sort=name" in link for link in links.values())
    assert [] == http.get("users?size=2&page=9").json()["results"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("size=0", 422, "page.invalid"),
        ("size=1001", 422, "page.invalid"),
        ("page=0", 422, "page.invalid"),
        ("sort=password", 422, "sort.invalid"),
        ("filters[password][EQUALS]=x", 400, "filters.invalid"),
        ("filters[name][PREFIX]=x", 400, "filters.invalid"),
        ("filters[name]=x", 400, "filters.invalid"),
    ],
)
def test_a_bad_page_sort_or_filter_is_refused(
    http: Served, query: str, status: int, code: str
) -> None:
    """Kestra-iam 2.2 and 2.3: never clamped, never ignored; the message names the filter."""
    response = http.get(f"users?{query}")

    assert (status, code) == (response.status_code, response.json()["code"])
    if status == 400:
        assert response.json()["message"].startswith("Invalid query filters")


def test_the_list_shows_the_past(http: Served, crowd: dict[str, str]) -> None:
    """Kestra-iam 8: `position=` also for what has been deleted or renamed since."""
    then = http.log.head()
    http.delete(f"users/{crowd['Ada']}")
    http.patch(f"users/{crowd['Alan']}", {"firstName": "Turing"})

    assert ["Barbara", "edsger"] == names(http, "size=2")
    assert ["Ada Lovelace", "Alan"] == names(http, f"size=2&position={then}")
