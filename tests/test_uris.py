"""Secrets in addresses: refused in every command before anything happens, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from imer_ray.config.commands import (
    ConvertConfig,
    EvaluateCommandConfig,
    ExportConfig,
    FinetuneConfig,
    GenerateConfig,
    PredictConfig,
    SearchConfig,
    StagesConfig,
    TrainConfig,
)
from imer_ray.config.compose import compose
from imer_ray.errors import UserError
from imer_ray.search import main as search
from imer_ray.stages.store import Store
from imer_ray.uris import refuse_secrets

SECRET = "wJalrXUtnFEMI"
HELD = [
    "s3://AKIA:{}@bucket/stages",
    "s3://AKIA:{}/with/slashes@bucket/stages",  # as Amazon makes them, copied as they are
    "s3://AKIA%3A{}@bucket",
    "S3://{}@bucket",
    "abfs://container:{}@account.dfs.core.windows.net/x",
    "hdfs://user:{}@host:8020/x",
    "s3://bucket/x?secret_key={}&region=us-east-1",
    "s3://bucket/x?region=us-east-1&session_token={}",
    "s3://bucket/x?endpoint_override=http://user:{}@host:9000",
    "abfs://container@account/x?sig={}",
    "redis://:{}@host:6379",
]
HARMLESS = [
    "s3://bucket/stages?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:9000",
    "s3://bucket/a@b/c",
    "gs://anonymous@bucket/stages",
    "hdfs://user@host:8020/x",
    "abfs://container.dfs.core.windows.net/x?credential_kind=environment",
    "file:///data/a:b@c",
    "runs/me@work",
]


@pytest.mark.parametrize("uri", HELD)
def test_a_secret_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError) as raised:
        refuse_secrets("study.stages", uri.format(SECRET))
    said = str(raised.value)
    assert said.startswith("study.stages: ") and "AWS_SECRET_ACCESS_KEY" in said
    assert SECRET not in said and "AKIA" not in said and "slashes" not in said


@pytest.mark.parametrize("uri", HARMLESS)
def test_what_is_no_secret_is_let_through(uri: str) -> None:
    refuse_secrets("study.stages", uri)


COMMANDS = {
    "search": (SearchConfig, ["study.stages", "study.root", "data.path", "space", "scaling.address", "nonsense"]),
    "train": (TrainConfig, ["config", "data.path", "output", "stages", "settings.data.path"]),
    "evaluate": (EvaluateCommandConfig, ["model", "data.path", "output"]),
    "predict": (PredictConfig, ["model", "input", "output"]),
    "export": (ExportConfig, ["run", "output"]),
    "convert": (ConvertConfig, ["input", "output"]),
    "finetune": (FinetuneConfig, ["input", "stages"]),
    "generate": (GenerateConfig, ["output"]),
    "stages": (StagesConfig, ["root", "runs"]),
}


@pytest.mark.parametrize(("command", "key"), [(name, key) for name, (_, keys) in COMMANDS.items() for key in keys])
def test_no_command_takes_a_secret(command: str, key: str) -> None:
    with pytest.raises(UserError) as raised:
        compose(COMMANDS[command][0], command, [f"{key}=s3://AKIA:{SECRET}@bucket/x"])
    assert str(raised.value).startswith(f"{key}: the address s3://...bucket holds a key")
    assert SECRET not in str(raised.value)


def test_a_command_neither_shows_nor_writes_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        search([f"study.stages=s3://AKIA:{SECRET}@bucket/x"])
    assert SECRET not in str(raised.value) + "".join(capfd.readouterr())
    assert list(tmp_path.iterdir()) == []


def test_a_store_refuses_them_too() -> None:
    with pytest.raises(UserError, match="holds a key"):
        Store(f"s3://AKIA:{SECRET}@bucket/x")
