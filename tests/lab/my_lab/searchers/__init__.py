"""Searchers of this laboratory."""
