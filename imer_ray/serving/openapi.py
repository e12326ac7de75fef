"""The server's interface as OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imer_ray import __version__

ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def openapi(described: Mapping[str, Any]) -> dict[str, Any]:
    """The server's interface for generators of clients, of what `describe` says."""

    def answers(schema: Mapping[str, Any]) -> dict[str, Any]:
        return {"application/json": {"schema": schema}}

    failed = {"description": "refused: the answer says why", "content": answers(ERROR)}
    good = {"description": "the prediction, or a list of them", "content": answers(described["answer"])}
    body = {"required": True, "content": answers(described["request"])}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"imer_ray: {described['model']}", "version": __version__},
        "paths": {
            "/predict": {"post": {"requestBody": body, "responses": {"200": good, "4XX": failed, "5XX": failed}}},
            "/healthz": {"get": {"responses": {"200": {"description": "a replica answers"}, "503": failed}}},
            "/metrics": {"get": {"responses": {"200": {"description": "counters in Prometheus's text format"}}}},
        },
    }
