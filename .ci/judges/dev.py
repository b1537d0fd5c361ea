"""A developer's day: a fresh clone, `cargo xtask dev`, two saves, one that does not compile, a new function, Ctrl-C."""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import websockets

from chat import receive
from common import ROOT, equal, expect, free_port

PATIENCE_S = 600


def wait_for(path, pattern, after=0):
    """Returns the first match of `pattern` in a file that grows, and the offset behind it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        text = path.read_text()
        match = re.compile(pattern).search(text, after)
        if match:
            return match, match.end()
        time.sleep(0.1)
    raise SystemExit(f"JUDGE: {pattern!r} did not appear in:\n{path.read_text()[after:]}")


def steps(path, start, end):
    """Symbols and ids of the steps in a part of a log."""
    found = re.findall(r"^  ([+~±.-]) AWS::\S+ +(\w+)", path.read_text()[start:end], re.MULTILINE)
    return {f"{symbol} {id}" for symbol, id in found}


def processes_of(clone, port):
    """Programs of the clone, and functions that were started by its local cloud, that still run."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                program = os.readlink(process / "exe")
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            if program.startswith(str(clone)) or f"127.0.0.1:{port}".encode() in environment:
                found.append(f"{process.name} {program}")
    return found


async def session(clone, environment, output, errors, url, token):
    async with websockets.connect(url, additional_headers={"Authorization": token}) as socket:
        await socket.send("no json")
        before = await receive(socket)
        equal(before["code"], "bad_json", "answer to a frame that is no JSON")

        # A save replaces the one function that changed, under an open connection.
        default = clone / "functions/src/bin/default.rs"
        source = default.read_text()
        default.write_text(source.replace("handlers::default(&event)", "saved(handlers::default(&event))") + SAVED)
        _, at = wait_for(errors, r"up to date after (.*)")
        # Each has a line when it begins and one when it has ended.
        updates = set(re.findall(r"~ AWS::Lambda::Function (\w+)", errors.read_text()))
        equal(updates, {"DefaultFunction"}, "updated functions")
        await socket.send("no json")
        equal((await receive(socket))["type"], "saved", "answer of the new code")

        # A save that does not compile changes nothing, and says what is wrong.
        default.write_text(source + "\nfn broken( {}\n")
        _, at = wait_for(errors, r"error: ", at)
        await socket.send("no json")
        equal((await receive(socket))["type"], "saved", "answer while the source is broken")
        default.write_text(source)
        wait_for(errors, r"up to date after (.*)", at)
        await socket.send("no json")
        equal((await receive(socket)), before, "answer of the first code again")

        # A route more in the stack, and the same route less: exactly that is deployed, and the client stays connected.
        stack = clone / "infra/src/lib.rs"
        source = stack.read_text()
        last = '.replying_route("$default", &default)'
        expect(last in source, "the stack declares $default where this judge adds a route")
        at = len(errors.read_text())
        stack.write_text(source.replace(last, last + '\n        .replying_route("echo", &default)'))
        _, end = wait_for(errors, r"up to date after (.*)", at)
        equal(
            steps(errors, at, end),
            {"+ ChatEchoRoute", "+ ChatEchoRouteResponse", "+ ChatEchoLivePermission", "± ChatDeployment", "- ChatDeployment", "~ ChatStage"},
            "steps for an added route",
        )
        stack.write_text(source)
        at = end
        _, end = wait_for(errors, r"up to date after (.*)", at)
        equal(
            steps(errors, at, end),
            {"- ChatEchoRoute", ". ChatEchoRouteResponse", "- ChatEchoLivePermission", "± ChatDeployment", "- ChatDeployment", "~ ChatStage"},
            "steps for a removed route",
        )
        await socket.send("no json")
        equal((await receive(socket)), before, "answer after both")

        # A function more: from the command to its answer, compiling included.
        at, began = end, time.monotonic()
        new = ["cargo", "xtask", "new", "function", "server-time", "--route", "serverTime"]
        subprocess.run(new, cwd=clone, env=environment, check=True)
        _, at = wait_for(errors, r"up to date after (.*)", at)
        await socket.send('{"action":"serverTime"}')
        equal((await receive(socket))["type"], "serverTime", "answer of the new function")
        print(f"dev: a new function answers {time.monotonic() - began:.0f} s after its command")
        # It passes the project's own tests, and git undoes it.
        check = ["cargo", "test", "--quiet", "-p", "functions-domain", "-p", "functions", "--lib", "server_time"]
        subprocess.run(check, cwd=clone, env=environment, check=True)
        subprocess.run(["cargo", "test", "--quiet", "-p", "infra"], cwd=clone, env=environment, check=True)
        subprocess.run(["cargo", "fmt", "--all", "--check"], cwd=clone, env=environment, check=True)
        refused = subprocess.run(new, cwd=clone, env=environment, stderr=subprocess.PIPE, text=True)
        equal(refused.returncode, 2, "exit code for a function that exists")
        for undo in (["checkout", "--quiet", "."], ["clean", "--quiet", "--force", "functions", "infra"]):
            subprocess.run(["git", *undo], cwd=clone, check=True)
        wait_for(errors, r"up to date after (.*)", at)
    # Its log lines come by themselves.
    wait_for(output, r"disconnect")


SAVED = """
fn saved(mut response: handlers::Response) -> handlers::Response {
    response.body = Some(r#"{"type":"saved"}"#.to_owned());
    response
}
"""

with tempfile.TemporaryDirectory() as folder:
    clone = pathlib.Path(folder) / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    # What is compiled from registries is the same everywhere; only this workspace's crates are compiled again.
    shutil.copytree(ROOT / "target/debug", clone / "target/debug", symlinks=True)
    output, errors = pathlib.Path(folder) / "out", pathlib.Path(folder) / "err"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CARGO_"))}
    with output.open("w") as stdout, errors.open("w") as stderr:
        port = free_port()
        dev = subprocess.Popen(
            ["cargo", "xtask", "dev", "--port", str(port)], cwd=clone, env=environment, stdout=stdout, stderr=stderr
        )
    try:
        ready, _ = wait_for(output, r'npx wscat -c (\S+) -H "Authorization: (\S+)"')
        asyncio.run(session(clone, environment, output, errors, *ready.groups()))
        dev.send_signal(signal.SIGINT)
        equal(dev.wait(30), 0, "exit code after Ctrl-C")
        equal(processes_of(clone, port), [], "processes after Ctrl-C")
    finally:
        dev.kill()
    expect("panicked" not in errors.read_text(), "nothing panicked")
    startup = re.search(r"is ready after (.*)", output.read_text() + errors.read_text())
    print(f"dev: ready {startup[1] if startup else '?'} after its start; saves replaced one function under an open connection")
