"""clusters/aws.yaml from an empty (mock) account to running nodes, as `ray up` and then the head would do it."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from ray.autoscaler._private import commands
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS, TAG_RAY_USER_NODE_TYPE

CLUSTERS = Path(__file__).parents[2] / "clusters"
CONFIG_FILE = CLUSTERS / "aws.yaml"
STACK = (CLUSTERS / "aws-stack.yaml").read_text()
TOKEN = "the-secret-token"
ACCOUNT = "123456789012"  # moto's


class Shell:
    """Stands in for the subprocess module: notes the ssh and rsync commands that Ray would run; all succeed."""

    CalledProcessError = subprocess.CalledProcessError

    def __init__(self) -> None:
        self.commands: list[str] = []

    def check_call(self, command: list[str], **_: Any) -> int:
        self.commands.append(" ".join(command))
        return 0

    def check_output(self, command: list[str], **_: Any) -> bytes:
        self.commands.append(" ".join(command))
        return b""


@dataclass
class Cluster:
    config: dict[str, Any]
    provider: AWSNodeProvider
    ec2: Any
    instances: list[dict[str, Any]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def of_type(self, name: str) -> list[dict[str, Any]]:
        tag = {"Key": TAG_RAY_USER_NODE_TYPE, "Value": name}
        return [instance for instance in self.instances if tag in instance["Tags"]]


def described() -> dict[str, Any]:
    return yaml.safe_load(CONFIG_FILE.read_text())


def deploy_stack() -> None:
    vpc = boto3.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    boto3.client("cloudformation").create_stack(
        StackName="imer-ray",
        TemplateBody=STACK,
        Parameters=[{"ParameterKey": "Vpc", "ParameterValue": vpc}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )


def ray_up(shell: Shell) -> dict[str, Any]:
    """`ray up clusters/aws.yaml --yes`, with ``shell`` where it would reach the head."""
    with pytest.MonkeyPatch.context() as patch:
        create = functools.partial(commands.get_or_create_head_node, _runner=shell)
        patch.setattr(commands, "get_or_create_head_node", create)
        return commands.create_or_update_cluster(
            str(CONFIG_FILE),
            override_min_workers=None,
            override_max_workers=None,
            no_restart=False,
            restart_only=False,
            yes=True,
            no_config_cache=True,
        )


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty account, the user's home with a token, and a checkout to copy."""
    from moto import mock_aws  # not where each test process collects it

    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        for name, value in {
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": described()["provider"]["region"],
        }.items():
            patch.setenv(name, value)
        patch.chdir(tmp_path_factory.mktemp("checkout"))
        yield


@pytest.fixture(scope="module")
def cluster(account: None) -> Cluster:
    """The stack deployed, `ray up` run, then two workers of each type started as the head's autoscaler starts them."""
    deploy_stack()
    shell = Shell()
    config = ray_up(shell)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, node_type in config["available_node_types"].items():
        if name != config["head_node_type"]:
            tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: name, TAG_RAY_NODE_STATUS: "up-to-date"}
            for _ in range(2):
                provider.create_node(copy.deepcopy(node_type["node_config"]), tags, 1)
    ec2 = boto3.client("ec2")
    instances = [i for reservation in ec2.describe_instances()["Reservations"] for i in reservation["Instances"]]
    return Cluster(config, provider, ec2, instances, shell.commands)


def test_ray_accepts_the_description() -> None:
    config = prepare_config(described())
    validate_config(config)
    with pytest.raises(Exception, match="Additional properties"):
        validate_config(config | {"no_such_key": 1})


@pytest.mark.slow
def test_cloudformation_accepts_the_stack() -> None:
    from cfnlint.api import lint_all

    assert [str(match) for match in lint_all(STACK) if match.rule.severity != "informational"] == []


@pytest.mark.slow
def test_ray_up_stops_where_there_is_no_stack(account: None) -> None:
    """Else Ray would make a security group of its own, open to SSH from everywhere."""
    elsewhere = prepare_config(described())
    elsewhere["provider"]["region"] = "eu-north-1"
    with pytest.raises(ClientError, match="LaunchTemplate"):
        AWSNodeProvider.bootstrap_config(elsewhere)
    assert boto3.client("ec2", region_name="eu-north-1").describe_instances()["Reservations"] == []


def test_the_head_and_the_workers_run(cluster: Cluster) -> None:
    assert {instance["State"]["Name"] for instance in cluster.instances} == {"running"}
    assert len(cluster.of_type("head")) == 1
    assert [len(cluster.of_type(name)) for name in ("worker_l4", "worker_a10g")] == [2, 2]
    assert len(cluster.provider.non_terminated_nodes({})) == 5


def test_workers_are_spot_and_the_head_is_not(cluster: Cluster) -> None:
    lifecycle = {i["InstanceId"]: i.get("InstanceLifecycle", "on-demand") for i in cluster.instances}
    head = cluster.of_type("head")[0]["InstanceId"]
    assert lifecycle.pop(head) == "on-demand"
    assert set(lifecycle.values()) == {"spot"}


def test_workers_come_and_go(cluster: Cluster) -> None:
    workers = [node for name, node in cluster.config["available_node_types"].items() if name != "head"]
    assert all(node["min_workers"] == 0 < node["max_workers"] for node in workers)
    assert cluster.config["provider"]["cache_stopped_nodes"] is False


def test_trials_wait_on_the_head_and_stages_run_on_the_gpus(cluster: Cluster) -> None:
    types = cluster.config["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0 and types["head"]["resources"]["trial_slot"] >= 16
    for name in ("worker_l4", "worker_a10g"):
        assert types[name]["resources"]["GPU"] == 1 and types[name]["resources"]["CPU"] == 8
        assert "trial_slot" not in types[name]["resources"]
    (start,) = [command for command in cluster.commands if "ray start" in command]
    assert '"trial_slot":64' in start and "--autoscaling-config" in start


def test_nothing_comes_in_from_outside(cluster: Cluster) -> None:
    used = {group["GroupId"] for instance in cluster.instances for group in instance["SecurityGroups"]}
    groups = cluster.ec2.describe_security_groups()["SecurityGroups"]
    assert {group["GroupName"] for group in groups} == {"default", "imer-ray"}
    assert used == {group["GroupId"] for group in groups if group["GroupName"] == "imer-ray"}
    rules = [rule for group in groups if group["GroupId"] in used for rule in group["IpPermissions"]]
    assert rules
    for rule in rules:
        assert not rule["IpRanges"] and not rule["Ipv6Ranges"] and not rule["PrefixListIds"]
        assert {pair["GroupId"] for pair in rule["UserIdGroupPairs"]} == used


def test_the_head_is_reached_through_session_manager_only(cluster: Cluster) -> None:
    region = cluster.config["provider"]["region"]
    head = cluster.of_type("head")[0]["InstanceId"]
    assert len(cluster.commands) > 5
    for command in cluster.commands:
        assert f"ProxyCommand=aws ssm start-session --region {region} " in command
        assert f"ubuntu@{head}" in command


def test_instance_metadata_asks_for_tokens(cluster: Cluster) -> None:
    for node_type in described()["available_node_types"].values():
        assert node_type["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    assert {instance["MetadataOptions"]["HttpTokens"] for instance in cluster.instances} == {"required"}


def test_disks_are_encrypted(cluster: Cluster) -> None:
    volumes = cluster.ec2.describe_volumes()["Volumes"]
    assert len(volumes) == 5 and all(volume["Encrypted"] for volume in volumes)


def test_ray_asks_for_its_token_on_every_node(cluster: Cluster) -> None:
    for role in ("head", "worker"):
        (start,) = [c for c in cluster.config[f"{role}_start_ray_commands"] if "ray start" in c]
        assert start.index("export RAY_AUTH_MODE=token") < start.index("ray start")
    assert "--dashboard-host=127.0.0.1" in cluster.config["head_start_ray_commands"][-1]


def test_the_token_travels_as_a_file(cluster: Cluster) -> None:
    assert cluster.config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any(command.startswith("rsync") and command.endswith("~/.ray/auth_token") for command in cluster.commands)
    assert not any(TOKEN in command for command in cluster.commands)
    assert TOKEN not in json.dumps(cluster.config)


def policies(role: str) -> dict[str, list[dict[str, Any]]]:
    """The statements of each policy that a role holds."""
    iam = boto3.client("iam")
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []
    found = {}
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)["PolicyVersion"]["Document"]
        found[policy["PolicyName"]] = document["Statement"]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_only_the_head_may_start_and_end_instances(cluster: Cluster) -> None:
    assert set(policies("imer-ray-head")) == {"imer-ray-node", "imer-ray-head"}
    assert set(policies("imer-ray-worker")) == {"imer-ray-node"}
    (profile,) = {instance["IamInstanceProfile"]["Arn"] for instance in cluster.of_type("worker_l4")}
    assert profile == f"arn:aws:iam::{ACCOUNT}:instance-profile/imer-ray-worker"


def test_every_right_is_bounded(cluster: Cluster) -> None:
    """What changes or reads anything names a resource, and what it does to instances, the cluster's tag."""
    without_resources = ("ec2:Describe", "ssm:UpdateInstanceInformation", "ssmmessages:")
    for statement in (s for statements in policies("imer-ray-head").values() for s in statements):
        for action in as_list(statement["Action"]):
            assert "*" not in action
            assert "*" not in as_list(statement["Resource"]) or action.startswith(without_resources)
        on_instances = any(":instance/" in resource for resource in as_list(statement["Resource"]))
        if on_instances:
            keys = statement["Condition"]["StringEquals"]
            assert keys.get("ec2:CreateAction") == "RunInstances" or "imer-ray" in keys.values()


def test_storage_is_one_prefix_of_one_private_bucket(cluster: Cluster) -> None:
    bucket = f"imer-ray-{ACCOUNT}-{cluster.config['provider']['region']}"
    granted = {
        resource
        for statement in policies("imer-ray-worker")["imer-ray-node"]
        if as_list(statement["Action"])[0] == "s3:GetObject"
        for resource in as_list(statement["Resource"])
    }
    assert granted == {f"arn:aws:s3:::{bucket}/studies/*"}
    from cfnlint.decode import decode_str

    template, _ = decode_str(STACK)
    bucket_properties = template["Resources"]["Bucket"]["Properties"]
    block = bucket_properties["PublicAccessBlockConfiguration"]
    assert len(block) == 4 and all(block.values())
    # What a node had sent of a file when it was taken away: nothing lists it, and it is paid for.
    (rule,) = bucket_properties["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled" and rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] <= 7


def test_taking_it_down_leaves_nothing_running(cluster: Cluster) -> None:
    cluster.provider.terminate_nodes(cluster.provider.non_terminated_nodes({}))
    assert cluster.provider.non_terminated_nodes({}) == []
