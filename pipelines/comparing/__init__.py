"""Choosing between runs, beside `pipelines.comparison`: details, a page, pairwise judging, people's ratings."""
