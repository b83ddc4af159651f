#!/usr/bin/env python3
"""Lists what requests of an OpenAPI document can say: each parameter and each field of a body, one a line.

    tests/data/fields.py openapi.json > tests/data/fields.txt

A line is the operation's method and path, where the thing is, and its name: `GET /api/v1/app query limit`.
No description, no example, no other text of the document is kept.
"""

import json
import sys

METHODS = ("get", "head", "post", "put", "patch", "delete")


def fields(node, schemas, at, seen):
    """The names of the fields of a schema, with those of the objects in them."""
    while "$ref" in node or len(node.get("allOf", [])) == 1:
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[1]
            if name in seen:
                return
            seen = seen | {name}
            node = schemas[name]
        else:
            node = node["allOf"][0]
    if node.get("type") == "array":
        yield from fields(node.get("items", {}), schemas, f"{at}[]", seen)
    for name, field in node.get("properties", {}).items():
        place = f"{at}.{name}" if at else name
        yield place
        yield from fields(field, schemas, place, seen)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        of = json.load(file)
    schemas = of["components"]["schemas"]
    lines = set()
    for path, node in of["paths"].items():
        for method in METHODS:
            if method not in node:
                continue
            operation = f"{method.upper()} {path}"
            for parameter in node.get("parameters", []) + node[method].get("parameters", []):
                if parameter["in"] != "path":
                    lines.add(f"{operation} {parameter['in']} {parameter['name']}")
            body = node[method].get("requestBody", {}).get("content", {}).get("application/json", {})
            for name in fields(body.get("schema", {}), schemas, "", frozenset()):
                lines.add(f"{operation} body {name}")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
