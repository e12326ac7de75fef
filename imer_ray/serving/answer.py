"""What a request is answered."""

from __future__ import annotations

from pydantic_core import to_json

Answer = tuple[int, bytes]  # HTTP status and JSON


def refusal(status: int, sentence: str) -> Answer:
    """Says in one sentence why there is nothing better to answer."""
    return status, to_json({"error": sentence})
