#!/usr/bin/env bash
# Runs pytest's command. What fails in a run of many at once is run once more, alone, and named: a
# test of real processes may meet a machine that stood still. More than three such tests, or one
# that fails again, fail the run.
set -uo pipefail
most=3
failed=.pytest_cache/v/cache/lastfailed
rm -f "$failed"
status=0
"$@" || status=$?
if [ "$status" -ne 1 ] || [ ! -s "$failed" ]; then
  exit "$status" # all passed, or pytest itself could not go on
fi
names=$(python3 -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))))' "$failed")
number=$(wc -l <<<"$names")
if [ "$number" -gt "$most" ]; then
  exit "$status"
fi
printf '\n%s failed beside the others; now alone:\n%s\n\n' "$number" "$names"
"$@" -n 0 --last-failed --last-failed-no-failures none || exit "$status"
printf '\nFAILED BESIDE THE OTHERS, PASSED ALONE: find out why, each is a fault of the test or of ours\n%s\n' "$names"
