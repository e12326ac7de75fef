"""Stages that compute almost nothing, for tests of store, broker and executors; importable by worker processes."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from imer_ray.errors import NonFiniteError, StageStopped, UserError
from imer_ray.stages.graph import Stage


def toy(name, function="add", inputs=None, location=None, **config):
    return Stage(
        name=name,
        function=f"toy_stages:{function}",
        config=config,
        data="toy",
        inputs=inputs or {},
        location=location or {},
    )


def add(config, context):
    """x plus the sum of the inputs; leaves a line in ``log`` for each run, and ends when ``gate`` exists."""
    if "log" in config:
        _note(config["log"], f"{config['x']} {os.getpid()}")
    value = config["x"] + sum(float((folder / "value.txt").read_text()) for folder in context.inputs.values())
    time.sleep(config.get("sleep", 0))
    while "gate" in config and not Path(config["gate"]).exists():
        time.sleep(0.02)
    (context.folder / "value.txt").write_text(str(value))
    return {"value": value}


def device(config, context):
    """Leaves in ``log`` where it was told to compute, its process and the GPUs that this sees; ends with ``gate``."""
    _note(config["log"], f"{context.device} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    while not Path(config["gate"]).exists():
        time.sleep(0.02)
    return {"value": 0.0}


def compiled(config, context):
    """Counts the graphs that PyTorch makes of a model of this size."""
    import torch

    graphs = []

    def note(graph, inputs):
        graphs.append(graph)
        return graph.forward

    module = torch.nn.Linear(config["size"], 1).requires_grad_(False)
    torch.compile(module.forward, backend=note, dynamic=True)(torch.ones(2, config["size"]))
    return {"graphs": float(len(graphs))}


def cwd(config, context):
    return {"inode": float(os.stat(".").st_ino)}


def fail(config, context):
    _note(config["log"], "failed")
    raise {"user": UserError, "nan": NonFiniteError, "bug": ZeroDivisionError}[config["error"]]("as expected")


def count(config, context):
    """Adds up epoch numbers in a checkpoint; each epoch leaves ``epoch pid`` in ``log``.

    It does not go beyond the epoch ``hold_at`` before ``gate`` exists, but reports it again and again.

    The first process to get to the epoch ``die_at`` ends itself after its checkpoint (SIGKILL), to ``stop_at`` stops
    itself (SIGSTOP), and to ``freeze_at`` reads what never comes, as from a mount whose server has gone.
    """
    path = context.checkpoint / "state.json"
    epoch, total = json.loads(path.read_text()) if path.exists() else (0, 0)
    while epoch < config["num_epochs"]:
        time.sleep(config.get("sleep", 0.01))
        epoch, total = epoch + 1, total + epoch + 1
        path.with_suffix(".tmp").write_text(json.dumps([epoch, total]))
        path.with_suffix(".tmp").replace(path)
        context.written()
        _note(config["log"], f"{epoch} {os.getpid()}")
        _meet_accident(config, epoch)
        while True:
            if not context.report(epoch, config["num_epochs"], {"total": float(total)}):
                raise StageStopped(f"stopped at {epoch}")
            if epoch != config.get("hold_at") or Path(config["gate"]).exists():
                break
            time.sleep(0.02)
    (context.folder / "total.txt").write_text(str(total))
    return {"total": float(total)}


def regress(config, context):
    """Linear regression by gradient descent with the project's own loop, shared by all workers.

    With ``pace``, seconds, each step takes so long and leaves ``first-clip node`` in ``log``'s ``.steps``.
    """
    import torch

    from imer_ray.config.experiment import LoopConfig
    from imer_ray.training.loop import Training, fit, summary

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    y = x @ torch.arange(5.0) + 0.1 * torch.randn(64, generator=generator)
    torch.manual_seed(1)
    module = torch.nn.Linear(5, 1)

    def losses(rows, share, generator):
        noise = torch.randn(len(rows), generator=generator)
        if "pace" in config:
            import ray

            time.sleep(config["pace"])
            _note(config["log"] + ".steps", f"{int(rows[0])} {ray.get_runtime_context().get_node_id()}")
        rows, noise = rows[share], noise[share]
        return {"loss": (module(x[rows]).squeeze(1) - y[rows] - 0.1 * noise) ** 2}

    def report(epoch, num_epochs, metrics):
        if context.rank == 0:
            _note(config["log"], f"{epoch} {os.getpid()} {context.world_size}")
        if context.rank == 1:
            _meet_accident(config, epoch)
        return context.report(epoch, num_epochs, metrics)

    loop = LoopConfig(
        num_epochs=6, batch_size=config.get("batch_size", 15), learning_rate=0.05, weight_decay=0.0, ema_decay=0.9
    )
    watched = type(context)(**{**vars(context), "report": report})
    training = Training(module=module, losses=losses, rows=torch.arange(64), loop=loop, seed=3)
    return summary(fit(training, watched))


def _meet_accident(config, epoch):
    """Once, whichever process it happens to; its number is left in the log's ``.died``."""
    accident = next((name for name in ("die_at", "stop_at", "freeze_at") if config.get(name) == epoch), None)
    path = Path(config["log"] + ".died")
    if accident is None or path.exists():
        return
    path.write_text(str(os.getpid()))
    if accident == "freeze_at":
        os.mkfifo(config["log"] + ".fifo")
        Path(config["log"] + ".fifo").read_text()
    else:
        os.kill(os.getpid(), {"die_at": signal.SIGKILL, "stop_at": signal.SIGSTOP}[accident])


def _note(path, line):
    with open(path, "a") as file:
        file.write(line + "\n")


def notes(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []
