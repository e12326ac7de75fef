"""Which parameters cost a pretraining, and what sharing them gains and costs."""

import json

import pytest
from changed import changed

from imer_ray import systems
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.tuning.space import file
from imer_ray.tuning.space.prefix import DEAR, prefix
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan

SPACES = sorted(path.stem for path in file.FOLDER.glob("*.yaml"))
NETWORKS = {"diffusion.sde", "diffusion.sde.schedule", "diffusion.backbone"}
WANTED = {
    "default": {"encoder.latent_dim", "fusion", "diffusion.prior", "diffusion.backbone"},
    "sampler_only": set(),
    "rohydr_lambda": {"loss.lambda_g"},
    "full": NETWORKS
    | {"encoder.latent_dim", "fusion", "diffusion.prior", "refiner", "bank.folds"}
    | {f"diffusion.sde.{name}" for name in ("sigma", "sigma_max")}
    | {f"diffusion.backbone.{name}" for name in ("conditioning", "num_layers", "width")}
    | {
        f"diffusion.{name}"
        for name in ("parametrization", "weighting", "time_sampling", "sharing", "condition_dropout")
    }
    | {"system", "distill.method", "loss.lambda_g"},
}


def graph(config):
    return systems.graph(typed(config, ExperimentConfig), "valid")


@pytest.mark.parametrize("name", SPACES)
def test_the_prefix_of_a_space_is_what_a_pretraining_reads(load_space, name):
    space, configurations = load_space(name)
    assert prefix(space, configurations.build, graph) == WANTED[name]


@pytest.mark.parametrize("system", ["decoupled", "imder", "rohydr"])
def test_every_system_trains_its_diffusion_in_a_dear_stage(load_space, system):
    """Another SDE is another dear stage; the encoder stays."""
    _, configurations = load_space("default")
    one, other = (
        {
            stage.key: stage.kind
            for stage in graph(configurations.build({"system": system, "diffusion.sde": sde})).in_order()
        }
        for sde in ("vp", "flow")
    )
    new = {kind for key, kind in other.items() if key not in one}
    assert new & set(DEAR) and "encode" not in new


def search(options, name, num_trials=24, **study):
    """Keys of the toy pretraining of each trial, in order, and all values."""
    study = {"name": name, "searcher": "random", **study}
    record = open_record(plan(changed(options, study=study), systems="toy_systems"))
    trained, values = [], []
    for _ in range(num_trials):
        proposal = record.ask()
        row = {
            "config": json.dumps(proposal.config),
            "error": None,
            "valid.Non0_F1_score": 0.7,
            "speedup_vs_imder": 9.0,
        }
        record.tell(proposal.trial, [complete_row(name, proposal.trial, 0, row)])
        sde = proposal.config["diffusion"]["sde"]
        trained.append(json.dumps(sde))
        values.append(proposal.values)
    return trained, values


def test_sharing_a_prefix_saves_pretrainings_and_costs_their_diversity(options):
    """24 trials, of which two are given: 3 to a prefix need a third of the pretrainings that continuous ve needs."""
    (free, _), (shared, values) = search(options, "free", prefix_trials=1), search(options, "shared", prefix_trials=3)
    assert len(set(free)) > 10
    assert len(set(shared)) <= 24 / 3
    assert len({json.dumps(v) for v in values}) == 24
