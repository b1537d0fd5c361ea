"""Pictures of the command line at work: real commands in a terminal of their own, drawn as SVG.

    .venv/bin/python .ci/judges/terminal.py            into target/screenshots
    .venv/bin/python .ci/judges/terminal.py docs/images
    .venv/bin/python .ci/judges/terminal.py docs/images dev      one of deploy, diff (with logs), dev

A command that fails, or whose screen does not come to look as expected, fails the judge.
"""

import fcntl
import html
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

import boto3
import pyte

from common import REGION, ROOT, expect

XTASK = ROOT / "target/debug/xtask"
PATIENCE_S = 600

# What is drawn: cells of a monospaced font in a window.
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, MARGIN, BAR = 8.4, 20, 14, 18, 36
BACKGROUND, FOREGROUND = "#161b22", "#d7dde5"
COLOURS = {
    "default": FOREGROUND, "black": "#484f58", "red": "#ff7b72", "green": "#56d364", "brown": "#e3b341",
    "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#d7dde5", "brightblack": "#7d8590",
    "brightred": "#ffa198", "brightgreen": "#7ee787", "brightbrown": "#f2cc60", "brightyellow": "#f2cc60",
    "brightblue": "#a5d6ff", "brightmagenta": "#e2c5ff", "brightcyan": "#b3f0ff", "brightwhite": "#ffffff",
}


def environment(scratch, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CARGO_", "NO_COLOR", "CI"))}
    return {**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", "STACKWRIGHT_SCRATCH": str(scratch), **more}


class Terminal:
    """A command in a terminal; `until` reads on until its screen looks as wanted."""

    def __init__(self, arguments, scratch, columns, rows, **more):
        self.screen = pyte.HistoryScreen(columns, rows, history=150)
        self.columns, self.pending = columns, b""
        self.stream = pyte.ByteStream(self.screen)
        self.process, self.master = pty.fork()
        if self.process == 0:
            os.chdir(ROOT)
            os.execve(XTASK, [str(XTASK), *arguments], environment(scratch, **more))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """Shows what comes within a time. Returns whether there may be more."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65_536)
        except OSError:
            return False
        # Tokens are long, and nobody's business; one may come in two pieces. The emulator knows no faint text.
        data = self.pending + data
        unfinished = re.search(rb"eyJ[\w.-]*\Z", data)
        data, self.pending = (data[: unfinished.start()], unfinished[0]) if unfinished else (data, b"")
        data = re.sub(rb"eyJ[\w.-]+", "eyJ0eXAi…".encode(), data)
        self.stream.feed(data.replace(b"\x1b[2m", b"\x1b[90m"))
        return True

    def text(self):
        above = ["".join(line[column].data for column in range(self.columns)) for line in self.screen.history.top]
        return "\n".join(above + list(self.screen.display))

    def until(self, pattern, settle=0.0):
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text()):
            more = self.read(0.2)
            # To look at the screen takes longer than to read on.
            pause = time.monotonic() + 0.3
            while more and time.monotonic() < pause and select.select([self.master], [], [], 0)[0]:
                more = self.read(0)
            expect(more or re.search(pattern, self.text()), f"{pattern!r} did not appear:\n{self.text()}")
            expect(time.monotonic() < deadline, f"{pattern!r} did not appear in time:\n{self.text()}")
        end = time.monotonic() + settle
        while (left := end - time.monotonic()) > 0 and self.read(left):
            pass

    def type(self, keys):
        os.write(self.master, keys.encode())

    def finish(self, code):
        while self.read(PATIENCE_S):
            pass
        _, status = os.waitpid(self.process, 0)
        found = os.waitstatus_to_exitcode(status)
        expect(found == code, f"the command ended with {found} instead of {code}:\n{self.text()}")

    def stop(self):
        os.kill(self.process, signal.SIGINT)
        self.finish(0)

    def rows(self):
        """Rows with something on them, from the history on, as lists of (text, colour, bold)."""
        lines = [*self.screen.history.top, *(self.screen.buffer[row] for row in range(self.screen.lines))]
        drawn = []
        for line in lines:
            runs = []
            for column in range(self.columns):
                cell = line[column]
                colour = COLOURS.get(cell.fg) or f"#{cell.fg}"
                style = (colour, cell.bold)
                if runs and runs[-1][1:] == style:
                    runs[-1] = (runs[-1][0] + cell.data, *style)
                else:
                    runs.append((cell.data, *style))
            drawn.append(runs)
        while drawn and not "".join(text for text, *_ in drawn[-1]).strip():
            drawn.pop()
        return drawn


def draw(path, command, terminal, rows):
    """Writes a window with the command and some rows of its terminal as SVG."""
    prompt = [("$ ", COLOURS["green"], True), (command, "#ffffff", True)]
    rows = [prompt, *rows]
    width, height = terminal.columns * CELL_WIDTH + 2 * MARGIN, BAR + len(rows) * CELL_HEIGHT + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{html.escape(command)}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{22 + 20 * number}" cy="18" r="6" fill="{fill}"/>' for number, fill in enumerate(["#ff5f57", "#febc2e", "#28c840"])),
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{FONT_SIZE}" xml:space="preserve">',
    ]
    for number, runs in enumerate(rows):
        y, column = BAR + (number + 0.75) * CELL_HEIGHT, 0
        for text, colour, bold in runs:
            begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
            if shown := text[begin:end]:
                x, length = MARGIN + (column + begin) * CELL_WIDTH, len(shown) * CELL_WIDTH
                weight = ' font-weight="700"' if bold else ""
                out.append(
                    f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{weight} textLength="{length:.1f}">{html.escape(shown).replace(" ", chr(160))}</text>'
                )
            column += len(text)
    out += ["</g>", "</svg>"]
    path.write_text("\n".join(out) + "\n")
    print(f"terminal: {path}")


def run(scratch, *arguments):
    """Runs a command for the local cloud of a scratch folder, and returns what it printed."""
    command = [XTASK, *arguments, "--stage", "local"]
    return subprocess.run(command, cwd=ROOT, env=environment(scratch), check=True, capture_output=True, text=True).stdout


class Cloud:
    """`cargo xtask local`."""

    def __init__(self, scratch, *arguments):
        self.scratch = scratch
        self.process = subprocess.Popen(
            [XTASK, "local", "--port", "0", "--output", "json", *arguments],
            cwd=ROOT, env=environment(scratch), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.endpoint = json.loads(self.process.stdout.readline())["endpoint"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def run(self, *arguments):
        return run(self.scratch, *arguments)

    def client(self, service):
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.endpoint, aws_access_key_id="x", aws_secret_access_key="x"
        )


def talk(run, url):
    """Three people say a few things; one of them has no token that counts, one frame is wrong."""
    script = pathlib.Path(__file__).with_name("terminal_talk.py")
    tokens = [run("token", "--sub", name, "--name", name.title()).strip() for name in ("ana", "bo", "cy")]
    subprocess.run([sys.executable, script, url, *tokens], check=True)


def chat(run, scratch, folder):
    """Ana chats with the line editor: what she types wrong is mended by arrow keys, and comes back from the history."""
    ana = Terminal(["chat", "--stage", "local", "--user", "ana"], scratch, 80, 16)
    ana.until("connected to lobby")
    ana.type("Helo, Wörld!" + "\x1b[D" * 9 + "l\r/who\r")
    ana.until(r"> Hello, Wörld!\s+> /who\s+in lobby: ana")
    subprocess.run(
        [XTASK, "chat", "--user", "bo", "--stage", "local"], cwd=ROOT, env=environment(scratch), input="Hi, Ana\n", check=True, text=True, capture_output=True
    )
    ana.until(r"bo  Hi, Ana[\s\S]*bo left lobby")
    ana.type("\x1b[A\x1b[A" + "\x7f" * 6 + "Bo")
    ana.until(r"> Hello, Bo")
    draw(folder / "terminal-chat.svg", "cargo xtask chat", ana, ana.rows())
    ana.type("\x15\x04")
    ana.finish(0)


def deploy(folder, scratch):
    # Compiled beforehand: a picture of cargo is none of ours.
    with Cloud(scratch) as cloud:
        cloud.run("deploy", "--yes")
    with Cloud(scratch, "--unkind", "role=5s,pending=2s,creating=4s,latency=60ms"):
        command = Terminal(["deploy", "--stage", "local", "--yes"], scratch, 112, 46)
        command.until(r"\b(4[0-9]|5[0-9]) of \d+ done")
        draw(folder / "terminal-deploy.svg", "cargo xtask deploy", command, command.rows()[-34:])
        command.finish(0)


def looks(folder, scratch):
    with Cloud(scratch) as cloud:
        cloud.run("deploy", "--yes")
        by_hand(cloud)
        diff = Terminal(["diff", "--stage", "local"], scratch, 112, 40)
        diff.finish(0)
        draw(folder / "terminal-diff.svg", "cargo xtask diff", diff, diff.rows())
        cloud.run("deploy", "--yes")
        talk(cloud.run, json.loads(cloud.run("outputs", "--output", "json"))["webSocketUrl"])
        time.sleep(1)
        logs = Terminal(["logs", "--stage", "local"], scratch, 164, 40)
        logs.finish(0)
        draw(folder / "terminal-logs.svg", "cargo xtask logs", logs, logs.rows()[-26:])
        chat(cloud.run, scratch, folder)
        by_hand(cloud)
        for command in ["status", "doctor"]:
            look = Terminal([command, "--stage", "local"], scratch, 130, 40)
            look.finish(0)
            draw(folder / f"terminal-{command}.svg", f"cargo xtask {command}", look, look.rows())


def dev(folder, scratch):
    command = Terminal(["dev", "--port", "0"], scratch, 164, 40)
    try:
        command.until(r"Authorization: (\S+)", settle=1.0)
        begin = next(number for number, line in enumerate(command.text().splitlines()) if "is ready after" in line)
        url = re.search(r"WebSocket +(ws://\S+)", command.text())[1]
        talking = threading.Thread(target=talk, args=(lambda *arguments: run(scratch, *arguments), url))
        # A terminal that nobody reads from would make it wait.
        talking.start()
        command.until(r"disconnected", settle=1.0)
        talking.join()
        draw(folder / "terminal-dev.svg", "cargo xtask dev", command, command.rows()[begin : begin + 30])
    finally:
        command.stop()


def by_hand(cloud):
    """What somebody does in the console on a bad day."""
    functions, logs = cloud.client("lambda"), cloud.client("logs")
    functions.update_function_configuration(FunctionName="chat-local-broadcast", MemorySize=1024)
    logs.put_retention_policy(logGroupName="/aws/lambda/chat-local-connect", retentionInDays=1)
    logs.delete_log_group(logGroupName="/aws/lambda/chat-local-room")
    api = cloud.client("apigatewayv2")
    found = api.get_apis()["Items"][0]["ApiId"]
    route = next(one for one in api.get_routes(ApiId=found)["Items"] if one["RouteKey"] == "who")
    api.delete_route(ApiId=found, RouteId=route["RouteId"])


SCENES = {"deploy": deploy, "looks": looks, "dev": dev}
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/screenshots").resolve()
folder.mkdir(parents=True, exist_ok=True)
for name in sys.argv[2:] or SCENES:
    with tempfile.TemporaryDirectory() as scratch:
        SCENES[name](folder, scratch)
