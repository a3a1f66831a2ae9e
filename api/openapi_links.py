"""Which requests do the answers of the document lead on to? (http-api 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from api.schemas import REFERENCE, Schema

PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def add_links(paths: Mapping[str, Schema], components: Mapping[str, Schema]) -> None:
    """Lead from the id in a POST's answer to what can be done with it (http-api 8)."""
    for path, item in paths.items():
        answers = item.get("post", {}).get("responses", {})
        answer = answers.get("201") or answers.get("200", {})
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        # The first is what is made; the second tells of a dry run.
        schema = schema.get("anyOf", [schema])[0]
        named = components.get(str(schema.get("$ref", "")).removeprefix(REFERENCE), {})
        beneath = re.compile(re.escape(path) + r"/\{\w+\}")
        targets = [other for other in paths if beneath.fullmatch(other)]
        if "id" not in named.get("properties", {}) or not targets:
            continue
        links = {
            one["operationId"]: _link(one["operationId"], path, target)
            for target in targets
            for method, one in paths[target].items()
            if method in {"get", "put", "patch", "delete"}
        }
        answer["links"] = links


def add_links_from_put(paths: Mapping[str, Schema], queries: Mapping[str, tuple[str, ...]]) -> None:
    """Lead from what a PUT made to its end, which is at the same path."""
    for path, item in paths.items():
        made = item.get("put", {}).get("responses", {}).get("201", {})
        if "Location" in made.get("headers", {}):
            kept = {name: f"$request.path.{name}" for name in PATH_PARAMETER.findall(path)}
            for name in queries.get(item["put"]["operationId"], ()):
                kept[name.removeprefix("*")] = f"$request.query.{name.removeprefix('*')}"
            ends = item["delete"]["operationId"]
            made["links"] = {ends: {"operationId": ends, "parameters": kept}}


def _link(operation_id: str, path: str, target: str) -> Schema:
    last = target.rpartition("{")[2].removesuffix("}")
    kept = {name: f"$request.path.{name}" for name in PATH_PARAMETER.findall(path)}
    return {"operationId": operation_id, "parameters": {**kept, last: "$response.body#/id"}}
