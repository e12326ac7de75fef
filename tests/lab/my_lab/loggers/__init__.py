"""Loggers of this laboratory."""
