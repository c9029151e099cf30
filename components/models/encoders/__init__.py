"""Families of networks that read a text in both directions, and write none."""
