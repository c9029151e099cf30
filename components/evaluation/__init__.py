"""Metrics with intervals, baselines and what they say."""
