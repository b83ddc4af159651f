#!/usr/bin/env python3
"""Lists the operations of an OpenAPI document: method, path and name, one a line.

    tests/data/known_operations.py openapi.json > shared/http/src/known_operations.txt
"""

import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        paths = json.load(file)["paths"]
    methods = ("get", "head", "post", "put", "patch", "delete")
    lines = [
        f"{method.upper()} {path} {node[method]['operationId']}"
        for path, node in paths.items()
        for method in methods
        if method in node
    ]
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
