"""The chat over a WebSocket library that others wrote, against any endpoint."""

import asyncio
import json

import websockets
from websockets.exceptions import InvalidStatus

from common import equal, expect


async def receive(socket):
    """The next frame that is not about who comes and goes."""
    while True:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
        if frame.get("type") != "presence":
            return frame


async def refused(url, **options):
    try:
        async with websockets.connect(url, **options):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def talk(url, mint, without_token):
    """Three people chat; `mint` returns a token for a name."""
    loop = asyncio.get_running_loop()
    ana, bo, cy = [await loop.run_in_executor(None, mint, name) for name in ("ana", "bo", "cy")]
    async with (
        websockets.connect(url, additional_headers={"Authorization": ana}) as a,
        websockets.connect(f"{url}?token={bo}") as b,
        websockets.connect(url, additional_headers={"Authorization": f"Bearer {cy}"}) as c,
    ):
        await a.send('{"action":"sendMessage","data":"Hello, World!"}')
        for socket in (b, c):
            message = await receive(socket)
            equal((message["type"], message["data"], message["from"]["sub"]), ("message", "Hello, World!", "ana"), "message")
        # The sender's next frame answers what she does next, so she has not received her own message.
        await a.send('{"action":"nothing like that"}')
        error = await receive(a)
        equal((error["type"], error["code"]), ("error", "unknown_action"), "answer to an unknown action")
        await b.send('{"action":"sendMessage","data":"Hi","ack":true}')
        equal((await receive(b))["type"], "ack", "acknowledgement")
        for socket in (a, c):
            equal((await receive(socket))["data"], "Hi", "message to the others")
        await c.send('{"action":"join","room":"red"}')
        members = await receive(c)
        equal((members["room"], [member["sub"] for member in members["members"]]), ("red", ["cy"]), "members")
        await c.send('{"action":"kick","sub":"ana","room":"lobby"}')
        equal((await receive(c))["code"], "forbidden", "answer to a member who kicks")
    equal(await refused(url), without_token, "status without a token")
    equal(await refused(url, additional_headers={"Authorization": ana[:-4] + "AAAA"}), 403, "status of a bad signature")


def chat(url, mint, without_token=401):
    expect(url.startswith("ws"), f"{url} is a WebSocket URL")
    asyncio.run(talk(url, mint, without_token))
