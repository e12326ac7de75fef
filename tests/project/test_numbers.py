"""Whole numbers that a column, a file or a generator cannot hold are refused before anything runs, with the range."""

import pytest

from imer_ray import command_schema
from imer_ray.config import compose, flatten
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
            compose(getattr(command_schema, schema), command, [f"{path}={text}"])
    for value in (2**53,):
        text = f"[{value}]" if path == "seeds" else value
        assert compose(getattr(command_schema, schema), command, [f"{path}={text}"])


@pytest.mark.parametrize("value", [-HUGE, 10**400, 1e30])
def test_no_number_is_larger_than_a_column_holds(value):
    """Every whole number of a search, and every other one given as a whole number."""
    flat = flatten(compose(command_schema.SearchConfig, "search", []))
    numbers = [path for path, default in flat.items() if type(default) is int]
    assert len(numbers) > 40
    for path in [*numbers[::14], "training.encode.learning_rate"]:
        if path == "training.encode.learning_rate" and isinstance(value, float):
            continue
        with pytest.raises(UserError) as raised:
            compose(command_schema.SearchConfig, "search", [f"{path}={value}"])
        assert str(raised.value).startswith(f"{path} must lie between -{2**53} and {2**53}, not at ")
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 200
