"""Answer about clips over HTTP: ``python -m imer_ray.serve model=models/quality port=8000``

``POST /predict`` takes the features of a clip, ``{"l": [[...], ...], "a": null, "v": [[...], ...]}`` (a list of frames
for each modality; ``null`` or left out where it is missing), or several as ``{"clips": [...]}``, and answers with
value, interval and what was recovered. ``GET /docs`` has the JSON Schema of both with the widths that the model reads,
``/openapi.json`` the same for generators of clients; ``/healthz`` is 200 while a replica answers; ``/metrics`` is for
Prometheus.

Requests that wait are predicted together. The model runs in ``scaling.num_replicas`` processes on Ray Serve; if one
dies, its requests are asked again elsewhere and it is started anew. ``host=0.0.0.0`` lets other machines in, without
authentication. ctrl-C ends the server once the requests under way are answered. It needs
``pip install 'imer-ray[serve]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from imer_ray import cli
from imer_ray.config.commands import ServeConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError, printable
from imer_ray.files import similar


def main(overrides: list[str]) -> None:
    config = compose(ServeConfig, "serve", overrides)
    if not Path(config.model).is_dir():  # the rest is told when it is opened, seconds later
        raise UserError(f"model={config.model}: there is no such folder{similar(config.model)}")
    try:
        from imer_ray.serving import app, server
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'imer-ray[serve]'") from error

    with server.bind(config.host, config.port) as listener:
        server.warn_if_open(listener)
        print(f"starting {config.scaling.num_replicas} replicas of {config.model}", flush=True)
        # Ray's processes work elsewhere.
        with app.replicas(replace(config, model=str(Path(config.model).absolute()))) as (handle, described):

            def announce() -> None:
                print(printable(summary(server.url(listener), described)), flush=True)

            try:
                server.serve(app.front(handle, config), listener, announce)
            except KeyboardInterrupt:  # ctrl-C or SIGTERM, once requests under way are answered
                print("stopped", file=sys.stderr)
                sys.exit(cli.INTERRUPTED)


def summary(url: str, described: Mapping[str, Any]) -> str:
    """Where the server is and what it reads, for the terminal."""
    reads = (
        f"{m}: {one['features']} features a frame ({one['what'] or 'which, is not known'}), {one['frames']} frames"
        for m, one in described["reads"].items()
    )
    return "\n".join(
        [f"serving {described['model']} at {url}; POST /predict, GET /docs", *(f"  {line}" for line in reads)]
    )


if __name__ == "__main__":
    cli.run(main, ServeConfig)
