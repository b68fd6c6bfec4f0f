"""From pydantic models to CustomResourceDefinitions.

Kubernetes wants structural schemas: no $ref, no unions, every node typed. pydantic's generator
is bent to that here; what it cannot express comes in through `taskqueue_api.schema`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from taskqueue_api.schema import Model


class StructuralSchema(GenerateJsonSchema):
    """pydantic's JSON schema generator, kept to what a structural schema can hold."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leave `| None` out: an optional field is absent, never null."""
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """Write every literal as an enum."""
        return {"type": "string", "enum": list(schema["expected"])}

    def union_schema(self, schema: core_schema.UnionSchema) -> JsonSchemaValue:
        """Refuse unions: a structural schema has none."""
        raise TypeError(f"a structural schema cannot hold the union {schema['choices']}")

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Drop null from defaults, at any depth: the API server refuses or stores it."""
        result = super().default_schema(schema)
        if "default" in result:
            default = _without_none(result.pop("default"))
            if default not in (None, [], {}):
                result["default"] = default
        return result


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`. priority 1: only with `-o wide`."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True)
class Kind:
    """Everything a CustomResourceDefinition says besides its schema."""

    model: type[Model]
    group: str
    version: str
    kind: str
    plural: str
    short_names: Sequence[str]
    columns: Sequence[Column]
    selectable: Sequence[str] = ()
    status_default: dict[str, Any] | None = None
    scale: dict[str, str] | None = None
    # Not `taskqueue`: kubectl would take it for the category, and `get taskqueue NAME` fails.
    categories: Sequence[str] = field(default=("taskqueue-dev",))


def structural_schema(model: type[Model]) -> dict[str, Any]:
    """Return a model's structural schema, with every reference inlined."""
    document = model.model_json_schema(schema_generator=StructuralSchema, by_alias=True)
    definitions = document.pop("$defs", {})
    cleaned = _clean(document, definitions)
    assert isinstance(cleaned, dict)  # noqa: S101 - a model's schema is an object
    return cleaned


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        cleaned = {key: _without_none(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item not in (None, {})}
    return value


def _clean(node: Any, definitions: dict[str, Any]) -> Any:
    """Inline references; drop titles and what structural schemas must not hold."""
    if isinstance(node, list):
        return [_clean(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        node = {**target, **siblings}
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _clean(child, definitions) for name, child in value.items()}
        elif key == "title" or (key == "additionalProperties" and value is False):
            continue
        elif key in ("default", "enum"):
            result[key] = value
        else:
            result[key] = _clean(value, definitions)
    return result


def build_crd(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind, as a Kubernetes object."""
    schema = structural_schema(kind.model)
    if kind.status_default is not None:
        schema["properties"]["status"]["default"] = kind.status_default
    else:
        schema["properties"]["status"].pop("default", None)
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        subresources["scale"] = kind.scale
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": subresources,
        "additionalPrinterColumns": [_printer_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": schema},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": list(kind.short_names),
                "categories": list(kind.categories),
            },
            "versions": [version],
        },
    }


def _printer_column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
    }
    if column.description:
        entry["description"] = column.description
    if column.priority:
        entry["priority"] = column.priority
    return entry
