"""Whole numbers that a column, a file or a generator cannot hold are refused before anything runs, with the range."""

import pytest

from imer_ray.config import commands
from imer_ray.config.compose import compose
from imer_ray.config.resolve import tree_of
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError

HUGE = 17982163893102248868  # fits into no column of whole numbers
SEEDS = [
    ("search", "SearchConfig", "seed"),
    ("search", "SearchConfig", "study.seed"),
    ("search", "SearchConfig", "data.seed"),
    ("search", "SearchConfig", "data.world_seed"),
    ("train", "TrainConfig", "seeds"),
    ("finetune", "FinetuneConfig", "seed"),
    ("generate", "GenerateConfig", "seed"),
]


@pytest.mark.parametrize(("command", "schema", "path"), SEEDS)
def test_a_seed_that_nothing_can_hold_is_refused_with_the_range(command, schema, path):
    for value in (2**53 + 1, -HUGE // 4):
        text = f"[{value}]" if path == "seeds" else value
        with pytest.raises(UserError, match=rf"must lie between -{2**53} and {2**53}, not at {value}$"):
            compose(getattr(commands, schema), command, [f"{path}={text}"])
    for value in (2**53,):
        text = f"[{value}]" if path == "seeds" else value
        assert compose(getattr(commands, schema), command, [f"{path}={text}"])


@pytest.mark.parametrize("value", [-HUGE, 10**400, 1e30])
def test_no_number_is_larger_than_a_column_holds(value):
    """Every whole number of a search; each fourteenth is tried."""
    flat = flatten(tree_of(compose(commands.SearchConfig, "search", [])))
    numbers = [path for path, default in flat.items() if type(default) is int]
    assert len(numbers) > 40
    for path in numbers[::14]:
        with pytest.raises(UserError) as raised:
            compose(commands.SearchConfig, "search", [f"{path}={value}"])
        assert str(raised.value).startswith(f"{path} must lie between -{2**53} and {2**53}, not at ")
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 200


def test_a_number_that_need_not_be_whole_may_be_as_large_as_it_can():
    assert compose(commands.StagesConfig, "stages", [f"max_bytes={10**18}"]).max_bytes == 1e18
    with pytest.raises(UserError, match=r"max_bytes must lie between -1.797\d+e\+308 and 1.797\d+e\+308, not at 1000"):
        compose(commands.StagesConfig, "stages", [f"max_bytes={10**400}"])
