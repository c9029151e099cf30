"""Prefect flows, their presets and the command line."""
