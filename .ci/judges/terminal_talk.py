"""What people say in the pictures of the terminal: URL and three tokens as arguments."""

import asyncio
import json
import sys

import websockets


async def main(url, ana, bo, cy):
    enter = lambda token, room: websockets.connect(f"{url}?room={room}", additional_headers={"Authorization": token})
    async with enter(ana, "lobby") as first, enter(bo, "lobby") as second, enter(cy, "tea") as third:
        for socket, frame in [
            (first, {"action": "sendMessage", "data": "Hello, World!", "ack": True}),
            (second, {"action": "sendMessage", "data": "Hi, Ana"}),
            (third, {"action": "join", "room": "lobby"}),
            (third, {"action": "dance"}),
            (first, {"action": "history", "id": "h"}),
        ]:
            await socket.send(json.dumps(frame))
            await asyncio.sleep(1)
        # An answer needs somebody who is still there.
        await asyncio.sleep(2)
    try:
        async with websockets.connect(url):
            raise SystemExit("JUDGE: somebody without a token got in")
    except websockets.InvalidStatus:
        pass


asyncio.run(main(*sys.argv[1:]))
