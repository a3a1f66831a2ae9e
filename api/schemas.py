"""What is the JSON schema of a type that routes read or answer?

For OpenAPI 3.1, which takes JSON Schema 2020-12. Litestar's own generation counts members that
may be absent as required, and gives each error a body that is not ours; so the types are read
here, and what cannot be described is refused instead of being left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin

from msgspec import NODEFAULT, UNSET, Struct, UnsetType, inspect, structs

from api import schema_rules
from domain.sealed import Secret

Schema = dict[str, Any]

REFERENCE: Final = "#/components/schemas/"


class UndescribedTypeError(Exception):
    """A route reads or answers a type of which no schema can be given."""


class Schemas:
    """The components of one document; a class gets its name when all of them are known."""

    def __init__(self) -> None:
        self._components: dict[type[Struct], Schema] = {}
        self._references: dict[type[Struct], Schema] = {}

    def of(self, annotation: object) -> Schema:
        """Answer the schema of a type; structs are referred to."""
        return self._of(inspect.type_info(annotation))

    def finish(self) -> dict[str, Schema]:
        """Name the classes and answer their schemas; no two have the same name."""
        taken = Counter(_short_name(cls) for cls in self._components)
        named: dict[str, Schema] = {}
        for cls, component in self._components.items():
            name = _short_name(cls)
            if taken[name] > 1:
                name = _noun(cls) + name
            self._references[cls]["$ref"] = REFERENCE + name
            named[name] = {"title": name, **component}
        return dict(sorted(named.items()))

    def _of(self, info: inspect.Type) -> Schema:
        found = _plain(info)
        if found is not None:
            return found
        match info:
            case inspect.StructType():
                return self._reference(info)
            case inspect.UnionType():
                return _union([self._of(member) for member in info.types])
            case inspect.VarTupleType() | inspect.ListType():
                return {"type": "array", "items": self._of(info.item_type)}
            case inspect.DictType():
                return {"type": "object", "additionalProperties": self._of(info.value_type)}
            case _:
                raise UndescribedTypeError(repr(info))

    def _reference(self, info: inspect.StructType) -> Schema:
        cls = info.cls
        if cls not in self._references:
            self._references[cls] = {"$ref": ""}
            self._components[cls] = self._component(info)
        return self._references[cls]

    def _component(self, info: inspect.StructType) -> Schema:
        noun, described = info.cls.__module__.rpartition(".")[2], _own_words(info.cls)
        raw = {field.name: field for field in structs.fields(info.cls)}
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for field in info.fields:
            name = field.encode_name
            rule = schema_rules.rule(noun, _short_name(info.cls), name)
            schema = self._of(field.type)
            properties[name] = schema if "$ref" in schema else {**schema, **rule}
            default = raw[field.name].default
            if default is NODEFAULT and field.required and not _may_be_absent(raw[field.name].type):
                required.append(name)
            elif default is not UNSET and default is not NODEFAULT and default is not None:
                properties[name] = {**properties[name], "default": default}
        return {
            **({"description": described} if described else {}),
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": not info.forbid_unknown_fields,
        }


_FIXED: Final[Mapping[type[inspect.Type], Schema]] = {
    inspect.BoolType: {"type": "boolean"},
    inspect.FloatType: {"type": "number"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
    inspect.NoneType: {"type": "null"},
    inspect.AnyType: {},
    inspect.RawType: {},
}


def _plain(info: inspect.Type) -> Schema | None:
    """Answer the schema of a type that has no parts."""
    match info:
        case inspect.StrType():
            limits = {"minLength": info.min_length, "maxLength": info.max_length}
            return {"type": "string", **_given(limits)}
        case inspect.IntType():
            return {"type": "integer", **_given({"minimum": info.ge, "maximum": info.le})}
        case inspect.LiteralType():
            return {"type": "string", "enum": list(info.values)}
        case inspect.EnumType():
            return {"type": "string", "enum": [member.value for member in info.cls]}
        case inspect.CustomType() if info.cls is Secret:
            return {"type": "string", "format": "password", "writeOnly": True}
        case _:
            return _FIXED.get(type(info))


def _given(limits: Mapping[str, int | None]) -> Schema:
    return {name: limit for name, limit in limits.items() if limit is not None}


def _union(members: list[Schema]) -> Schema:
    """Answer what any of the schemas allows; null is one more type where there is one other."""
    others = [member for member in members if member != {"type": "null"}]
    if len(members) == 1:
        return members[0]
    if len(others) == 1 and "type" in others[0] and "enum" not in others[0]:
        return {**others[0], "type": [others[0]["type"], "null"]}
    return {"anyOf": members}


def _may_be_absent(annotation: object) -> bool:
    return UnsetType in get_args(annotation)


def _short_name(cls: type) -> str:
    """Answer a class's own name; `Results[GroupForm]` is `GroupFormResults`."""
    origin = get_origin(cls)
    if origin is None:
        return cls.__name__.removeprefix("_")
    return "".join(_short_name(argument) for argument in get_args(cls)) + _short_name(origin)


def _noun(cls: type) -> str:
    named: type = next(iter(get_args(cls)), cls)
    return "".join(word.title() for word in named.__module__.rpartition(".")[2].split("_"))


def _own_words(cls: type) -> str:
    """Answer the class's docstring on one line."""
    origin: type = get_origin(cls) or cls
    return " ".join((origin.__doc__ or "").split())
