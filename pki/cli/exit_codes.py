"""The exit codes of all commands; ``docs/cli.md`` says more of each.

A question of yes or no (``renew --check``, ``verify``, ``policy explain``) answers 0 for yes, 1 for
no, and 3 where it could not tell.
"""

FAILED = 1
WRONG_USAGE = 2
COULD_NOT_TELL = 3
WARNINGS = 4
"""``handfast doctor`` found warnings, and nothing worse."""
PARTLY = 5
"""What was asked for is done, and did not reach every place."""
