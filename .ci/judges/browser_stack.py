"""What browser.py stands on: `cargo xtask dev`, and a gateway that drops its connections."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
import urllib.parse

from common import REGION, ROOT, expect


class Dev:
    """`cargo xtask dev` on a free port, with the tokens of its stage."""

    async def __aenter__(self):
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        self.process = await asyncio.create_subprocess_exec(
            "cargo", "xtask", "dev", "--port", "0", "--no-watch", "--output", "json",
            cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE, limit=2**24,
        )
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), 900)
            expect(line, "cargo xtask dev ended before it was ready")
            with contextlib.suppress(ValueError):
                ready = json.loads(line)
                if "webSocketUrl" in ready:
                    break
        self.web_socket_url, self.web_url = ready["webSocketUrl"], ready["webUrl"]
        self.environment |= {"AWS_ENDPOINT_URL": ready["endpoint"], "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": REGION}
        # Its log lines come by themselves.
        self.drain = asyncio.create_task(self.process.stdout.read())
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(self.process.wait(), 60)

    async def token(self, sub, name, roles=(), expires_in="8h"):
        arguments = ["token", "--stage", "local", "--sub", sub, "--name", name, f"--expires-in={expires_in}", "--output", "json"]
        for role in roles:
            arguments += ["--role", role]
        process = await asyncio.create_subprocess_exec("cargo", "xtask", *arguments, cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
        expect(process.returncode == 0, f"cargo xtask token ended with {process.returncode}")
        return json.loads(printed)["token"]


class Flapping:
    """A TCP proxy before the gateway that cuts connections at random, some in the middle of what is sent."""

    def __init__(self, url, seed=0):
        self.target = urllib.parse.urlsplit(url)
        self.random = random.Random(seed)
        self.flapping = False
        self.upgraded = self.killed = self.bytes_up = 0
        self.asked_at = self.answered_at = 0.0
        self.open = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self

    def url(self, url):
        """An address behind the proxy, as it is called before it."""
        port = self.server.sockets[0].getsockname()[1]
        return urllib.parse.urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()

    async def __aexit__(self, *_):
        self.server.close()
        for transport in list(self.open):
            transport.abort()

    def flap(self):
        self.flapping = True
        for transport in list(self.open):
            asyncio.get_running_loop().call_later(self.random.uniform(0, 1), transport.abort)

    def calm(self):
        self.flapping = False

    async def settled(self):
        """Waits until what was asked is answered, for pages whose clock runs faster than the network."""
        deadline = time.monotonic() + 30
        while max(self.asked_at, self.answered_at) > time.monotonic() - 0.3 or self.answered_at < self.asked_at:
            expect(time.monotonic() < deadline, "the gateway does not answer")
            await asyncio.sleep(0.02)

    async def serve(self, reader, writer):
        if self.flapping and self.random.random() < 0.1:
            # Refused before the handshake.
            writer.transport.abort()
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
        transports = {writer.transport, upstream_writer.transport}
        self.open |= transports
        life = asyncio.create_task(self.cut(transports)) if self.flapping else None
        try:
            await asyncio.gather(self.pump(reader, upstream_writer, True), self.pump(upstream_reader, writer, False))
        finally:
            if life:
                life.cancel()
            for transport in transports:
                transport.abort()
            self.open -= transports

    async def cut(self, transports):
        await asyncio.sleep(self.random.uniform(0.05, 2.5))
        if self.flapping:
            self.killed += 1
            for transport in transports:
                transport.abort()

    async def pump(self, reader, writer, up):
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if up:
                    self.bytes_up += len(chunk)
                    self.asked_at = time.monotonic()
                else:
                    self.upgraded += chunk.startswith(b"HTTP/1.1 101")
                    self.answered_at = time.monotonic()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort() if writer.transport.is_closing() else writer.close()
