#!/usr/bin/env python3
"""Holds task.schema.json against the task files that the parser's test uses too. TAP.

usage: schema.py SCHEMA FOLDER

good/*.json is valid; bad/*.json is not; bad/semantic/*.json is valid: nothing in there is for a schema to see
(where one comes to see it, the file belongs in bad/)."""

import json
import pathlib
import sys

try:
    import jsonschema
except ImportError:
    print("1..0 # SKIP python3-jsonschema is not installed")
    sys.exit(0)


def main():
    schema = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = pathlib.Path(sys.argv[2])
    failed = count = 0
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for sub, valid in (("good", True), ("bad", False), ("bad/semantic", True)):
        files = sorted((folder / sub).glob("*.json"))
        if not files:
            print(f"Bail out! no task files in {folder / sub}")
            return 1
        for path in files:
            try:
                error = jsonschema.exceptions.best_match(
                    validator.iter_errors(json.loads(path.read_text(encoding="utf-8")))
                )
                reason = error and f"{error.json_path}: {error.message}"
            except json.JSONDecodeError as e:
                reason = str(e)
            ok = valid == (reason is None)
            count += 1
            failed += not ok
            print(f"{'ok' if ok else 'not ok'} {count} - {sub}/{path.name}")
            if not ok:
                print("# " + (reason or "the schema takes it").replace("\n", " ")[:300])
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
