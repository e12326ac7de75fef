"""clusters/rayservice.yaml is what KubeRay and Ray Serve take, and names what is there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from imer_ray.errors import UserError

SERVICE = yaml.safe_load((Path(__file__).parents[2] / "clusters" / "rayservice.yaml").read_text())
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay_schema.yaml").read_text()) | {"$ref": "#/$defs/RayService"}
SERVE = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
(WORKERS,) = CLUSTER["workerGroupSpecs"]


def test_it_is_a_rayservice() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(SERVICE, SCHEMA)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(serveConfig=spec.pop("serveConfigV2")),
        lambda spec: spec["rayClusterConfig"].pop("headGroupSpec"),
        lambda spec: spec["rayClusterConfig"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].update(maxReplicas="4"),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"].update(container=[]),
    ],
)
def test_a_mistake_would_be_found(spoil: Callable[[dict[str, Any]], object]) -> None:
    spoilt = copy.deepcopy(SERVICE)
    spoil(spoilt["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, SCHEMA)


def test_its_serve_configuration_is_one_and_every_key_of_it_is_known() -> None:
    """Ray itself passes over keys that it does not know."""
    from ray.serve.config import AutoscalingConfig  # takes seconds, not where each test process collects it
    from ray.serve.schema import ServeDeploySchema

    parsed = ServeDeploySchema.model_validate(SERVE)
    (application,) = parsed.applications
    pairs = [(parsed, SERVE), (application, SERVE["applications"][0]), (parsed.http_options, SERVE["http_options"])]
    pairs += zip(application.deployments, SERVE["applications"][0]["deployments"], strict=True)
    for model, given in pairs:
        assert given.keys() <= type(model).model_fields.keys()
    (scaled,) = (one["autoscaling_config"] for one in SERVE["applications"][0]["deployments"] if len(one) > 3)
    assert scaled.keys() <= AutoscalingConfig.model_fields.keys()


def application(args: dict[str, Any]) -> Any:
    module, _, name = SERVE["applications"][0]["import_path"].partition(":")
    return getattr(import_module(module), name)(args)


def test_the_application_that_it_names_has_the_deployments_that_it_sets() -> None:
    built = application(SERVE["applications"][0]["args"])
    replicas = built._bound_deployment.init_args[0]
    names = [built._bound_deployment.name, replicas._bound_deployment.name]
    assert names == [deployment["name"] for deployment in SERVE["applications"][0]["deployments"]]
    with pytest.raises(UserError, match="unknown|there is no|did you mean"):
        application({"modle": "/models/quality"})


def test_the_replicas_fit_on_the_workers() -> None:
    ingress, replica = SERVE["applications"][0]["deployments"]
    most = replica["autoscaling_config"]["max_replicas"]
    assert SERVE["applications"][0]["args"]["scaling"]["num_replicas"] == most
    container = WORKERS["template"]["spec"]["containers"][0]
    cpus = float(container["resources"]["limits"]["cpu"]) * WORKERS["maxReplicas"]
    wanted = [ingress["num_replicas"] * ingress["ray_actor_options"]["num_cpus"]]
    assert sum(wanted) + most * replica["ray_actor_options"]["num_cpus"] <= cpus


def test_the_versions_and_the_model_are_the_same_throughout() -> None:
    assert CLUSTER["rayVersion"] == ray.__version__
    pods = [group["template"]["spec"] for group in (CLUSTER["headGroupSpec"], WORKERS)]
    containers = [pod["containers"][0] for pod in pods]
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)
    assert len({container["image"] for container in containers}) == 1
    (mount,) = containers[1]["volumeMounts"]
    assert SERVE["applications"][0]["args"]["model"].startswith(f"{mount['mountPath']}/") and mount["readOnly"]
