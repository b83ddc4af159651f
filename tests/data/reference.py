#!/usr/bin/env python3
"""Reduces an OpenAPI document to the facts that clients depend on, and writes them as JSON.

    tests/data/reference.py openapi.json > tests/data/reference.json

Facts are operations, parameters, statuses and the fields of schemas with their types; no
description, no example, no other text of the document is kept.
"""

import json
import sys


def schema(node):
    """The facts of one schema; references stay names."""
    if not node:
        return {}
    if "$ref" in node:
        facts = {"ref": node["$ref"].rsplit("/", 1)[1]}
    elif len(node.get("allOf", [])) == 1:
        facts = schema(node["allOf"][0])
    elif node.get("type") == "array":
        facts = {"type": "array", "items": schema(node.get("items"))}
    elif node.get("type") == "object" or "properties" in node:
        facts = {"type": "object"}
        if node.get("properties"):
            facts["fields"] = {name: schema(field) for name, field in node["properties"].items()}
        if node.get("required"):
            facts["required"] = sorted(node["required"])
        if isinstance(node.get("additionalProperties"), dict):
            facts["values"] = schema(node["additionalProperties"])
    else:
        facts = {key: node[key] for key in ("type", "format", "enum") if key in node}
    if node.get("nullable"):
        facts["nullable"] = True
    return facts


def content(node):
    media = (node or {}).get("content", {}).get("application/json", {})
    return schema(media["schema"]) if "schema" in media else None


def operation(node, shared):
    # Every path has these, whether or not the document says so.
    parameters = {}
    for parameter in shared + node.get("parameters", []):
        facts = {"type": schema(parameter.get("schema"))}
        if parameter.get("required"):
            facts["required"] = True
        parameters[f"{parameter['in']} {parameter['name']}"] = facts
    facts = {"parameters": parameters, "statuses": {}}
    body = content(node.get("requestBody"))
    if body is not None:
        facts["body"] = body
    for status, answer in node["responses"].items():
        if status[0] in "24":
            facts["statuses"][status] = content(answer)
    return facts


def reach(facts, schemas, reached):
    """Adds the schemas that the facts name, directly or not, to those that were reached."""
    if isinstance(facts, dict):
        name = facts.get("ref")
        if isinstance(name, str) and name not in reached:
            reached[name] = schemas[name]
            reach(schemas[name], schemas, reached)
        facts = list(facts.values())
    if isinstance(facts, list):
        for part in facts:
            reach(part, schemas, reached)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        of = json.load(file)
    methods = ("get", "head", "post", "put", "patch", "delete")
    operations = {
        f"{method.upper()} {path}": operation(node[method], node.get("parameters", []))
        for path, node in of["paths"].items()
        for method in methods
        if method in node
    }
    schemas = {}
    reach(operations, {name: schema(node) for name, node in of["components"]["schemas"].items()}, schemas)
    json.dump({"operations": operations, "schemas": schemas}, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
