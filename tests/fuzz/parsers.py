"""Every parser that is fuzzed, by name."""

from tests.fuzz import replies, settings, tables, weights

TARGETS = {**settings.TARGETS, **tables.TARGETS, **replies.TARGETS, **weights.TARGETS}
