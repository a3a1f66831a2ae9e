"""Is the contract's query grammar read as its clients write it?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import list_fields
from api.paging import Results, Rules, link_header, read_filters, read_page
from api.problems import problem
from api.query import Query, read_query
from api.request_errors import MalformedError
from domain.errors import InvalidError
from projections.filters import And, Comparison, Leaf, Node, Or, Value
from projections.pages import Page, Sort

C = Comparison
NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)
SORTABLE = {"name", "created", "instanceOwner"}


def leaf(field: str, comparison: Comparison, *values: Value, key: str = "") -> Leaf:
    """Make a leaf that is not negated."""
    return Leaf(field=field, comparison=comparison, values=values, key=key)


def unlike(field: str, comparison: Comparison, *values: Value) -> Leaf:
    """Make a negated leaf."""
    return Leaf(field=field, comparison=comparison, values=values, negated=True)


def read(query: str, rules: Rules = list_fields.EVENTS) -> Node | None:
    """Read the filters of a query string as sent."""
    return read_filters(read_query(query.encode()), rules, NOW)


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", Page()),
        ("page=3&size=1000", Page(page=3, size=1000)),
        ("size=1", Page(size=1)),
        ("sort=name", Page(sort=(Sort(field="name"),))),
        (
            "sort=name%3Adesc&sort=created:asc",
            Page(sort=(Sort(field="name", descending=True), Sort(field="created"))),
        ),
        ("sort=super_admin", Page(sort=(Sort(field="instanceOwner"),))),
    ],
)
def test_a_page_is_read(query: str, page: Page) -> None:
    """Pages count from 1, ten rows unless said, the first sort is the primary (kestra-iam 2.2)."""
    assert read_page(read_query(query.encode()), SORTABLE) == page


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ("page=0", "page.invalid", "page"),
        ("page=-1", "page.invalid", "page"),
        ("page=x", "page.invalid", "page"),
        ("page=", "page.invalid", "page"),
        ("page=99999999999999999999", "page.invalid", "page"),
        ("size=0", "page.invalid", "size"),
        ("size=1001", "page.invalid", "size"),
        ("size=1.5", "page.invalid", "size"),
        ("size=%D9%A1", "page.invalid", "size"),
        ("sort=secret", "sort.invalid", "sort"),
        ("sort=name:up", "sort.invalid", "sort"),
        ("sort=", "sort.invalid", "sort"),
        ("&".join(["sort=name"] * 5), "sort.invalid", "sort"),
    ],
)
def test_a_bad_page_is_refused_never_clamped(query: str, code: str, path: str) -> None:
    """Sizes outside 1 to 1000 and unknown sort fields are 422 (kestra-iam 2.2, security 6.2)."""
    with pytest.raises(InvalidError) as refused:
        read_page(read_query(query.encode()), SORTABLE)

    assert refused.value.code == code
    assert [fault.path for fault in refused.value.fields] == [path]


def test_a_page_knows_what_stands_before_it() -> None:
    """The third page of ten begins after twenty."""
    assert Page(page=3).skipped == 20


@pytest.mark.parametrize(
    ("query", "node"),
    [
        ("", None),
        ("page=1&q=x", None),
        ("filters[userId][EQUALS]=ci-bot", leaf("userId", C.EQUALS, "ci-bot")),
        ("filters%5Buser_id%5D%5BEQUALS%5D=a%20b", leaf("userId", C.EQUALS, "a b")),
        ("filters[q][EQUALS]=abc", leaf("q", C.CONTAINS, "abc")),
        ("filters[q][NOT_CONTAINS]=abc", leaf("q", C.CONTAINS, "abc")),
        ("filters[resources][IN]=ROLE,BINDING", leaf("resources", C.EQUALS, "ROLE", "BINDING")),
        ("filters[type][NOT_IN]=A,B", unlike("type", C.EQUALS, "A", "B")),
        ("filters[type][NOT_EQUALS]=A,B", unlike("type", C.EQUALS, "A,B")),
        ("filters[type][NOT_CONTAINS]=A", unlike("type", C.CONTAINS, "A")),
        ("filters[details][EQUALS][namespace]=p", leaf("details", C.EQUALS, "p", key="namespace")),
        ("filters[namespace][PREFIX]=p", leaf("details", C.PREFIX, "p", key="namespace")),
        ("filters[flow_id][STARTS_WITH]=f", leaf("details", C.STARTS_WITH, "f", key="flowId")),
        ("filters[type][IS_NULL]=", unlike("type", C.PRESENT)),
        ("filters[created][IS_NOT_NULL]=", leaf("created", C.PRESENT)),
        ("filters[type][REGEX]=^a", leaf("type", C.REGEX, "^a")),
        ("filters[position][LESS_THAN]=12", leaf("position", C.LESS_THAN, 12)),
        (
            "filters[startDate][GREATER_THAN_OR_EQUAL_TO]=2026-01-31T12:00:00Z",
            leaf("date", C.GREATER_THAN_OR_EQUAL_TO, datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ),
        (
            "filters[endDate][LESS_THAN]=2026-01-31T12:00:00%2B02:00",
            leaf("date", C.LESS_THAN, datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ),
        (
            "filters[created][LESS_THAN]=2026-01-31",
            leaf("created", C.LESS_THAN, datetime(2026, 1, 31, tzinfo=UTC)),
        ),
        (
            "filters[timeRange][EQUALS]=PT24H",
            leaf("date", C.GREATER_THAN_OR_EQUAL_TO, NOW - timedelta(days=1)),
        ),
        (
            "filters[type][EQUALS]=A&filters[action][EQUALS]=B",
            And((leaf("type", C.EQUALS, "A"), leaf("action", C.EQUALS, "B"))),
        ),
        (
            "filters[or][0][type][EQUALS]=USER&filters[or][1][namespace][PREFIX]=prod",
            Or(
                (
                    leaf("type", C.EQUALS, "USER"),
                    leaf("details", C.PREFIX, "prod", key="namespace"),
                )
            ),
        ),
        (
            (
                "filters[or][10][type][EQUALS]=B&filters[or][2][type][EQUALS]=A"
                "&filters[action][EQUALS]=C"
            ),
            And(
                (
                    leaf("action", C.EQUALS, "C"),
                    Or((leaf("type", C.EQUALS, "A"), leaf("type", C.EQUALS, "B"))),
                )
            ),
        ),
        (
            (
                "filters[and][0][or][0][type][EQUALS]=A&filters[and][0][or][1][type][EQUALS]=B"
                "&filters[and][1][action][EQUALS]=C"
            ),
            And(
                (
                    Or((leaf("type", C.EQUALS, "A"), leaf("type", C.EQUALS, "B"))),
                    leaf("action", C.EQUALS, "C"),
                )
            ),
        ),
        (
            (
                "filters[or][0][and][0][type][EQUALS]=A&filters[or][0][and][1][action][EQUALS]=B"
                "&filters[or][1][type][EQUALS]=C"
            ),
            Or(
                (
                    And((leaf("type", C.EQUALS, "A"), leaf("action", C.EQUALS, "B"))),
                    leaf("type", C.EQUALS, "C"),
                )
            ),
        ),
    ],
)
def test_a_filter_is_read(query: str, node: Node | None) -> None:
    """Leaves, lists, maps, groups and one nested level mean what the contract says (2.3)."""
    assert read(query) == node


def test_flags_and_their_two_names_are_read() -> None:
    """`super_admin` and `instanceOwner` are one field, true or false (kestra-iam 2.3)."""
    owner = leaf("instanceOwner", C.EQUALS, *(True,))

    for name in ("super_admin", "superAdmin", "instance_owner", "instanceOwner"):
        assert read(f"filters[{name}][EQUALS]=true", list_fields.USERS) == owner


@pytest.mark.parametrize(
    "query",
    [
        "filters=x",
        "filters[]=x",
        "filters[type]=x",
        "filters[type][EQUALS=x",
        "filters[type]x[EQUALS]=x",
        "filters[type][EQUALS][a][b]=x",
        "filters[type][EQUALS][a]=x",
        "filters[details][EQUALS]=x",
        "filters[secret][EQUALS]=x",
        "filters[Type][EQUALS]=x",
        "filters[type][equals]=x",
        "filters[type][PRESENT]=x",
        "filters[type][LIKE]=x",
        "filters[type][PREFIX]=x",
        "filters[type][GREATER_THAN]=x",
        "filters[position][CONTAINS]=1",
        "filters[position][EQUALS]=x",
        "filters[position][IN]=1,",
        "filters[position][EQUALS]=1000000000000000000000",
        "filters[created][EQUALS]=yesterday",
        "filters[created][EQUALS]=0001-01-01T00:00:00%2B12:00",
        "filters[timeRange][EQUALS]=P1M",
        "filters[timeRange][EQUALS]=P999999999D",
        "filters[timeRange][LESS_THAN]=PT1H",
        "filters[type][REGEX]=(",
        "filters[type][REGEX]=(?=a)",
        "filters[type][REGEX]=" + "a" * 257,
        "filters[or][type][EQUALS]=x",
        "filters[or]=x",
        "filters[or][0]=x",
        "filters[or][-1][type][EQUALS]=x",
        "filters[or][1000][type][EQUALS]=x",
        "filters[or][0][or][0][type][EQUALS]=x",
        "filters[or][0][and][0][or][0][type][EQUALS]=x",
        "&".join(f"filters[or][{index}][type][EQUALS]=x" for index in range(51)),
    ],
)
def test_a_bad_filter_is_refused_by_name(query: str) -> None:
    """400 `filters.invalid`, whose message begins as the contract says and names the filter."""
    with pytest.raises(MalformedError) as refused:
        read(query)

    status, _, body = problem(refused.value, path="/", request_id="r")
    told = msgspec.json.decode(body)
    assert (status, told["code"]) == (400, "filters.invalid")
    assert told["message"].startswith("Invalid query filters: filters")


def test_a_flag_is_true_or_false() -> None:
    """Other spellings of a flag are refused rather than guessed."""
    with pytest.raises(MalformedError, match="true or false"):
        read("filters[enabled][EQUALS]=yes", list_fields.USERS)


def test_fifty_leaves_are_allowed() -> None:
    """Security 6.2: fifty leaves are read, the one after is refused above."""
    query = "&".join(f"filters[or][{index}][type][EQUALS]=x" for index in range(50))

    node = read(query)

    assert isinstance(node, Or)
    assert len(node.nodes) == 50


def test_what_kestrapy_writes_is_read() -> None:
    """Kestra's own client leaves brackets as they are and groups as recorded here."""
    written = (
        "filters[or][0][type][EQUALS]=A"
        "&filters[or][1][and][0][details][EQUALS][namespace]=prod"
        "&filters[or][1][and][1][q][EQUALS]=c%20d"
        "&filters[or][2][resources][IN]=ROLE%2CBINDING"
    )

    assert read(written) == Or(
        (
            leaf("type", C.EQUALS, "A"),
            And((leaf("details", C.EQUALS, "prod", key="namespace"), leaf("q", C.CONTAINS, "c d"))),
            leaf("resources", C.EQUALS, "ROLE", "BINDING"),
        )
    )


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(["or", "and", "0", "1", "type", "details", "EQUALS", "REGEX", ""]),
                max_size=7,
            ),
            st.text(max_size=5),
        ),
        max_size=5,
    )
)
def test_any_filter_is_read_or_refused(filters: list[tuple[list[str], str]]) -> None:
    """Security 6.6: no filter makes the reader fail in any other way."""
    query = tuple(
        ("filters" + "".join(f"[{segment}]" for segment in segments), value)
        for segments, value in filters
    )
    try:
        node = read_filters(query, list_fields.EVENTS, NOW)
    except MalformedError as refused:
        assert refused.code == "filters.invalid"  # noqa: PT017 - the other outcome is as right
    else:
        assert (node is None) is not bool(query)


@pytest.mark.parametrize(
    ("page", "total", "relations"),
    [
        (Page(), 0, {"first": 1, "last": 1}),
        (Page(), 10, {"first": 1, "last": 1}),
        (Page(), 11, {"first": 1, "last": 2, "next": 2}),
        (Page(page=2), 30, {"first": 1, "last": 3, "prev": 1, "next": 3}),
        (Page(page=3), 30, {"first": 1, "last": 3, "prev": 2}),
        (Page(page=9), 30, {"first": 1, "last": 3, "prev": 3}),
    ],
)
def test_links_lead_to_the_other_pages(page: Page, total: int, relations: dict[str, int]) -> None:
    """`Link` names the pages there are, from the public URL, parameters kept (http-api 5)."""
    query: Query = (("filters[q][EQUALS]", 'a"> b'), ("page", "7"), ("size", "10"))

    header = link_header("https://x.example", "/api/v1/main/groups", query, page, total)

    assert header.isascii()
    links = {part.rpartition('rel="')[2][:-1]: part for part in header.split(", ")}
    assert links.keys() == relations.keys()
    for relation, number in relations.items():
        assert links[relation].startswith(
            "<https://x.example/api/v1/main/groups?filters%5Bq%5D%5BEQUALS%5D=a%22%3E%20b&size=10"
            f"&page={number}>;"
        )


def test_a_list_has_its_envelope() -> None:
    """`results` and `total` are always present (kestra-iam 2.2)."""
    assert msgspec.json.encode(Results[int](results=(), total=0)) == b'{"results":[],"total":0}'
