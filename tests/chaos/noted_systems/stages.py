"""The project's own stages; each beginning, step, epoch and end leaves ``what key pid node epoch`` in CHAOS_LOG."""

import dataclasses
import os
import time

import ray

from imer_ray.stages.run import load_function

STEP_SECONDS = 0.05  # that a step takes longer, so that a moment that is drawn can be met


def __getattr__(kind):
    """The noted function of a kind of stage."""
    if kind.startswith("_"):
        raise AttributeError(kind)
    real = load_function(f"imer_ray.tasks.{kind}:run")

    def run(config, context):
        where = f"{context.checkpoint.parent.name} {os.getpid()} {ray.get_runtime_context().get_node_id()}"
        done = 0

        def leaving():
            time.sleep(STEP_SECONDS)
            _note(f"step {where} {done}")
            return context.leaving()

        def report(epoch, num_epochs, metrics):
            nonlocal done
            done = epoch
            _note(f"epoch {where} {epoch}")
            return context.report(epoch, num_epochs, metrics)

        _note(f"begin {where} 0")
        metrics = real(config, dataclasses.replace(context, report=report, leaving=leaving))
        _note(f"end {where} {done}")
        return metrics

    return run


def _note(line):
    with open(os.environ["CHAOS_LOG"], "a") as file:
        file.write(line + "\n")
