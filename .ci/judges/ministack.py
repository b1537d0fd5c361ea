"""MiniStack judges deploy, chat and destroy: another's control plane, data plane and IAM enforcement."""

import json
import os
import sys
import time
import urllib.request

from chat import chat
from common import ROOT, Emulator, equal, expect, nothing_left

COMMAND = [sys.executable.replace("python3", "ministack").replace("python", "ministack")]
WATCHED = "observability: {accessLogs: true, metrics: true, alarms: true, dashboard: true}\n"
ENVIRONMENT = {
    "BIND_HOST": "127.0.0.1",
    "GATEWAY_PORT": "{port}",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:{port}",
    "AUTH": "true",
}

with Emulator(COMMAND, ENVIRONMENT, "/_ministack/health") as cloud:
    first = cloud.xtask("deploy", "--stage", "dev", "--yes", "--output", "json")
    equal(first["failed"], [], "failed steps")
    outputs = first["outputs"]

    gateway = cloud.client("apigatewayv2")
    [api] = gateway.get_apis()["Items"]
    here = {"ApiId": api["ApiId"]}
    keys = sorted(route["RouteKey"] for route in gateway.get_routes(**here)["Items"])
    wanted = ["$connect", "$default", "$disconnect", "announce", "history", "join", "kick", "sendMessage", "who"]
    equal(keys, wanted, "routes")
    equal(len(gateway.get_authorizers(**here)["Items"]), 1, "authorizers")
    equal([stage["StageName"] for stage in gateway.get_stages(**here)["Items"]], ["dev"], "stages")
    inventory = cloud.inventory()
    equal(len(inventory["functions"]), 9, "functions")
    expect("chat-dev-connections" in inventory["tables"], f"table among {inventory['tables']}")
    for name in inventory["functions"]:
        function = cloud.client("lambda").get_function_configuration(FunctionName=name)
        equal((function["Runtime"], function["State"]), ("provided.al2023", "Active"), name)

    second = cloud.xtask("deploy", "--stage", "dev", "--yes", "--output", "json")
    equal(second["changed"], [], "changes of the second deployment")
    equal(second["outputs"], outputs, "outputs of the second deployment")

    # Another's idea of a request to a function URL, and of the statements that let everybody in.
    with urllib.request.urlopen(outputs["webUrl"]) as page:
        expect(page.read().startswith(b"<!doctype html>"), "the page is HTML")
        expect(page.headers["Strict-Transport-Security"], "behind HTTPS the page says so")
    with urllib.request.urlopen(outputs["webUrl"] + "config.json") as config:
        equal(json.load(config)["webSocketUrl"], outputs["webSocketUrl"], "where the page connects")

    # AWS answers 401 when an authorizer fails with the text "Unauthorized"; MiniStack answers 500 to every failure.
    chat(outputs["webSocketUrl"], lambda name: cloud.xtask("token", "--stage", "dev", "--sub", name), without_token=500)

    # MiniStack makes a deleted log group again for the late lines of a function, whatever its role allows: let the last
    # $disconnect end first.
    rows = lambda: cloud.client("dynamodb").scan(TableName=outputs["tables"]["Connections"])["Count"]
    deadline = time.monotonic() + 30
    while rows() and time.monotonic() < deadline:
        time.sleep(0.2)
    equal(rows(), 0, "rows of those who left")
    time.sleep(3)

    cloud.xtask("destroy", "--stage", "dev", "--yes")
    nothing_left(cloud)
    cloud.xtask("destroy", "--stage", "dev", "--yes")

    # All that watches over a stage, as another one understands it.
    name = f"watched-{os.getpid() % 100_000}"
    stage = ROOT / f"infra/stages/{name}.yml"
    stage.write_text("region: us-east-1\narchitecture: host\nbuildProfile: dev\nremovalPolicy: delete\n" + WATCHED)
    try:
        cloud.xtask("deploy", "--stage", name, "--yes")
        second = cloud.xtask("deploy", "--stage", name, "--yes", "--output", "json")
        equal(second["changed"], [], "changes of the second deployment of a watched stage")
        watching = cloud.client("cloudwatch")
        alarms = watching.describe_alarms()["MetricAlarms"]
        equal(len(alarms), 18, "alarms")
        equal({alarm["TreatMissingData"] for alarm in alarms}, {"notBreaching"}, "alarms without data")
        [board] = watching.list_dashboards()["DashboardEntries"]
        body = json.loads(watching.get_dashboard(DashboardName=board["DashboardName"])["DashboardBody"])
        expect(len(body["widgets"]) > 5, "the dashboard has widgets")
        [api] = gateway.get_apis()["Items"]
        [live] = gateway.get_stages(ApiId=api["ApiId"])["Items"]
        expect(f"/aws/apigateway/chat-{name}-chat" in live["AccessLogSettings"]["DestinationArn"], "the stage has an access log")
        cloud.xtask("destroy", "--stage", name, "--yes")
        nothing_left(cloud)
        equal((watching.describe_alarms()["MetricAlarms"], watching.list_dashboards()["DashboardEntries"]), ([], []), "alarms and dashboards left")
    finally:
        stage.unlink()
print("MiniStack: deployed, unchanged, chatted under IAM enforcement, destroyed without remains")
