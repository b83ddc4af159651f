"""Asks everything that our OpenAPI document says can be asked, and much that it forbids: no 5xx, and every
answer is one that the document describes.

usage: run.py DOCUMENT URL TOKEN    (a running server, which may reach 127.0.0.1; SCHEMATHESIS names the program)
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# For each operation, on top of what the document's limits and examples give.
EXAMPLES = 25
# It takes a quarter of that; what hits it hangs.
LIMIT_SECONDS = 900
# Below, the run asks for things that are not there and shows little.
SUCCESS_PERCENT_MIN = 20


def main():
    document, url, token = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        counts = Path(work, "counts.json")
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FUZZ_URL": url,
            "FUZZ_TOKEN": token,
            "FUZZ_COUNTS": str(counts),
        }
        command = [os.environ["SCHEMATHESIS"], "run", os.path.abspath(document), "--url", url]
        command += ["--header", f"Authorization: Bearer {token}", "--checks", CHECKS]
        command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)]
        command += ["--generation-deterministic", "--continue-on-failure", "--no-color"]
        done = subprocess.run(command, env=environment, cwd=work, timeout=LIMIT_SECONDS, capture_output=True, text=True)
        answers = json.loads(counts.read_text()) if counts.exists() else {}
    if done.returncode:
        print(done.stdout, done.stderr)
    summary = re.search(r"=+ SUMMARY =+\n(.*)", done.stdout, re.DOTALL)
    print(summary.group(1).strip() if summary else "no summary")
    statuses = Counter()
    for operation, of_operation in sorted(answers.items()):
        if not any(status.startswith("2") for status in of_operation):
            print(f"never 2xx: {operation}: {of_operation}")
        statuses.update(of_operation)
    total = sum(statuses.values())
    share = 100 * sum(count for status, count in statuses.items() if status.startswith("2")) / max(total, 1)
    print(f"schemathesis: {total} requests, {share:.0f} % answered 2xx; by status: {dict(sorted(statuses.items()))}")
    if done.returncode or share < SUCCESS_PERCENT_MIN:
        sys.exit(1)


if __name__ == "__main__":
    main()
