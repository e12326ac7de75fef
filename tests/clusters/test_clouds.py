"""clusters/gcp.yaml and azure.yaml: Ray takes them, nobody else gets in, and the set-up makes what they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from stubs import Typed, typed

CLUSTERS = Path(__file__).parents[2] / "clusters"
CONFIGS = {name: yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text()) for name in ("gcp", "azure")}
WORKERS = {
    name: [node for kind, node in config["available_node_types"].items() if kind != "head"]
    for name, config in CONFIGS.items()
}
SET_UP = {"gcp": "our-project", "azure": "11111111-2222-3333-4444-555555555555 ourstudies 198.51.100.7"}
each = pytest.mark.parametrize("name", CONFIGS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Typed, dict[str, Any]]]:
    """What each set-up asks for where nothing is there yet, and the description that it writes."""
    found = {}
    for name, words in SET_UP.items():
        folder = tmp_path_factory.mktemp(name)
        answers = {"az identity show": "the-principal"}
        run = typed(f"export STUBS_NEW=1; bash {CLUSTERS}/{name}-setup.sh {words}", folder, answers)
        assert run.status == 0 and run.unknown == [], run.errors
        found[name] = run, yaml.safe_load((folder / f"{name}.yaml").read_text())
    return found


@each
def test_ray_accepts_the_description(name: str, made: dict[str, Any]) -> None:
    for config in (CONFIGS[name], made[name][1]):
        prepared = prepare_config(config)
        validate_config(prepared)
        with pytest.raises(Exception, match="Additional properties"):
            validate_config(prepared | {"no_such_key": 1})


@each
def test_nothing_is_left_to_be_filled_in(name: str, made: dict[str, Any]) -> None:
    assert "my-" in str(CONFIGS[name]) and "my-" not in str(made[name][1])


@each
def test_trials_wait_on_the_head_and_stages_run_on_the_gpus(name: str) -> None:
    head = CONFIGS[name]["available_node_types"]["head"]["resources"]
    assert head["CPU"] == head["GPU"] == 0 and head["trial_slot"] >= 16
    assert [node["resources"] for node in WORKERS[name]] == [{"CPU": 8, "GPU": 1}]


@each
def test_workers_come_and_go(name: str) -> None:
    assert all(node["min_workers"] == 0 < node["max_workers"] == 8 for node in WORKERS[name])
    assert CONFIGS[name]["provider"]["cache_stopped_nodes"] is False


def test_workers_are_spot_and_the_head_is_not() -> None:
    (worker,), head = WORKERS["gcp"], CONFIGS["gcp"]["available_node_types"]["head"]
    assert (
        worker["node_config"]["scheduling"]["provisioningModel"] == "SPOT" and "scheduling" not in head["node_config"]
    )
    (worker,), head = WORKERS["azure"], CONFIGS["azure"]["available_node_types"]["head"]
    assert worker["node_config"]["azure_arm_parameters"]["priority"] == "Spot"
    assert "priority" not in head["node_config"]["azure_arm_parameters"]


@each
def test_the_token_travels_as_a_file_and_ray_asks_for_it_on_every_node(name: str) -> None:
    config = CONFIGS[name]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for role in ("head", "worker"):
        (start,) = [command for command in config[f"{role}_start_ray_commands"] if "ray start" in command]
        assert start.index("export RAY_AUTH_MODE=token") < start.index("ray start")
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


@each
def test_the_nodes_install_what_their_head_starts_others_with(name: str) -> None:
    assert any(f'"$HOME/imer_ray[{name}]"' in command for command in CONFIGS[name]["setup_commands"])


@each
def test_the_three_clouds_differ_in_nothing_but_themselves(name: str) -> None:
    aws, here = yaml.safe_load((CLUSTERS / "aws.yaml").read_text()), CONFIGS[name]
    same = ["cluster_name", "max_workers", "upscaling_speed", "idle_timeout_minutes", "file_mounts", "rsync_exclude"]
    same += ["rsync_filter", "head_start_ray_commands", "head_node_type"]
    assert {key: here[key] for key in same} == {key: aws[key] for key in same}
    started = [
        line.replace("spot-notice.sh aws", f"spot-notice.sh {name}") for line in aws["worker_start_ray_commands"]
    ]
    assert here["worker_start_ray_commands"] == started
    assert here["setup_commands"] == [line.replace("[aws]", f"[{name}]") for line in aws["setup_commands"]]


def calls(run: Typed, *words: str) -> list[list[str]]:
    return [call for call in run.calls if re.search(r"\s".join(words), " ".join(call))]


def option(call: list[str], name: str) -> str:
    joined = [word.partition("=")[2] for word in call if word.startswith(f"{name}=")]
    return joined[0] if joined else call[call.index(name) + 1]


def test_on_google_cloud_nothing_comes_in_but_through_the_proxy(made: dict[str, Any]) -> None:
    run, config = made["gcp"]
    sources = {call[-1]: option(call, "--allow") for call in calls(run, "firewall-rules", "create")}
    assert sources == {"--source-ranges=10.20.0.0/20": "all", "--source-ranges=35.235.240.0/20": "tcp:22"}
    for node in config["available_node_types"].values():
        assert all("accessConfigs" not in interface for interface in node["node_config"]["networkInterfaces"])
    assert "start-iap-tunnel %h 22" in config["auth"]["ssh_proxy_command"] and config["auth"]["ssh_proxy_use_node_id"]
    assert config["provider"]["use_internal_ips"]


def test_on_google_cloud_the_set_up_makes_what_is_named(made: dict[str, Any]) -> None:
    run, config = made["gcp"]
    provider = config["provider"]
    (subnet,) = calls(run, "subnets", "create")
    where, made_as = provider["region"], subnet[subnet.index("create") + 1]
    place = f"projects/{provider['project_id']}/regions/{where}/subnetworks/{made_as}"
    assert option(subnet, "--region") == where and provider["availability_zone"].startswith(where)
    for node in config["available_node_types"].values():
        assert [interface["subnetwork"] for interface in node["node_config"]["networkInterfaces"]] == [place]
    (account,) = config["available_node_types"]["worker_l4"]["node_config"]["serviceAccounts"]
    granted = {(option(call, "--member"), option(call, "--role")) for call in calls(run, "add-iam-policy-binding")}
    roles = ("roles/storage.objectUser", "roles/storage.legacyBucketReader")
    assert granted == {(f"serviceAccount:{account['email']}", role) for role in roles}
    assert calls(run, "service-accounts", "create", account["email"].partition("@")[0])
    assert calls(run, "routers", "nats", "create")  # a way out
    assert all(option(call, "--project") == provider["project_id"] for call in run.calls)


def test_on_google_cloud_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    run = typed(f"bash {CLUSTERS}/gcp-setup.sh our-project", tmp_path, {})
    assert run.status == 0 and calls(run, "create") == []


def test_on_azure_nothing_comes_in_but_ssh_from_one_address(made: dict[str, Any]) -> None:
    run, config = made["azure"]
    (rule,) = calls(run, "rule", "create")
    assert option(rule, "--source-address-prefixes") == "198.51.100.7/32"
    assert option(rule, "--destination-port-ranges") == "22"
    (subnet,) = calls(run, "subnet", "update")
    assert option(subnet, "--network-security-group") == option(rule, "--nsg-name")
    assert config["provider"]["use_internal_ips"]  # of workers, so that they get no other


def test_on_azure_the_set_up_makes_what_is_named(made: dict[str, Any]) -> None:
    """By the names under which Ray looks for them."""
    run, config = made["azure"]
    provider = config["provider"]
    (network,), (subnet,) = calls(run, "vnet", "create"), calls(run, "subnet", "update")
    cluster = f"ray-{config['cluster_name']}-{provider['unique_id']}"
    assert (option(network, "--name"), option(network, "--subnet-name")) == (f"{cluster}-vnet", f"{cluster}-subnet")
    assert (option(subnet, "--vnet-name"), option(subnet, "--name")) == (f"{cluster}-vnet", f"{cluster}-subnet")
    assert option(network, "--address-prefixes") == provider["subnet_mask"] and "--nat-gateway" in subnet
    (identity,) = calls(run, "identity", "create")
    assert option(identity, "--name") == provider["msi_name"]
    groups = {option(call, "--resource-group") for call in run.calls if "--resource-group" in call}
    assert groups == {provider["resource_group"], provider["msi_resource_group"]}
    (granted,) = calls(run, "role", "assignment", "create")
    assert option(granted, "--assignee-object-id") == "the-principal"
    assert option(granted, "--scope").endswith("/storageAccounts/ourstudies")
    assert all(option(call, "--subscription") == provider["subscription_id"] for call in run.calls)
    (group,) = calls(run, "group", "create", "--name")
    assert option(group, "--location") == provider["location"]
