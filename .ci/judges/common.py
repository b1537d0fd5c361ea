"""What the judges share: an emulator in a process of its own, the command line against it, and boto3 beside it."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGION = "us-east-1"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Emulator:
    """A server on a free loopback port; ends with the `with` block."""

    def __init__(self, command, environment, health):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.command = [part.format(port=self.port) for part in command]
        self.environment = {key: value.format(port=self.port) for key, value in environment.items()}
        self.health = health

    def __enter__(self):
        self.log = open(f"/tmp/judge-{self.port}.log", "w+")
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(self.command, env=environment, stdout=self.log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(self.endpoint + self.health, timeout=2)
                return self
            except urllib.error.HTTPError:
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.log.seek(0)
                    sys.exit(f"{self.command[0]} did not start:\n{self.log.read()}")
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def client(self, service, **options):
        options.setdefault("endpoint_url", self.endpoint)
        return boto3.client(
            service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test", **options
        )

    def xtask(self, *arguments, code=0):
        """Runs the command line and returns what it printed on stdout, as JSON where it is; of events, the last one."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment |= {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }
        finished = subprocess.run(
            ["cargo", "xtask", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        expect(finished.returncode == code, f"cargo xtask {' '.join(arguments)} ended with {finished.returncode}")
        printed = finished.stdout.strip()
        for text in (printed, printed.rpartition("\n")[2]):
            try:
                return json.loads(text)
            except ValueError:
                pass
        return printed

    def inventory(self):
        """Names of everything that a stack could leave behind."""
        iam, functions = self.client("iam"), self.client("lambda").list_functions()["Functions"]
        return {
            "apis": [api["Name"] for api in self.client("apigatewayv2").get_apis()["Items"]],
            "functions": [function["FunctionName"] for function in functions],
            "roles": [role["RoleName"] for role in iam.list_roles()["Roles"] if role["RoleName"].startswith("chat-")],
            "tables": self.client("dynamodb").list_tables()["TableNames"],
            "log groups": [
                group["logGroupName"]
                for group in self.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/chat-")["logGroups"]
            ],
            "parameters": [
                parameter["Name"]
                for parameter in self.client("ssm").describe_parameters()["Parameters"]
                if parameter["Name"].startswith("/chat/")
            ],
        }


def expect(truth, message):
    if not truth:
        sys.exit(f"JUDGE: {message}")


def equal(found, wanted, what):
    expect(found == wanted, f"{what}: found {found!r}, wanted {wanted!r}")


def nothing_left(emulator):
    for kind, names in emulator.inventory().items():
        equal(names, [], f"{kind} left after destroy")
