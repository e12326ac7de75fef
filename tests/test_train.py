"""What `train` reads: an exported file or a published system's preset, and the changes that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imer_ray.config import compose
from imer_ray.errors import UserError
from imer_ray.schema import ExperimentConfig
from imer_ray.train import read_config


def test_a_preset_is_read_by_name_with_changes() -> None:
    settings = {"training": {"joint": {"num_epochs": 4}}, "diffusion": {"sampler": "heun"}}
    config = read_config(Path("imder"), {"name": "synthetic", "num_test": 50}, settings)
    assert config["system"] == "imder" and config["diffusion"]["backbone"]["name"] == "imder_unet"
    assert config["training"]["joint"]["num_epochs"] == 4 and config["training"]["joint"]["batch_size"] == 32
    assert config["diffusion"]["sampler"]["name"] == "heun" and config["diffusion"]["num_steps"] == 100
    assert config["data"]["num_test"] == 50 and len(config["data_fingerprint"]) > 10


def test_an_exported_file_is_the_same_configuration(tmp_path: Path) -> None:
    config = compose(ExperimentConfig, "experiment", ["diffusion.sde=ve"])
    (tmp_path / "pick.yaml").write_text(yaml.safe_dump({"config": config}))
    read = read_config(tmp_path / "pick.yaml", {}, {})
    assert {k: v for k, v in read.items() if k != "data_fingerprint"} == {
        k: v for k, v in config.items() if k != "data_fingerprint"
    }
    changed = read_config(tmp_path / "pick.yaml", {}, {"diffusion": {"sde": {"sigma_max": 30.0}}})
    assert changed["diffusion"]["sde"]["sigma_max"] == 30.0 and changed["diffusion"]["sde"]["name"] == "ve"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diffusion": {"num_stesp": 3}}, "diffusion.num_stesp"),
        ({"diffusion": {"sde": "vx"}}, "diffusion.sde"),
        ({"diffusion": {"num_steps": 0}}, "num_steps"),
    ],
)
def test_wrong_changes_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_config(Path("decoupled"), {}, settings)


def test_neither_a_file_nor_a_preset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist.*decoupled, imder, rohydr"):
        read_config(tmp_path / "none.yaml", {}, {})
