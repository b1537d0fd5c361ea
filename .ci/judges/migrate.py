"""A deployed stage moves to CloudFormation and back: nothing in the account is made anew or changed on the way. Meanwhile
its stack is stuck in every way that CloudFormation knows: each is told with its cause and the way out."""

import pathlib
import tempfile
import zipfile

from common import ROOT, Emulator, equal, expect
from stand_in_cloudformation import StandIn, event

COMMAND = ["cargo", "xtask", "local", "--port", "{port}"]
STAGE = ["--stage", "dev", "--yes"]


def packages(folder):
    """Packages that do nothing, for deployments that nobody calls."""
    for source in (ROOT / "functions/src/bin").glob("*.rs"):
        with zipfile.ZipFile(pathlib.Path(folder, f"{source.stem}.zip"), "w") as package:
            entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            package.writestr(entry, f"#!/bin/sh\n# {source.stem}\n")
    return folder


def account(cloud):
    """Everything that a stage is made of: ids that AWS assigned, or else when it was made."""
    gateway, functions = cloud.client("apigatewayv2"), cloud.client("lambda")
    found = {"names": cloud.inventory()}
    tables = [cloud.client("dynamodb").describe_table(TableName=name)["Table"] for name in found["names"]["tables"]]
    found["tables"] = [(table["TableName"], table["CreationDateTime"]) for table in tables]
    roles = [cloud.client("iam").get_role(RoleName=name)["Role"] for name in found["names"]["roles"]]
    found["roles"] = [(role["RoleName"], role["RoleId"], role["CreateDate"]) for role in roles]
    groups = cloud.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/chat-")["logGroups"]
    found["log groups"] = [(group["logGroupName"], group["creationTime"]) for group in groups]
    key = cloud.client("ssm").get_parameter(Name="/chat/dev/TokenKey", WithDecryption=True)["Parameter"]
    found["key"] = (key["Value"], key["Version"], key["LastModifiedDate"])
    urls = functions.list_function_url_configs(FunctionName="chat-dev-web")["FunctionUrlConfigs"]
    found["URLs"] = [(url["FunctionUrl"], url["CreationTime"]) for url in urls]
    for api in gateway.get_apis()["Items"]:
        here = {"ApiId": api["ApiId"]}
        found[api["ApiId"]] = {
            "routes": sorted((route["RouteKey"], route["RouteId"], route["Target"]) for route in gateway.get_routes(**here)["Items"]),
            "integrations": sorted(item["IntegrationId"] for item in gateway.get_integrations(**here)["Items"]),
            "deployments": sorted(item["DeploymentId"] for item in gateway.get_deployments(**here)["Items"]),
            "stages": [(stage["StageName"], stage["DeploymentId"]) for stage in gateway.get_stages(**here)["Items"]],
        }
    for name in found["names"]["functions"]:
        alias = functions.get_alias(FunctionName=name, Name="live")
        policy = functions.get_policy(FunctionName=name, Qualifier="live")["Policy"] if name != "chat-dev-broadcast" else ""
        found[name] = (alias["FunctionVersion"], functions.get_function(FunctionName=name)["Configuration"]["LastModified"], policy)
    return found


def stuck(cloud, stand_in, made):
    """Every state that a stack can be stuck in is told with its first cause and the way out, and nothing is done."""
    stack = stand_in.stacks["chat-dev"]
    settled = stack["status"]
    for status, way_out in (
        ("ROLLBACK_COMPLETE", "cargo xtask destroy"),
        ("UPDATE_FAILED", "cargo xtask deploy --rollback"),
        ("UPDATE_ROLLBACK_FAILED", "cargo xtask deploy --rollback"),
        ("DELETE_FAILED", "cargo xtask destroy"),
        ("IMPORT_ROLLBACK_FAILED", "cargo xtask migrate --to cloudformation"),
        ("UPDATE_IN_PROGRESS", "cargo xtask deploy"),
    ):
        event(stack, "chat-dev", "chat-dev", "AWS::CloudFormation::Stack", "UPDATE_IN_PROGRESS")
        event(stack, "chat-dev", "Messages", "AWS::DynamoDB::Table", "UPDATE_FAILED", f"cause of {status}")
        event(stack, "chat-dev", "Rates", "AWS::DynamoDB::Table", "UPDATE_FAILED", "Resource update cancelled")
        stack["status"] = status
        told = cloud.xtask("deploy", *STAGE, *made, "--no-wait", "--output", "json", code=1)["error"]
        expect(status in told["message"] and f"cause of {status}" in told["message"], f"state and cause: {told}")
        expect("cancelled" not in told["message"], f"what follows from it: {told}")
        expect(f"{way_out} --stage dev" in told["help"], f"way out of {status}: {told}")
        looked = cloud.xtask("state", "show", "--stage", "dev", "--output", "json")["cloudFormation"]
        equal(looked["status"], status, "status")
    stack["status"] = settled


with tempfile.TemporaryDirectory() as folder, Emulator(COMMAND, {}, "/") as cloud:
    made = ["--packages", packages(folder)]
    stand_in = StandIn(cloud.endpoint)
    cloud.endpoint = stand_in.endpoint
    cloud.xtask("deploy", *STAGE, *made)
    before = account(cloud)
    expect(all(before.values()), f"something was not found: {before}")
    stand_in.cannot_import = {"AWS::ApiGatewayV2::Stage"}
    refused = cloud.xtask("migrate", "--to", "cloudformation", *STAGE, *made, "--output", "json", code=1)["error"]
    expect("AWS::ApiGatewayV2::Stage (ChatStage)" in refused["message"], f"what cannot be imported: {refused}")
    equal(stand_in.stacks, {}, "stacks after a migration that cannot be")
    equal(account(cloud), before, "the account after a migration that cannot be")
    refused = cloud.xtask("deploy", *STAGE, *made, "--engine", "cloudformation", "--output", "json", code=1)["error"]
    expect("cargo xtask migrate --stage dev --to cloudformation" in refused["help"], f"way to the other engine: {refused}")

    stand_in.cannot_import = set()
    cloud.xtask("migrate", "--to", "cloudformation", *STAGE, *made)
    expect(len(stand_in.imported) > 80, f"only {len(stand_in.imported)} resources were imported")
    equal(account(cloud), before, "the account after the move to CloudFormation")
    equal(cloud.xtask("state", "show", "--stage", "dev", "--output", "json")["engine"], "cloudformation", "engine")
    refused = cloud.xtask("deploy", *STAGE, *made, "--engine", "direct", "--output", "json", code=1)["error"]
    expect("cargo xtask migrate --stage dev --to direct" in refused["help"], f"way to the other engine: {refused}")
    stuck(cloud, stand_in, made)
    equal(account(cloud), before, "the account after all that")

    cloud.xtask("migrate", "--to", "direct", *STAGE)
    equal(account(cloud), before, "the account after the move back")
    equal(stand_in.stacks["chat-dev"]["status"], "DELETE_COMPLETE", "stack")
    again = cloud.xtask("deploy", *STAGE, *made, "--output", "json")
    equal(again["changed"], [], "changes of a deployment after the move back")
    equal(account(cloud), before, "the account after a deployment that changes nothing")
    cloud.xtask("destroy", *STAGE)
print("migrate: to CloudFormation and back, through every stuck state, and no resource was touched")
