import os
import time

from imer_ray.errors import NonFiniteError, UserError


def encode(config, context):
    _note("encode")
    return {"epochs": 2.0}


def pretrain(config, context):
    _note(f"pretrain {config['sde']['name']}")
    for epoch in range(3):
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        context.report(epoch + 1, 3, {})
    return {"epochs": 3.0}


def evaluate(config, context):
    """Complete if loss.recovery is at least 0.5; below, each tenth fails in a way of its own."""
    _note(f"evaluate {config['num_steps']} {config['loss']['recovery']}")
    metrics = {
        "valid.Non0_F1_score": 0.8 - 0.2 / config["num_steps"],
        "valid.l.Non0_F1_score": 0.7,
        "speedup_vs_imder": 100.0 / config["num_steps"],
        "nfe": float(config["num_steps"]),
        "flops_per_clip": 1e6 * config["num_steps"],
    }
    match int(10 * config["loss"]["recovery"]):
        case 0:
            raise ZeroDivisionError("a bug")
        case 1:
            raise NonFiniteError("the loss became nan")
        case 2:
            return {**metrics, "valid.Non0_F1_score": float("nan")}
        case 3:
            return {name: value for name, value in metrics.items() if name != "speedup_vs_imder"}
        case 4 if "TOY_BROKEN" in os.environ:
            raise UserError("the toy is broken: repair it")
    return metrics


def _note(line):
    if "TOY_LOG" in os.environ:
        with open(os.environ["TOY_LOG"], "a") as file:
            file.write(line + "\n")
