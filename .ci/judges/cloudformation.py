"""fakecloud judges `deploy --engine cloudformation`: another's CloudFormation makes, changes and deletes the whole stack.

Not part of `.ci/run`: fakecloud comes as source only, and compiling it takes half an hour on two cores. By hand:

    cargo install fakecloud --version 0.51.0 --locked --debug --root /var/tmp/fakecloud
    FAKECLOUD=/var/tmp/fakecloud/bin/fakecloud .venv/bin/python .ci/judges/cloudformation.py

Imports and stuck stacks are not judged here but in `migrate.py`: fakecloud answers an import change set of a resource that
does not exist with `Add`, names no identifiers in `GetTemplateSummary`, and rolls back what was never executed.
"""

import os
import pathlib
import tempfile
import zipfile

from common import ROOT, Emulator, equal, expect

COMMAND = [os.environ.get("FAKECLOUD", "fakecloud"), "--addr", "127.0.0.1:{port}"]
STAGE = ["--stage", "dev", "--yes"]
WATCHED = ROOT / f"infra/stages/judged-{os.getpid()}.yml"
SETTINGS = """region: us-east-1
architecture: host
buildProfile: dev
removalPolicy: retain
engine: cloudformation
observability: { accessLogs: true, metrics: true, alarms: true, dashboard: true }
"""


def packages(folder, version):
    """Packages that do nothing; `send-message` differs between versions."""
    for source in (ROOT / "functions/src/bin").glob("*.rs"):
        with zipfile.ZipFile(pathlib.Path(folder, f"{source.stem}.zip"), "w") as package:
            entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            package.writestr(entry, f"#!/bin/sh\n# {source.stem} {version if source.stem == 'send-message' else 1}\n")
    return ["--packages", folder]


def code(cloud):
    function = cloud.client("lambda").get_function(FunctionName="chat-dev-send-message")
    return function["Configuration"]["CodeSha256"]


with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two, Emulator(COMMAND, {}, "/") as cloud:
    first, second = packages(one, 1), packages(two, 2)
    deploy = ["deploy", *STAGE, "--output", "json"]

    made = cloud.xtask(*deploy, *first, "--engine", "cloudformation")
    equal(made["failed"], [], "failed steps")
    expect(len(made["changed"]) > 80, f"{len(made['changed'])} resources")
    stacks = cloud.client("cloudformation")
    [stack] = stacks.describe_stacks(StackName="chat-dev")["Stacks"]
    equal(stack["StackStatus"], "CREATE_COMPLETE", "stack")
    equal(made["outputs"]["webSocketUrl"], {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}["webSocketUrl"], "URL")
    inventory = cloud.inventory()
    equal([len(inventory[kind]) for kind in ("apis", "functions", "roles", "tables", "log groups")], [1, 9, 9, 4, 9], "account")
    equal(inventory["parameters"], ["/chat/dev/TokenKey"], "what CloudFormation cannot make")
    api = cloud.client("apigatewayv2").get_apis()["Items"][0]["ApiId"]
    equal(len(cloud.client("apigatewayv2").get_routes(ApiId=api)["Items"]), 9, "routes")

    s3 = cloud.client("s3")
    [bucket] = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    expect(all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()), "the bucket is private")
    equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled", "versioning")
    expect("aws:SecureTransport" in s3.get_bucket_policy(Bucket=bucket)["Policy"], "TLS only")
    equal(len(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]), 1, "lifecycle")
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    equal(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256", "encryption")
    objects = lambda: {item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    stored = objects()

    # The stage knows its engine from now on.
    equal(cloud.xtask(*deploy, *first)["changed"], [], "changes of the second deployment")
    equal(objects(), stored, "objects after the second deployment")
    cloud.xtask(*deploy, *first, "--engine", "direct", code=1)
    equal(cloud.xtask("outputs", "--stage", "dev", "--output", "json"), made["outputs"], "outputs")
    cloud.xtask("logs", "--stage", "dev")
    status = cloud.xtask("status", "--stage", "dev", "--output", "json")
    equal(status["outputs"], made["outputs"], "outputs of the status")
    equal([r for r in status["resources"] if r["differs"]], [], "what differs")
    cloud.xtask("token", "--stage", "dev", "--sub", "ana")
    looked = cloud.xtask("state", "show", "--stage", "dev", "--output", "json")
    equal((looked["engine"], looked["cloudFormation"]["status"]), ("cloudformation", "CREATE_COMPLETE"), "state")

    # As `diff`, which compiles the functions: see below.
    equal(cloud.xtask(*deploy, "--dry-run", *first)["actions"], [], "plan without changes")
    changes = {change["id"]: change["action"] for change in cloud.xtask(*deploy, "--dry-run", *second)["actions"]}
    equal(changes, {"SendMessageFunction": "update", "SendMessageAlias": "update"}, "plan")
    earlier = code(cloud)
    updated = cloud.xtask(*deploy, *second)
    equal(sorted(step["id"] for step in updated["changed"]), ["SendMessageAlias", "SendMessageFunction"], "changes")
    expect(code(cloud) != earlier, "the code is new")
    equal(len([key for key in objects() - stored if key.endswith(".zip")]), 1, "new packages")

    cloud.xtask("rollback", "--stage", "dev")
    equal(code(cloud), earlier, "the code after a rollback")

    cloud.xtask("destroy", *STAGE)
    left = {kind: names for kind, names in cloud.inventory().items() if names}
    equal(left, {}, "left after destroy")
    cloud.xtask("destroy", *STAGE)

    # With all that production has, and compiled functions.
    stage = ["--stage", WATCHED.stem, "--yes"]
    try:
        WATCHED.write_text(SETTINGS)
        made = cloud.xtask("deploy", *stage, "--output", "json")
        equal(made["failed"], [], "failed steps of the watched stage")
        expect({"Dashboard", "ApiGatewayAccount"} <= {step["id"] for step in made["changed"]}, f"made: {made['changed']}")
        watching = cloud.client("cloudwatch")
        alarms = [alarm["AlarmName"] for alarm in watching.describe_alarms()["MetricAlarms"]]
        expect(len(alarms) > 10, f"alarms: {alarms}")
        equal(len(watching.list_dashboards()["DashboardEntries"]), 1, "dashboards")
        equal(cloud.xtask("diff", *stage, "--output", "json")["actions"], [], "differences")
        WATCHED.write_text(SETTINGS + "throttling: { rateLimit: 7, burstLimit: 9 }\n")
        actions = cloud.xtask("diff", *stage, "--output", "json", "--exit-code", code=3)["actions"]
        equal([(step["id"], step["action"]) for step in actions], [("ChatStage", "update")], "differences")
        sets = stacks.list_change_sets(StackName=f"chat-{WATCHED.stem}")["Summaries"]
        equal(len(sets), 1, "change sets after `diff`: only the executed one")
        cloud.xtask("destroy", *stage)
        left = {kind: names for kind, names in cloud.inventory().items() if names}
        equal(sorted(left), ["parameters", "tables"], "what is retained")
        equal(watching.describe_alarms()["MetricAlarms"], [], "alarms after destroy")
        equal(watching.list_dashboards()["DashboardEntries"], [], "dashboards after destroy")
    finally:
        WATCHED.unlink()
print("fakecloud: made, unchanged, changed, compared, rolled back and deleted by its CloudFormation")
