"""A deployed stage moves to CloudFormation and back: nothing in the account is made anew or changed on the way."""

import pathlib
import tempfile
import zipfile

from common import ROOT, Emulator, equal, expect
from stand_in_cloudformation import StandIn

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
    """Everything that a stage is made of, ids included."""
    gateway, functions = cloud.client("apigatewayv2"), cloud.client("lambda")
    found = {"names": cloud.inventory()}
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


with tempfile.TemporaryDirectory() as folder, Emulator(COMMAND, {}, "/") as cloud:
    made = ["--packages", packages(folder)]
    stand_in = StandIn(cloud.endpoint)
    cloud.endpoint = stand_in.endpoint
    cloud.xtask("deploy", *STAGE, *made)
    before = account(cloud)
    stand_in.cannot_import = {"AWS::ApiGatewayV2::Stage"}
    cloud.xtask("migrate", "--to", "cloudformation", *STAGE, *made, code=1)
    equal(account(cloud), before, "the account after a migration that cannot be")
    cloud.xtask("deploy", *STAGE, *made, "--engine", "cloudformation", code=1)

    stand_in.cannot_import = set()
    cloud.xtask("migrate", "--to", "cloudformation", *STAGE, *made)
    expect(len(stand_in.imported) > 80, f"only {len(stand_in.imported)} resources were imported")
    equal(account(cloud), before, "the account after the move to CloudFormation")
    equal(cloud.xtask("state", "show", "--stage", "dev", "--output", "json")["engine"], "cloudformation", "engine")
    cloud.xtask("deploy", *STAGE, *made, "--engine", "direct", code=1)

    cloud.xtask("migrate", "--to", "direct", *STAGE)
    equal(account(cloud), before, "the account after the move back")
    equal(stand_in.stacks["chat-dev"]["status"], "DELETE_COMPLETE", "stack")
    again = cloud.xtask("deploy", *STAGE, *made, "--output", "json")
    equal(again["changed"], [], "changes of a deployment after the move back")
    equal(account(cloud), before, "the account after a deployment that changes nothing")
    cloud.xtask("destroy", *STAGE)
print("migrate: to CloudFormation and back, and no resource was touched")
