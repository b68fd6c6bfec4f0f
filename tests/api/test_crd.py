"""The generated schemas are structural and bounded."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import Field

from taskqueue_api.crd import Kind, build_crd, structural_schema
from taskqueue_api.kinds import KINDS, TASK, TASKQUEUE
from taskqueue_api.names import API_VERSION
from taskqueue_api.schema import Model, Rule, rules

Node = tuple[str, dict[str, Any]]

TYPES = {"object", "array", "string", "integer", "number", "boolean"}

FREE = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")

KEYWORDS = {
    *("type", "description", "properties", "required", "items", "additionalProperties"),
    *("default", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum"),
    *("minItems", "maxItems", "maxProperties", "format"),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    *FREE,
}


def walk(schema: dict[str, Any], path: str = "") -> Iterator[Node]:
    """Yield every schema node with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


NODES: list[Node] = [
    (f"{kind.kind}{path}", node)
    for kind in KINDS
    for path, node in walk(
        build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
    )
]


def has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_null(item) for item in value.values())
    if isinstance(value, list):
        return any(has_null(item) for item in value)
    return value is None


UNBOUNDED = ("observedGeneration", "tolerationSeconds")
"""Kubernetes' own numbers, which it takes as they are."""


def is_bounded(path: str, node: dict[str, Any]) -> bool:
    match node.get("type"):
        case "string":
            return "maxLength" in node or "enum" in node
        case "array":
            return "maxItems" in node and "items" in node
        case "object" if "additionalProperties" in node:
            return "maxProperties" in node
        case "object":
            return bool(node.get("properties"))
        case "integer" | "number":
            return "minimum" in node and ("maximum" in node or path.endswith(UNBOUNDED))
    return True


def test_the_walk_reaches_what_is_deep_in_the_schema() -> None:
    paths = {path for path, _ in NODES}
    assert {
        "TaskQueue.spec.workers.template.env[].valueFrom.secretKeyRef.name",
        "TaskQueue.spec.workers.template.resources.limits{}",
        "TaskQueue.spec.workers.template.sidecars[].startupProbe.httpGet.port",
        "Task.status.conditions[].type",
    } <= paths


def test_every_node_has_a_type_or_is_free_in_a_way_that_kubernetes_knows() -> None:
    assert [
        path
        for path, node in NODES
        if node.get("type") not in TYPES and not any(node.get(key) is True for key in FREE)
    ] == []


def test_no_node_has_a_keyword_that_structural_schemas_lack() -> None:
    # `$ref`, `title`, `anyOf` and the like: whatever is not on the list.
    assert [
        (path, sorted(set(node) - KEYWORDS)) for path, node in NODES if set(node) - KEYWORDS
    ] == []


def test_every_node_is_bounded() -> None:
    assert [path for path, node in NODES if not is_bounded(path, node)] == []


def test_every_field_says_what_it_is() -> None:
    assert [
        path
        for path, node in NODES
        if not node.get("description") and not path.endswith(("[]", "{}"))
    ] == []


def test_no_default_holds_a_null() -> None:
    # The API server refuses a CustomResourceDefinition with such a default.
    assert [path for path, node in NODES if has_null(node.get("default", ""))] == []


def test_a_required_field_has_no_default() -> None:
    assert [
        f"{path}.{name}"
        for path, node in NODES
        for name in node.get("required", [])
        if "default" in node["properties"][name]
    ] == []


def test_every_rule_has_a_sentence_for_people() -> None:
    found = [rule for _, node in NODES for rule in node.get("x-kubernetes-validations", [])]
    assert found
    assert [rule for rule in found if not (rule["rule"] and rule["message"])] == []


class Leaf(Model):
    """A leaf."""

    title: Annotated[str, Field(max_length=5)] = Field(description="Named like a keyword.")
    default: bool = Field(default=False, description="Likewise.")


class Tree(Model):
    """A tree."""

    first_leaf: Leaf = Field(description="In its own words.")
    maybe: Leaf | None = Field(default=None, description="Optional.")
    leaves: Annotated[list[Leaf], Field(max_length=3)] = Field(default=[], description="Many.")
    by_name: Annotated[dict[str, Leaf], Field(max_length=3)] | None = Field(
        default=None, description="A map."
    )


LEAF = {
    "description": "A leaf.",
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": {"type": "string", "maxLength": 5, "description": "Named like a keyword."},
        "default": {"type": "boolean", "default": False, "description": "Likewise."},
    },
}


def test_references_are_inlined_with_the_fields_own_words() -> None:
    assert structural_schema(Tree) == {
        "description": "A tree.",
        "type": "object",
        "required": ["firstLeaf"],
        "properties": {
            "firstLeaf": {**LEAF, "description": "In its own words."},
            "maybe": {**LEAF, "description": "Optional."},
            "leaves": {"type": "array", "maxItems": 3, "items": LEAF, "description": "Many."},
            "byName": {
                "type": "object",
                "maxProperties": 3,
                "additionalProperties": LEAF,
                "description": "A map.",
            },
        },
    }


def test_a_union_is_refused() -> None:
    class Either(Model):
        """Two types in one."""

        value: int | str

    with pytest.raises(TypeError, match="union"):
        structural_schema(Either)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(
            Rule("self > 1", "must be above 1"),
            {"rule": "self > 1", "message": "must be above 1"},
            id="fixed sentence",
        ),
        pytest.param(
            Rule("self > 1", "\"must be above '1', not '\" + self + \"'\"", shows_value=True),
            {
                "rule": "self > 1",
                "messageExpression": "\"must be above '1', not '\" + self + \"'\"",
                "message": "must be above '1'",
            },
            id="sentence that quotes the value",
        ),
    ],
)
def test_a_rule_becomes_a_validation(rule: Rule, expected: dict[str, str]) -> None:
    assert rules(rule) == {"x-kubernetes-validations": [expected]}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_kind_is_served_stored_and_named(kind: Any) -> None:
    crd = build_crd(kind)
    (version,) = crd["spec"]["versions"]
    assert crd["metadata"]["name"] == f"{kind.plural}.taskqueue.dev"
    assert f"{crd['spec']['group']}/{version['name']}" == API_VERSION
    assert (version["served"], version["storage"]) == (True, True)
    assert version["subresources"]["status"] == {}
    assert crd["spec"]["names"]["plural"] == kind.plural
    assert crd["spec"]["names"]["categories"] == ["taskqueue-dev"]


def resolve(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the node that a JSON path without filters names."""
    for name in path.removeprefix(".").split("."):
        schema = schema["properties"][name]
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_columns_and_selectors_point_at_fields_that_exist(kind: Any) -> None:
    version = build_crd(kind)["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    paths = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    paths += [entry["jsonPath"] for entry in version.get("selectableFields", [])]
    for path in paths:
        if path.startswith((".spec", ".status")):
            assert resolve(schema, path.partition("[?")[0])
    assert all(column["description"] for column in version["additionalPrinterColumns"])


def test_the_wide_columns_of_a_task_say_how_it_failed() -> None:
    columns = {column.name: column.json_path for column in TASK.columns}
    assert (columns["Error"], columns["Message"]) == (".status.error.type", ".status.error.message")


def test_the_scale_subresource_points_at_fields_that_exist() -> None:
    version = build_crd(TASKQUEUE)["spec"]["versions"][0]
    scale = version["subresources"]["scale"]
    schema = version["schema"]["openAPIV3Schema"]
    types = {key: resolve(schema, path)["type"] for key, path in scale.items()}
    assert types == {
        "specReplicasPath": "integer",
        "statusReplicasPath": "integer",
        "labelSelectorPath": "string",
    }


def test_a_new_task_is_pending_by_default_and_a_valid_status() -> None:
    schema = build_crd(TASK)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    default = schema["properties"]["status"]["default"]
    assert default["phase"] == "Pending"
    assert {item["type"]: item["status"] for item in default["conditions"]} == {
        "Reconciling": "True",
        "Succeeded": "Unknown",
    }
    assert TASK.model.model_validate(
        {"spec": {"queue": "a", "handler": "b"}, "status": default}
    ).model_dump(by_alias=True, exclude_none=True)["status"] == {
        **default,
        "conditions": default["conditions"],
    }


def test_a_new_taskqueue_has_no_status() -> None:
    schema = build_crd(TASKQUEUE)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "default" not in schema["properties"]["status"]


def test_task_tables_have_the_columns_that_the_operator_counts_by() -> None:
    assert {"Queue", "Status"} <= {column.name for column in TASK.columns}


def test_task_tables_have_the_columns_that_the_operator_cleans_up_by() -> None:
    # As text: of a date the API server's table shows the age.
    columns = {column.name: (column.type, column.json_path) for column in TASK.columns}
    assert columns["Finished"] == ("string", ".status.completionTime")
    assert columns["TTL"] == ("string", ".spec.ttlAfterFinished")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_rule_says_what_must_hold_also_where_the_value_cannot_be_quoted(kind: Kind) -> None:
    found = find_rules(build_crd(kind))
    assert any("messageExpression" in rule for rule in found)
    for rule in found:
        assert re.fullmatch(r"[^\n\"]+[^\n ,:]", rule["message"])
        assert re.search(r"\bmust\b", rule["message"])


def find_rules(node: Any) -> list[dict[str, str]]:
    """Return all rules below a node."""
    if isinstance(node, list):
        return [rule for item in node for rule in find_rules(item)]
    if not isinstance(node, dict):
        return []
    below = [rule for value in node.values() for rule in find_rules(value)]
    own: list[dict[str, str]] = node.get("x-kubernetes-validations", [])
    return own + below


MAY_CHANGE = {"cancel", "rerun", "ttlAfterFinished"}


def test_no_field_of_a_tasks_spec_is_left_out_of_what_cannot_be_changed() -> None:
    schema = build_crd(TASK)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = schema["properties"]["spec"]
    rule = spec["x-kubernetes-validations"][0]["rule"]
    # The admission policy compares the payload, which CEL cannot see here.
    fixed = set(spec["properties"]) - MAY_CHANGE - {"payload"}
    assert "payloadFrom" in fixed
    assert {field for field in fixed if f"self.{field} == oldSelf.{field}" not in rule} == set()


def test_tasks_to_be_run_again_are_told_by_column_and_selector() -> None:
    columns = {column.name: (column.type, column.json_path) for column in TASK.columns}
    assert columns["Run"] == ("integer", ".status.run")
    assert columns["Rerun"] == ("integer", ".spec.rerun")
    assert ".spec.rerun" in TASK.selectable
