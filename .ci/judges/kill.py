"""MiniStack judges recovery: deployments killed at their calls, answers lost, a lost record; see docs/benchmarks.md."""

import sys

from common import Emulator, equal

COMMAND = [sys.executable.replace("python3", "ministack").replace("python", "ministack")]
ENVIRONMENT = {
    "BIND_HOST": "127.0.0.1",
    "GATEWAY_PORT": "{port}",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:{port}",
}

with Emulator(COMMAND, ENVIRONMENT, "/_ministack/health") as cloud:
    report = cloud.xtask("bench", "kill", "--endpoint", cloud.endpoint, "--output", "json", *sys.argv[1:])
    equal(report["exceptions"], [], "attacks that were not healed")
    equal(report["mutatingAfterLostRecord"], [], "changes after a lost record")
print(f"MiniStack: {report['healed']} attacks healed; a lost record is adopted")
