import functools
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
sys.path[:0] = [HERE, f"{HERE}/study"]  # changed, toy_systems, records; test_killed_record

SPACE = """\
diffusion.sde: {choice: [vp, ve]}
diffusion.sde.sigma_max: {float: [5, 50], log: true, when: {diffusion.sde: ve}}
diffusion.num_steps: {int: [1, 64], log: true}
loss.recovery: {float: [0.5, 1.0]}
points:
  - {diffusion.sde: ve, diffusion.sde.sigma_max: 10, diffusion.num_steps: 4, loss.recovery: 0.75}
"""


@pytest.fixture(scope="session")
def composed():
    """The search's configuration as its command composes it by default."""
    from imer_ray.config.commands import SearchConfig
    from imer_ray.config.compose import compose

    return compose(SearchConfig, "search", [])


@pytest.fixture(scope="session")
def load_space(composed):
    """load_space(name) reads one of the spaces that come with the package; with the configurations around the base."""
    from imer_ray.config.experiment import ExperimentConfig
    from imer_ray.config.resolve import tree_of
    from imer_ray.tuning.space import file
    from imer_ray.tuning.space.check import Configurations

    base = {**tree_of(composed, ExperimentConfig), "data_fingerprint": "test"}

    @functools.cache
    def load_space(name):
        return file.load(name, base), Configurations(base)

    return load_space


@pytest.fixture
def base(composed):
    """Tree of the experiment that a search begins with."""
    from imer_ray.config.experiment import ExperimentConfig
    from imer_ray.config.resolve import tree_of

    return tree_of(composed, ExperimentConfig)


@pytest.fixture
def options(composed, tmp_path):
    """Settings of a search of the toy systems in a temporary folder."""
    from changed import changed

    space = tmp_path / "toy.yaml"
    space.write_text(SPACE)
    study = {"name": "toy", "root": str(tmp_path / "runs"), "num_trials": 6, "slots": 2}
    few = {"num_train": 96, "num_valid": 64, "num_test": 64}  # clips: each plan reads them
    return changed(composed, study=study, space=str(space), data=few)
