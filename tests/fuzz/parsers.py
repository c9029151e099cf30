"""Every parser that is fuzzed, by name: `python -m tests.fuzz.parsers` lists them."""

import sys

from tests.fuzz import replies, settings, tables, weights

TARGETS = {**settings.TARGETS, **tables.TARGETS, **replies.TARGETS, **weights.TARGETS}

if __name__ == "__main__":
    sys.stdout.write("\n".join(TARGETS))
