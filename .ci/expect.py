#!/usr/bin/env python3
"""Compares the results of http_clients.py with the failures that are expected, exactly.

usage: expect.py RESULTS.json EXPECTED.txt CLIENT...
Each CLIENT has to be in the results: one that is not installed must not pass for one that works.
Exit status: 1 if anything differs, each difference in a line.
"""
import json
import sys


def main():
    results = {(r["client"], r["test"]): r for r in json.load(open(sys.argv[1]))}
    clients = set(sys.argv[3:])
    expected = {}
    for line in open(sys.argv[2], encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            client, test, part = (field.strip() for field in line.rstrip("\n").split("|", 2))
            if client in clients:
                expected[client, test] = part
    wrong = ["%s: no results; is it installed?" % c for c in sorted(clients - {c for c, _ in results})]
    as_expected = 0
    for key, part in expected.items():
        found = results.get(key)
        if found is None:
            wrong.append("%s | %s: expected to fail, was not run" % key)
        elif found["ok"]:
            wrong.append("%s | %s: expected to fail, passes: take it off the list" % key)
        elif part not in found["info"]:
            wrong.append("%s | %s: expected to fail with %r, fails with %r" % (*key, part, found["info"]))
        else:
            as_expected += 1
    for key, found in results.items():
        if not found["ok"] and key not in expected:
            wrong.append("%s | %s: fails: %s" % (*key, found["info"]))
    for line in wrong:
        print(line)
    passed = sum(r["ok"] for r in results.values())
    print("%d of %d pass, %d fail as expected, %d wrong" % (passed, len(results), as_expected, len(wrong)))
    return bool(wrong)


sys.exit(main())
