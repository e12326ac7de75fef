import numpy as np
import pandas as pd
import pytest

from analysis.importance import MIN_POINTS, importances

RNG = np.random.default_rng(0)


def test_what_drives_the_objective_comes_first_on_any_scale_and_kind():
    n = 60
    settings = pd.DataFrame(
        {
            "rate": np.exp(RNG.uniform(np.log(1e-4), 0, n)),
            "steps": RNG.integers(1, 33, n),
            "sampler": RNG.choice(["ddim", "heun"], n),
            "causal": RNG.choice([True, False], n),
            "fixed": "always",
        }
    )
    drivers = {
        "rate": np.log(settings["rate"]) ** 2,
        "steps": 1.0 * settings["steps"],
        "sampler": 1.0 * (settings["sampler"] == "heun"),
        "causal": 1.0 * settings["causal"],
    }
    for name, effect in drivers.items():
        shares = importances(settings, effect + 0.01 * RNG.random(n))
        assert shares.index[0] == name and shares.iloc[0] > 0.5, name
        assert shares.sum() == pytest.approx(1) and set(shares.index) == set(drivers)


def test_settings_that_a_condition_switches_off_take_part():
    n = 80
    sde = RNG.choice(["ve", "vp"], n)
    sigma = np.where(sde == "ve", RNG.uniform(5, 50, n), np.nan)
    settings = pd.DataFrame({"sde": sde, "sigma": sigma, "other": RNG.uniform(0, 1, n)})
    objective = np.where(sde == "ve", (sigma - 10) ** 2 / 100, 20.0)  # only VE with sigma near 10 is good
    shares = importances(settings, objective)
    assert set(shares.index) == {"sde", "sigma", "other"}
    assert shares["sigma"] > shares["other"] and shares["sde"] > shares["other"]


def test_it_says_nothing_of_few_points_or_of_settings_that_never_vary():
    few = pd.DataFrame({"x": np.arange(MIN_POINTS - 1.0)})
    assert importances(few, range(MIN_POINTS - 1)).empty
    assert importances(pd.DataFrame({"x": [3] * 20}), range(20)).empty
    assert importances(pd.DataFrame(index=range(20)), range(20)).empty


def test_equal_objectives_make_nothing_important():
    shares = importances(pd.DataFrame({"x": np.arange(20.0)}), [1.0] * 20)
    assert shares.tolist() == [0.0]


def test_optunas_own_verbosity_is_left_as_it_was():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    importances(pd.DataFrame({"x": np.arange(20.0)}), range(20))
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    optuna.logging.set_verbosity(optuna.logging.INFO)
