"""Sweeps: one preset run in many variations, each with several seeds, and what can be said of the differences.

config.py     what a sweep is: a YAML, or `--grid` and `--range` of a preset
rows.py       its rows, each with a run a seed, and why some of them cannot be run here
running.py    runs what is missing, so many at once, wherever a `Runner` runs it
runners.py    as processes of this machine, or by the workers of a Prefect server
search.py     rows that Optuna proposes
outcome.py    what came of it: the table, and which differences are more than noise
answers.py    questions, each answered in words by the figures of its rows
sweep.py      all of it in order, under one parent run in MLflow
"""
