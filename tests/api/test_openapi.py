"""Does `/openapi.json` tell everything about the routes, and nothing that is not so?"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator, ValidationError
from litestar import Litestar, get
from litestar.routes import HTTPRoute
from msgspec import UNSET, Struct, UnsetType
from openapi_spec_validator import OpenAPIV31SpecValidator

import api
from api import checks, openapi, questions, searches
from api.app import create_app
from api.call import OPEN
from api.explanations import WhyForm
from api.problem_codes import TITLES
from api.schemas import Schemas, UndescribedTypeError
from tests.answers import has_null
from tests.service import NOBODY, Served, served

Document = dict[str, Any]
OWN_REQUESTS: Final = {"EvaluationBulkRequest", "CreateSinkRequest", "ReplayRequest"}
METHODS: Final = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield one installation, of which nothing but its description is asked."""
    with served(tmp_path_factory.mktemp("openapi")) as http:
        yield http


@pytest.fixture(scope="module")
def described(installation: Served) -> Document:
    """Answer the document as anybody gets it."""
    document: Document = installation.get("/openapi.json", by=NOBODY).json()
    return document


def every_operation(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Yield method, path and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def contents(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield every body with a place: of requests, of answers, of the shared refusals."""
    for method, path, operation in every_operation(document):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for place, body in bodies.items():
            for content in body.get("content", {}).values():
                yield f"{method} {path} {place}", content
    for name, response in document["components"]["responses"].items():
        for content in response["content"].values():
            yield name, content


def resolved(document: Document, parameter: Document) -> Document:
    """Answer a parameter, its own or the shared one that it refers to."""
    if "$ref" not in parameter:
        return parameter
    shared: Document = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return shared


def test_document_is_valid_openapi(described: Document) -> None:
    """The document is OpenAPI 3.1 by the specification's own schema (http-api 8)."""
    assert described["openapi"].startswith("3.1.")
    assert [] == [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()]


def test_document_that_is_damaged_is_found_invalid(described: Document) -> None:
    """Control: without its responses an operation is not valid OpenAPI."""
    damaged = json.loads(json.dumps(described))
    del damaged["paths"]["/livez"]["get"]["operationId"]
    damaged["paths"]["/livez"]["get"]["responses"] = {"200": {}}

    assert [*OpenAPIV31SpecValidator(damaged).iter_errors()]


def test_document_and_code_name_the_same_routes(installation: Served, described: Document) -> None:
    """No route is forgotten, none is invented: the application's and the hot ones (http-api 8)."""
    app = create_app(installation.service)
    served_routes = {("POST", path) for path in checks.PATHS}
    for route in app.routes:
        assert isinstance(route, HTTPRoute)
        served_routes |= {(method, route.path_format) for method in route.methods & METHODS}

    assert served_routes == {(method, path) for method, path, _ in every_operation(described)}


def test_hot_endpoints_of_the_document_are_served(installation: Served) -> None:
    """What is described by hand answers: 401 to a stranger, not 404 (http-api 8)."""
    for path in checks.PATHS:
        assert installation.post(path, {}, by=NOBODY).status_code == 401


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("AccessSubject", questions.Subject),
        ("AccessAction", questions.Action),
        ("AccessResource", questions.Resource),
        ("AccessContext", questions.Circumstances),
        ("AccessEvaluation", questions.Evaluation),
        ("AccessEvaluations", questions.Evaluations),
        ("AccessSearchedSubject", questions.SearchedSubject),
        ("AccessSearchedResource", questions.SearchedResource),
        ("AccessSubjectSearch", questions.SubjectSearch),
        ("AccessResourceSearch", questions.ResourceSearch),
        ("AccessActionSearch", questions.ActionSearch),
        ("AccessPageAsked", questions.Page),
        ("AccessPage", searches.PageForm),
        ("AccessEntities", searches.Found),
        ("AccessActions", searches.Found),
    ],
)
def test_what_is_described_by_hand_is_what_is_read(
    described: Document, name: str, read: type[Struct]
) -> None:
    """No member of the check API is left out of its description, none is made up (http-api 8)."""
    assert {*read.__struct_fields__} == {*described["components"]["schemas"][name]["properties"]}


def test_reasons_are_described(described: Document) -> None:
    """An explained decision tells its whole shape (authzen 6)."""
    schemas = described["components"]["schemas"]

    told = [part["$ref"].rpartition("/")[2] for part in reasons(schemas)]

    assert ["WhyForm", "ItemContext"] == told
    assert {*WhyForm.__struct_fields__} == {*schemas["WhyForm"]["properties"]}


def reasons(schemas: Document) -> list[Document]:
    """Answer what the context of a decision may be."""
    choices: list[Document] = schemas["AccessDecision"]["properties"]["context"]["anyOf"]
    return choices


def test_new_route_is_in_the_document_unasked() -> None:
    """Control: a route appears in the document by being a route."""

    @get("/planted/{id:int}", opt=OPEN, operation_id="planted", summary="Planted")
    async def planted() -> int:
        return 1

    app = Litestar(route_handlers=[planted], openapi_config=None)

    assert "/planted/{id}" in openapi.document(app, version="0", public_url="")["paths"]


def test_every_operation_is_told_of_whole(described: Document) -> None:
    """Each has an id of its own, summary, description, tag, parameters and refusals."""
    found = [*every_operation(described)]
    ids = [operation["operationId"] for _, _, operation in found]
    tags = {tag["name"] for tag in described["tags"]}

    assert len(ids) == len(set(ids))
    for method, path, operation in found:
        place = f"{method} {path}"
        assert operation["summary"], place
        assert operation["description"].endswith("."), place
        assert set(operation["tags"]) <= tags, place
        declared = [resolved(described, each) for each in operation.get("parameters", [])]
        named = [(each["in"], each["name"]) for each in declared]
        assert len(named) == len(set(named)), place
        in_path = {name for where, name in named if where == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert any(status.startswith("2") for status in operation["responses"]), place


def test_every_refusal_has_the_one_body(described: Document) -> None:
    """Errors have the problem schema everywhere, and no other (http-api 2 and 8)."""
    for method, path, operation in every_operation(described):
        for status, response in operation["responses"].items():
            if status >= "400" and path != "/readyz":
                name = response["$ref"].rpartition("/")[2]
                shared = described["components"]["responses"][name]
                assert [*shared["content"]] == ["application/problem+json"], f"{method} {path}"
    assert "extra" not in described["components"]["schemas"]["Problem"]["properties"]


def test_every_example_validates(described: Document) -> None:
    """Each example fits the schema beside it (http-api 8)."""
    found = [(place, content) for place, content in contents(described) if "example" in content]

    assert len(found) > 100
    for place, content in found:
        validate(described, content["schema"], content["example"], place)
    for name, schema in described["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            validate(described, schema, example, name)


def test_example_that_does_not_fit_is_found(described: Document) -> None:
    """Control: an example without a required member does not validate."""
    schema = {"$ref": "#/components/schemas/GroupForm"}

    with pytest.raises(AssertionError, match="name"):
        validate(described, schema, {"id": "1", "description": ""}, "control")


def validate(document: Document, schema: Document, value: object, place: str) -> None:
    """Hold a value against a schema of the document."""
    try:
        Draft202012Validator({**schema, "components": document["components"]}).validate(value)
    except ValidationError as error:
        raise AssertionError(f"{place}: {error.message}") from None


def test_every_json_body_of_the_contract_has_an_example(described: Document) -> None:
    """Whoever reads the document sees what to send (http-api 8)."""
    without = [
        f"{method} {path}"
        for method, path, operation in every_operation(described)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "example" not in content
    ]

    assert [] == without


def test_requests_may_hold_members_that_nobody_knows(described: Document) -> None:
    """The contract's and AuthZEN's bodies ignore unknown members, our own refuse them (1)."""
    for name, schema in described["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is (name not in OWN_REQUESTS), name


def test_document_holds_no_null_and_no_secret(described: Document) -> None:
    """No response contains null (http-api 1); no example looks like a token (security 4.5)."""
    text = json.dumps(described)

    assert not has_null(described)
    assert not any(prefix in text for prefix in ("muns_", "munu_", "munx_"))


def test_links_lead_from_a_new_object_to_what_can_be_done_with_it(described: Document) -> None:
    """From each POST's id to GET, PUT, PATCH and DELETE, by parameters they have (http-api 8).

    And from a PUT that makes something to its end.
    """
    by_id = {operation["operationId"]: operation for *_, operation in every_operation(described)}
    linked: set[str] = set()
    for method, path, operation in every_operation(described):
        for response in operation["responses"].values():
            for name, link in response.get("links", {}).items():
                assert method in {"POST", "PUT"}, path
                target = [resolved(described, each) for each in by_id[name]["parameters"]]
                needed = {each["name"] for each in target if each.get("required")}
                assert needed == set(link["parameters"]), f"{path} {name}"
                linked.add(name)

    assert {
        "getGroup",
        "replaceRole",
        "deleteBinding",
        "getUser",
        "revokeOwnToken",
        "removeAlias",
        "removeAliasByQuery",
    } <= linked


def test_every_query_parameter_that_is_read_is_in_the_document(described: Document) -> None:
    """What the routes look for in the query is declared, and what is declared is looked for."""
    declared = {
        resolved(described, each)["name"]
        for *_, operation in every_operation(described)
        for each in operation.get("parameters", [])
        if resolved(described, each)["in"] == "query"
    }

    assert declared == names_read() | {"filters"}


def names_read() -> set[str]:
    """Answer the parameters named in the source of the routes."""
    found: set[str] = set()
    for module in Path(api.__file__).parent.rglob("*.py"):
        if module.name.startswith("openapi"):
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            found |= _names_in(node)
    return found


def _names_in(node: ast.AST) -> set[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(attr=("parameter" | "flag"))
            | ast.Attribute(value=ast.Name(id="parameters"), attr="get"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return {name}
        case ast.Call(
            func=ast.Name(id="position_parameter"), args=[_, ast.Constant(value=str(name))]
        ):
            return {name}
        case ast.AnnAssign(target=ast.Name(id="_PARAMETERS"), value=ast.Dict(keys=keys)):
            return {str(key.value) for key in keys if isinstance(key, ast.Constant)} | {"sort"}
        case _:
            return set()


def test_document_is_made_once(installation: Served) -> None:
    """It is made at the first request, and those who ask at once get the same (http-api 8)."""
    app = create_app(installation.service)
    first, second = installation.together(
        installation.send("GET", "/openapi.json", by=NOBODY),
        installation.send("GET", "/openapi.json", by=NOBODY),
    )

    assert first.content == second.content
    assert first.headers["content-type"] == "application/json"
    settings = installation.service.settings
    again = openapi.encoded(app, version=settings.version, public_url=settings.public_url)
    assert first.content == again


def test_each_code_has_its_page(installation: Served) -> None:
    """`type` of a problem leads to a short page on this server (http-api 2)."""
    for code in TITLES:
        page = installation.get(f"/problems/{code}", by=NOBODY)
        assert (200, code) == (page.status_code, page.text.splitlines()[0])
    assert installation.get("/problems/no.such", by=NOBODY).status_code == 404


def test_document_passes_spectral(described: Document, tmp_path: Path) -> None:
    """Spectral's rules for OpenAPI find neither errors nor warnings (http-api 8)."""
    spectral = shutil.which("spectral")
    if spectral is None:
        pytest.skip("spectral is not installed")
    (tmp_path / "openapi.json").write_bytes(msgspec.json.encode(described))
    (tmp_path / ".spectral.yaml").write_text("extends: spectral:oas\n")

    done = subprocess.run(
        (spectral, "lint", "--fail-severity", "warn", "openapi.json"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout


# Schemas


class _Inner(Struct, frozen=True):
    text: str


class _Outer(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    inner_one: _Inner
    absent: _Inner | UnsetType
    perhaps: _Inner | None = None
    known: int | UnsetType = UNSET
    level: int = 3


def test_members_that_may_be_absent_are_not_required() -> None:
    """UNSET in a member's type means that answers leave it out; defaults are told."""
    schemas = Schemas()
    schemas.of(_Outer)

    outer = schemas.finish()["Outer"]

    assert ["innerOne"] == outer["required"]
    assert {"type": "integer", "default": 3} == outer["properties"]["level"]
    assert {"type": "integer"} == outer["properties"]["known"]
    assert outer["properties"]["absent"] == {"$ref": "#/components/schemas/Inner"}
    assert outer["additionalProperties"] is False


def test_type_that_cannot_be_described_is_refused() -> None:
    """A route with such a type is noticed when the document is made."""
    with pytest.raises(UndescribedTypeError):
        Schemas().of(complex)
