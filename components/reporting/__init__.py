"""Plots, model cards, HTML pages, and what they say: data in, files and texts out. Knows no MLflow."""
