"""The AWS CLI, boto3 and wscat, as users have them, against `cargo xtask local`."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from chat import chat
from common import REGION, ROOT, Emulator, equal, expect, nothing_left

BIN = pathlib.Path(sys.executable).parent
WSCAT = pathlib.Path(os.environ["WSCAT"])


class LocalCloud(Emulator):
    """`cargo xtask local`, found by the other commands through its own file, as in another terminal."""

    def __init__(self):
        super().__init__(["cargo", "xtask", "local", "--port", "{port}"], {}, "/_local/health")
        self.scratch = tempfile.TemporaryDirectory()
        self.environment = {"STACKWRIGHT_SCRATCH": self.scratch.name}

    def xtask(self, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment["STACKWRIGHT_SCRATCH"] = self.scratch.name
        finished = subprocess.run(
            ["cargo", "xtask", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        expect(finished.returncode == 0, f"cargo xtask {' '.join(arguments)} ended with {finished.returncode}")
        return finished.stdout.strip()

    def aws(self, *arguments):
        """The AWS CLI."""
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_PAGER": "",
        }
        command = [BIN / "aws", "--endpoint-url", self.endpoint, "--output", "json", *arguments]
        finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        expect(finished.returncode == 0, f"aws {' '.join(arguments)} ended with {finished.returncode}")
        return json.loads(finished.stdout)


def wscat(url, tokens):
    """Two wscats under a terminal of their own: one speaks, the other hears it."""
    script = f"""
        set timeout 30
        spawn {WSCAT} -c {url} -H "Authorization: {tokens[0]}"
        set speaker $spawn_id
        expect -i $speaker "Connected" {{}} timeout {{ exit 1 }}
        spawn {WSCAT} -c {url} -H "Authorization: {tokens[1]}"
        set hearer $spawn_id
        expect -i $hearer "Connected" {{}} timeout {{ exit 2 }}
        send -i $speaker {{{{"action":"sendMessage","data":"Hello, World!"}}}}
        send -i $speaker "\\r"
        expect -i $hearer -re {{"type":"message".*"data":"Hello, World!"}} {{}} timeout {{ exit 3 }}
        exit 0
    """
    finished = subprocess.run(["expect", "-"], input=script, text=True)
    equal(finished.returncode, 0, "exit code of the conversation of two wscats")


with LocalCloud() as cloud:
    cloud.xtask("deploy", "--stage", "local", "--yes")
    outputs = json.loads(cloud.xtask("outputs", "--stage", "local", "--output", "json"))
    api = outputs["managementUrl"].split("/")[-2]

    routes = cloud.aws("apigatewayv2", "get-routes", "--api-id", api)["Items"]
    keys = sorted(route["RouteKey"] for route in routes)
    wanted = ["$connect", "$default", "$disconnect", "announce", "history", "join", "kick", "sendMessage", "who"]
    equal(keys, wanted, "routes")
    stages = cloud.aws("apigatewayv2", "get-stages", "--api-id", api)["Items"]
    equal([stage["StageName"] for stage in stages], ["local"], "stages")
    name = outputs["functions"]["send-message"]
    function = cloud.aws("lambda", "get-function-configuration", "--function-name", name)
    equal((function["State"], function["Runtime"]), ("Active", "provided.al2023"), "function")
    identity = cloud.aws("sts", "get-caller-identity")
    equal(identity["Account"], "000000000000", "account")
    role = cloud.aws("iam", "get-role", "--role-name", function["Role"].rsplit("/", 1)[1])["Role"]
    equal(role["AssumeRolePolicyDocument"]["Statement"][0]["Action"], "sts:AssumeRole", "trust policy")

    url = outputs["webSocketUrl"]
    mint = lambda user: cloud.xtask("token", "--stage", "local", "--sub", user)
    chat(url, mint)
    wscat(url, [mint("ana"), mint("bo")])

    # Somebody is connected while boto3 looks, posts and hangs up.
    import asyncio

    import websockets

    async def managed():
        async with websockets.connect(url, additional_headers={"Authorization": mint("ana")}) as socket:
            table = outputs["tables"]["Connections"]
            rows = cloud.aws("dynamodb", "scan", "--table-name", table)["Items"]
            subs = {row["sub"]["S"]: row["connectionId"]["S"] for row in rows}
            management = cloud.client("apigatewaymanagementapi", endpoint_url=outputs["managementUrl"])
            connection = management.get_connection(ConnectionId=subs["ana"])
            expect(connection["Identity"]["SourceIp"] == "127.0.0.1", "the connection has a source address")
            management.post_to_connection(ConnectionId=subs["ana"], Data=b"from outside")
            equal(await asyncio.wait_for(socket.recv(), 30), "from outside", "posted frame")
            management.delete_connection(ConnectionId=subs["ana"])
            await asyncio.wait_for(socket.wait_closed(), 30)
            try:
                management.post_to_connection(ConnectionId=subs["ana"], Data=b"too late")
                expect(False, "a closed connection takes no frame")
            except management.exceptions.GoneException:
                pass

    asyncio.run(managed())

    events = cloud.aws("logs", "filter-log-events", "--log-group-name", f"/aws/lambda/{name}")["events"]
    expect(any('"delivered":1' in event["message"] for event in events), "the broadcast is in the log")
    expect(not any("Hello, World!" in event["message"] for event in events), "messages are not in the log")

    cloud.xtask("destroy", "--stage", "local", "--yes")
    nothing_left(cloud)
print("AWS CLI, boto3 and wscat: the local cloud answers as AWS does")
