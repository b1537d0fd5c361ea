"""The browser client in Chromium, against `cargo xtask dev`: people chat, the network comes and goes, tokens are refused,
texts stay texts, and it can be used without a mouse. Leaves screenshots in target/screenshots.

`browser.py NAME…` runs only the named checks.
"""

import asyncio
import collections
import json
import os
import re
import shutil
import sys
import time

import websockets
from playwright.async_api import async_playwright
from playwright.async_api import expect as seen

from browser_stack import Dev, Flapping
from common import ROOT, equal, expect

SHOTS = ROOT / "target/screenshots"
PATIENCE_MS = 30_000
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
RECONNECTS = 50

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Scene:
    """A browser and the stack; opens pages for users, and connections of another WebSocket library."""

    def __init__(self, browser, dev, page_url):
        self.browser, self.dev, self.page_url = browser, dev, page_url

    async def context(self, **options):
        options.setdefault("viewport", DESKTOP)
        context = await self.browser.new_context(locale="en-GB", **options)
        context.set_default_timeout(PATIENCE_MS)
        return context

    async def open(self, sub, *, room, context=None, through=None, roles=(), name=None, **options):
        """A page that is connected, by the form; what it logs as an error fails the check. Page and chat come `through` a proxy, if there is one: the page's policy allows no other address."""
        page = await (context or await self.context(**options)).new_page()
        page.trouble = []
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("console", lambda message: page.trouble.append(message.text) if "Content Security Policy" in message.text else None)
        page.token = await self.dev.token(sub, name or sub.title(), roles)
        away = through.url if through else lambda url: url
        await page.goto(away(self.page_url))
        await fill(page, page.token, away(self.dev.web_socket_url), room)
        await seen(page.locator("#chat")).to_be_visible()
        return page

    async def peer(self, sub, room, name=None, roles=()):
        """Somebody with another client."""
        token = await self.dev.token(sub, name or sub.title(), roles)
        return await websockets.connect(f"{self.dev.web_socket_url}?room={room}", subprotocols=["chat.v1", f"auth.{token}"])

    async def history(self, room):
        """Everything that was said in a room, as the chat has it."""
        async with await self.peer("clerk", "office") as socket:
            texts, after = [], {"cursor": "0" * 26}
            while after:
                await socket.send(json.dumps({"action": "history", "room": room, "limit": 100, "id": "h", **after}))
                while (frame := json.loads(await socket.recv())).get("id") != "h":
                    pass
                expect(frame["type"] == "history", f"history of {room}: {frame}")
                texts += [message["data"] for message in frame["messages"]]
                after = {"cursor": frame["cursor"]} if frame["more"] else None
            return texts


async def fill(page, token, url, room):
    await page.fill("#token", token)
    await page.fill("#url", url)
    await page.fill("#room", room)
    await page.click("#connect-button")


async def say(page, text):
    await page.fill("#message", text)
    await page.press("#message", "Enter")


async def peer_says(socket, text, **fields):
    await socket.send(json.dumps({"action": "sendMessage", "data": text, **fields}))


async def shot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.wait_for_timeout(300)
    await page.screenshot(path=SHOTS / f"{name}.png")


def texts(page):
    return page.locator("#log .text").all_inner_texts()


async def shows_once(page, *wanted):
    """Waits until the page shows these messages, and none twice: one's own may be, until its acknowledgement comes."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not set(wanted) <= set(shown := await texts(page)):
        expect(time.monotonic() < deadline, f"missing in the page: {set(wanted) - set(shown)}; it shows {shown}")
        await asyncio.sleep(0.05)
    while doubled := [text for text, count in collections.Counter(shown).items() if count > 1]:
        expect(time.monotonic() < deadline, f"shown twice: {doubled}")
        await asyncio.sleep(0.05)
        shown = await texts(page)
    equal(page.trouble, [], "errors in the page")


async def delivered(page):
    """Waits until nothing is on its way."""
    await seen(page.locator(".is-queued, .is-sending, .is-unsure, .is-failed")).to_have_count(0, timeout=60_000)


@check
async def two_people_chat(scene):
    ada = await scene.open("ada", room="green")
    grace = await scene.open("grace", room="green")
    await seen(ada.locator("#people .person")).to_have_count(2)
    await seen(ada.locator(".movements")).to_have_text("Grace joined")
    await say(ada, "Hello, World!")
    await shows_once(grace, "Hello, World!")
    await seen(grace.locator(".message.other .author")).to_have_text("Ada")
    await seen(ada.locator(".message.own.is-sent")).to_have_count(1)
    # Several lines, by the keyboard.
    await grace.locator("#message").press_sequentially("one")
    await grace.press("#message", "Shift+Enter")
    await grace.locator("#message").press_sequentially("two")
    await grace.press("#message", "Enter")
    await shows_once(ada, "one\ntwo")
    await seen(ada.locator(".day")).to_have_text("Today")
    # Another room, and back: what was said is there once.
    await ada.fill("#join-room", "blue")
    await ada.press("#join-room", "Enter")
    await seen(ada.locator("#room-name")).to_have_text("blue")
    await seen(ada.locator("#empty-title")).to_have_text("Nothing was said in #blue yet")
    await seen(grace.locator("#people .person")).to_have_count(1)
    await say(grace, "are you still there?")
    await ada.get_by_role("button", name="green").first.click()
    await shows_once(ada, "Hello, World!", "one\ntwo", "are you still there?")
    # Unread: a reader who has scrolled up is told, and led to the end.
    for number in range(30):
        await say(grace, f"line {number}")
    await delivered(grace)
    await shows_once(ada, "line 29")
    await ada.locator("#log-box").evaluate("box => { box.scrollTop = 0 }")
    await seen(ada.locator("#jump")).to_be_visible()
    await say(grace, "look down")
    await seen(ada.locator("#jump-words")).to_have_text("1 new")
    await seen(ada).to_have_title(re.compile(r"^\(1\) #green"))
    await seen(ada.locator(".unread-mark")).to_have_count(1)
    equal(await ada.locator("#log-box").evaluate("box => box.scrollTop"), 0, "place of who reads above")
    await shot(ada, "jump")
    await ada.click("#jump")
    await seen(ada.locator("#jump")).to_be_hidden()
    await seen(ada).to_have_title(re.compile(r"^#green"))


@check
async def what_was_said_before_can_be_read(scene):
    said = [f"{number} {'word ' * 400}".strip() for number in range(24)]
    async with await scene.peer("bo", "archive") as bo:
        for number, text in enumerate(said):
            await peer_says(bo, text, id=str(number))
            await bo.recv()
    ada = await scene.open("ada", room="archive")
    await shows_once(ada, said[-1])
    shown = len(await texts(ada))
    expect(shown < len(said), "one answer does not have everything")
    await ada.locator("#log-box").evaluate("box => { box.scrollTop = 0 }")
    place = "text => [...document.querySelectorAll('.text')].find((node) => node.textContent === text).getBoundingClientRect().top"
    first = (await texts(ada))[0]
    before = await ada.evaluate(place, first)
    await ada.click("#earlier")
    await seen(ada.locator("#log .text")).not_to_have_count(shown)
    # The button may go, by which everything moves up; nothing else moves.
    expect(abs(await ada.evaluate(place, first) - before) < 60, "what is being read stays in its place")
    # Not by the mouse: while it looks back, the button can be seen and not be pressed, and goes if that was all.
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while await ada.locator("#earlier").is_visible():
        expect(time.monotonic() < deadline, "the button for what was said earlier does not go")
        await ada.locator("#earlier").evaluate("button => button.click()")
        await asyncio.sleep(0.1)
    await shows_once(ada, *said)


@check
async def other_clients_share_the_room(scene):
    ada = await scene.open("ada", room="mixed")
    async with await scene.peer("bo", "mixed") as bo:
        await peer_says(bo, "from a library")
        await shows_once(ada, "from a library")
        await say(ada, "from a browser")
        while (frame := json.loads(await asyncio.wait_for(bo.recv(), 30))).get("type") != "message":
            pass
        equal((frame["data"], frame["from"]), ("from a browser", {"sub": "ada", "name": "Ada"}), "frame of the browser")
    await seen(ada.locator("#people .person")).to_have_count(1)
    if wscat := os.environ.get("WSCAT"):
        token = await scene.dev.token("cy", "Cy")
        frame = '{"action":"sendMessage","data":"from wscat"}'
        arguments = ["-c", f"{scene.dev.web_socket_url}?room=mixed", "-H", f"Authorization: {token}", "-x", frame, "-w", "60"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(wscat, *arguments, stdin=pipe, stdout=pipe)
        await shows_once(ada, "from a library", "from a browser", "from wscat")
        await say(ada, "hello, wscat")
        printed = b""
        while b"hello, wscat" not in printed:
            chunk = await asyncio.wait_for(process.stdout.read(4096), 30)
            expect(chunk, f"wscat ended after {printed!r}")
            printed += chunk
        process.terminate()
        await process.wait()


@check
async def texts_stay_texts(scene):
    tags = "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'><b>bold</b>"
    mallory = await scene.open("mallory", room="arena", name="<img src=x onerror='window.pwned=1'>")
    ada = await scene.open("ada", room="arena")
    await say(mallory, tags)
    await say(mallory, "javascript:alert(1) https://example.com/?q=<x>")
    for page in (ada, mallory):
        await shows_once(page, tags, "javascript:alert(1) https://example.com/?q=<x>")
    for page in (ada, mallory):
        equal(await page.evaluate("window.pwned"), None, "a script in a message")
        equal(await page.locator("#log img, #log script, #log b, #people img, .me img").count(), 0, "elements out of texts")
        links = await page.locator("#log a").evaluate_all("links => links.map((link) => [link.href, link.rel])")
        equal(links, [["https://example.com/?q=", "noopener noreferrer"]], "links")
    await seen(ada.locator("#people .person").nth(1)).to_contain_text("<img src=x onerror='window.pwned=1'>")
    policy = (await ada.reload()).headers["content-security-policy"]
    expect("default-src 'none'" in policy and "unsafe" not in policy, f"policy {policy}")


@check
async def a_bad_token_is_refused_in_plain_words(scene):
    page = await (await scene.context()).new_page()
    await page.goto(scene.page_url)
    good = await scene.dev.token("ada", "Ada")
    for token, words in [
        ("", "Enter a token."),
        ("hello", "This is no token."),
        (await scene.dev.token("ada", "Ada", expires_in="-1h"), "This token has expired."),
        (good[:-6] + "AAAAAA", "The chat refused the connection."),
    ]:
        await fill(page, token, scene.dev.web_socket_url, "lobby")
        await seen(page.locator("#connect-trouble")).to_contain_text(words)
        await seen(page.locator("#token")).to_be_focused()
    await shot(page, "refused")
    await fill(page, good, f"{scene.dev.web_socket_url}?token={good}", "lobby")
    await seen(page.locator("#connect-trouble")).to_contain_text("Leave the token out of the address")
    await fill(page, good, scene.dev.web_socket_url, "no room")
    await seen(page.locator("#connect-trouble")).to_contain_text("A room’s name")
    await fill(page, good, scene.dev.web_socket_url, "lobby")
    await seen(page.locator("#chat")).to_be_visible()


@check
async def a_reload_keeps_no_secret_and_resumes(scene):
    context = await scene.context()
    page = await context.new_page()
    page.trouble, requests = [], []
    page.on("request", lambda request: requests.append(request.url))
    token = await scene.dev.token("ada", "Ada")
    await page.goto(f"{scene.page_url}#token={token}&room=reloaded")
    await seen(page.locator("#chat")).to_be_visible()
    await say(page, "before the reload")
    await delivered(page)
    equal(page.url, scene.page_url, "address after the fragment was taken")
    kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, history.state, location.href])")
    cookies = json.dumps(await context.cookies())
    sockets = [url for url in requests if "token" in url or token in url]
    for where in (kept, cookies, *sockets):
        expect(token.split(".")[2] not in where, f"the token is kept in {where}")
    async with await scene.peer("bo", "reloaded") as bo:
        await page.reload()
        await peer_says(bo, "during the reload", id="1")
        await seen(page.locator("#welcome")).to_be_visible()
        equal(await page.input_value("#token"), "", "token after a reload")
        await page.fill("#token", token)
        equal(await page.input_value("#room"), "reloaded", "room after a reload")
        await page.click("#connect-button")
        await shows_once(page, "before the reload", "during the reload")
        await seen(page.locator(".unread-mark")).to_have_count(1)
        await shot(page, "unread")


@check
async def the_network_is_lost_and_found(scene):
    context = await scene.context()
    ada = await scene.open("ada", room="train", context=context)
    async with await scene.peer("bo", "train") as bo:
        await say(ada, "into the tunnel")
        await delivered(ada)
        await context.set_offline(True)
        await seen(ada.locator("#banner")).to_contain_text("You are offline")
        await say(ada, "from the tunnel")
        await peer_says(bo, "you are breaking up", id="1")
        await seen(ada.locator(".message.own").last).to_contain_text("Waiting to send")
        await shot(ada, "offline")
        await context.set_offline(False)
        await shows_once(ada, "into the tunnel", "you are breaking up", "from the tunnel")
        await delivered(ada)
        await seen(ada.locator("#banner")).to_be_hidden()
    equal(await scene.history("train"), ["into the tunnel", "you are breaking up", "from the tunnel"], "history")


@check
async def nothing_is_lost_or_doubled_under_a_flapping_gateway(scene):
    async with Flapping(scene.page_url, seed=7) as proxy:
        ada = await scene.open("ada", room="flaps", through=proxy)
        received = collections.Counter()

        async def listen(socket):
            async for text in socket:
                frame = json.loads(text)
                if frame.get("type") == "message":
                    received[frame["data"]] += 1

        async with await scene.peer("bo", "flaps") as bo:
            listening = asyncio.create_task(listen(bo))
            proxy.flap()
            number, began = 0, time.monotonic()
            while proxy.upgraded <= RECONNECTS:
                expect(time.monotonic() - began < 600, f"only {proxy.upgraded} connections in ten minutes")
                number += 1
                await say(ada, f"ada {number}")
                await peer_says(bo, f"bo {number}", id=str(number))
                await asyncio.sleep(1)
            proxy.calm()
            wanted = [f"{who} {one}" for one in range(1, number + 1) for who in ("ada", "bo")]
            await delivered(ada)
            await shows_once(ada, *wanted)
            await asyncio.sleep(1)
            listening.cancel()
        said = await scene.history("flaps")
        equal(sorted(said), sorted(wanted), "what the chat has recorded")
        equal([text for text in said if text.startswith("ada")], [text for text in wanted if text.startswith("ada")], "order of own messages")
        equal({text for text in wanted if text.startswith("ada")} - set(received), set(), "messages that the other client missed")
        print(f"browser: {proxy.upgraded - 1} reconnects, {proxy.killed} connections cut, {2 * number} messages, none lost, none doubled")


@check
async def a_connection_is_replaced_before_its_end(scene):
    async with Flapping(scene.page_url) as proxy:
        context = await scene.context()
        await context.clock.install()
        ada = await scene.open("ada", room="marathon", through=proxy, context=context)
        async with await scene.peer("bo", "marathon") as bo:
            await say(ada, "first hour")
            await delivered(ada)
            opened = proxy.upgraded
            # Idle for nine minutes: something must have been sent.
            sent = proxy.bytes_up
            for _ in range(108):
                await ada.clock.run_for(5_000)
                await proxy.settled()
            expect(proxy.bytes_up > sent, "nothing was sent in nine idle minutes")
            equal(proxy.upgraded, opened, "connections while nothing happens")
            await ada.clock.fast_forward(107 * 60_000)
            for _ in range(160):
                await proxy.settled()
                await ada.clock.run_for(5_000)
                if proxy.upgraded > opened:
                    break
            await proxy.settled()
            equal(proxy.upgraded, opened + 1, "connections after two hours")
            await ada.clock.run_for(10_000)
            await proxy.settled()
            await say(ada, "second hour")
            await ada.clock.run_for(1_000)
            events = []
            while "second hour" not in events:
                frame = json.loads(await asyncio.wait_for(bo.recv(), 30))
                events.append(frame.get("data") or frame.get("event"))
            equal(events, ["first hour", "second hour"], "what the room hears of the replacement")
            await shows_once(ada, "first hour", "second hour")


@check
async def roles_decide_what_is_offered(scene):
    ada = await scene.open("ada", room="house", roles=("admin",))
    bo = await scene.open("bo", room="house")
    await seen(bo.locator("#announce")).to_be_hidden()
    await seen(bo.locator("#people .remove")).to_have_count(0)
    await ada.click("#announce")
    await say(ada, "Doors close at ten.")
    await seen(bo.locator(".announcement .text")).to_have_text("Doors close at ten.")
    await ada.locator("#people .person", has_text="Bo").hover()
    await ada.get_by_role("button", name="Remove Bo from the room").click()
    await ada.get_by_role("button", name="Remove", exact=True).click()
    await seen(bo.locator("#ended")).to_contain_text("Ada removed you from house.")
    await shot(bo, "kicked")
    await bo.click("#again-button")
    await seen(bo.locator("#link-words")).to_have_text("Connected")
    await shows_once(bo, "Doors close at ten.")


@check
async def a_frame_has_a_limit(scene):
    ada = await scene.open("ada", room="novel")
    await ada.fill("#message", "x" * 32_000)
    await seen(ada.locator("#size")).to_contain_text("of 32.0 KB")
    await ada.fill("#message", "é" * 16_400)
    await seen(ada.locator("#size")).to_contain_text("too long by")
    await seen(ada.locator("#send")).to_be_disabled()
    longest = "y" * 32_600
    await ada.fill("#message", longest)
    await ada.press("#message", "Enter")
    await shows_once(ada, longest)
    await delivered(ada)
    equal(await ada.evaluate("document.documentElement.scrollWidth <= innerWidth"), True, "long words wrap")


# Elements with text of their own whose contrast is below 4.5 (3 for large text), as WCAG 2.2 AA asks.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const ground = (node) => {
    if (!node) return [255, 255, 255, 1];
    const own = rgba(getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(node.parentElement));
  };
  const light = (color) => {
    const [r, g, b] = color.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter((child) => child.nodeType === 3 && child.data.trim()).map((child) => child.data.trim()).join(" ");
    if (!text || !node.checkVisibility({ visibilityProperty: true }) || node.closest(".unseen, :disabled, .skip")) continue;
    const style = getComputedStyle(node);
    const behind = ground(node);
    const [a, b] = [light(over(rgba(style.color), behind)), light(behind)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""

# Controls without a name, doubled ids, pictures without a text, references to nothing.
FAULTS = """() => {
  const found = [];
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) found.push(`two elements have the id ${id}`);
  for (const control of document.querySelectorAll("button, input, textarea, a[href]")) {
    const name = control.getAttribute("aria-label") || [...(control.labels ?? [])].map((label) => label.textContent).join() || control.textContent.trim();
    if (!name && !control.closest("[hidden]")) found.push(`no name: ${control.outerHTML.slice(0, 90)}`);
  }
  for (const picture of document.querySelectorAll("img:not([alt])")) found.push(`no alt: ${picture.src}`);
  for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
    for (const node of document.querySelectorAll(`[${attribute}]`)) {
      for (const id of node.getAttribute(attribute).split(" ")) if (!document.getElementById(id)) found.push(`${attribute} names ${id}`);
    }
  }
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title) found.push("no title");
  for (const button of document.querySelectorAll("button")) {
    const { width, height } = button.getBoundingClientRect();
    if (button.checkVisibility() && (width < 24 || height < 24) && !button.classList.contains("link")) found.push(`small: ${button.id || button.className}`);
  }
  return found;
}"""


@check
async def everybody_can_use_it(scene):
    for scheme in ("light", "dark"):
        page = await scene.open("ada", room="open", color_scheme=scheme, roles=("admin",))
        async with await scene.peer("bo", "open") as bo:
            await peer_says(bo, "https://example.com is a link", id="1")
            await page.click("#announce")
            await say(page, "An announcement")
            await say(page, "A message")
            await delivered(page)
            await seen(page.locator("#people .person")).to_have_count(2)
            equal(await page.evaluate(CONTRAST), [], f"contrast in {scheme}")
            equal(await page.evaluate(FAULTS), [], "faults for assistive technology")
            for role, name in [("main", None), ("navigation", "Rooms"), ("complementary", "People in this room"), ("log", "Messages"), ("textbox", "Message"), ("button", "Send")]:
                await seen(page.get_by_role(role, **({"name": name, "exact": True} if name else {}))).to_have_count(1)
            await page.get_by_role("button", name="Switch between light and dark").click()
            equal(await page.evaluate(CONTRAST), [], f"contrast after the switch from {scheme}")
        await page.context.close()
    # Without a mouse, at the narrowest width: the form, a message, another room, back.
    page = await (await scene.context(viewport={"width": 320, "height": 568})).new_page()
    page.trouble = []
    await page.goto(scene.page_url)
    equal(await page.evaluate(CONTRAST), [], "contrast of the form")
    equal(await page.evaluate(FAULTS), [], "faults of the form for assistive technology")
    await seen(page.locator("#token")).to_be_focused()
    await page.keyboard.insert_text(await scene.dev.token("ada", "Ada"))
    for text in (scene.dev.web_socket_url, "keyboard"):
        await page.keyboard.press("Tab")
        await page.keyboard.press("Control+A")
        await page.keyboard.insert_text(text)
    await page.keyboard.press("Enter")
    await seen(page.locator("#message")).to_be_focused()
    await page.keyboard.type("by keyboard")
    await page.keyboard.press("Enter")
    await shows_once(page, "by keyboard")
    await page.locator("#rooms-button").focus()
    await page.keyboard.press("Enter")
    await seen(page.get_by_role("navigation", name="Rooms")).to_be_visible()
    equal(await page.evaluate("document.querySelector('.talk').inert"), True, "what lies behind an open panel")
    await page.keyboard.press("Escape")
    await seen(page.locator("#rooms-button")).to_be_focused()
    for width in (320, 390, 768, 1280):
        await page.set_viewport_size({"width": width, "height": 600})
        equal(await page.evaluate("document.documentElement.scrollWidth"), width, "width of the page")


CONVERSATION = [
    ("grace", "Grace Hopper", "Morning! The new stage is up: 74 resources in 540 ms."),
    ("grace", "Grace Hopper", "Deploying to the account next."),
    ("ada", None, "Nice. Did the plan show any drift?"),
    ("linus", "Linus K.", "One alarm, changed by hand last week: https://example.com/plans/118"),
    ("linus", "Linus K.", "I would put it into the stage file, then it stays:\nthrottling:\n  rateLimit: 2000\n  burstLimit: 1000"),
    ("margaret", "Margaret Hamilton", "I pulled the cable in the middle of a message, by the way. It arrived exactly once 🚀"),
    ("ada", None, "That is the part I like best."),
]

PICTURES = [
    ("desktop", "release", DESKTOP, "light"),
    ("phone", "launch", PHONE, "light"),
    ("dark", "night-shift", DESKTOP, "dark"),
    ("phone-dark", "on-call", PHONE, "dark"),
]


@check
async def screenshots(scene):
    for file, room, size, scheme in PICTURES:
        phone = size is PHONE
        context = await scene.context(viewport=size, color_scheme=scheme, device_scale_factor=2 if phone else 1, has_touch=phone)
        await context.clock.install()
        page = await context.new_page()
        page.trouble = []
        await page.goto(scene.page_url)
        await seen(page.locator("#url")).not_to_have_value("")
        await shot(page, f"connect-{file}")
        await fill(page, await scene.dev.token("ada", "Ada Lovelace", ("admin",)), scene.dev.web_socket_url, room)
        await seen(page.locator("#empty-title")).to_contain_text("Nothing was said")
        await shot(page, f"empty-{file}")
        peers = {sub: await scene.peer(sub, room, name) for sub, name in {sub: name for sub, name, _ in CONVERSATION if name}.items()}
        for sub, _, text in CONVERSATION:
            if sub == "ada":
                await say(page, text)
                await delivered(page)
            else:
                await peer_says(peers[sub], text, id="1")
                await shows_once(page, text)
        # Two more rooms, in one of which something is said while nobody looks.
        for other in ("design", "lobby", room):
            await page.evaluate("room => { document.getElementById('join-room').value = room; document.getElementById('join').requestSubmit() }", other)
            await seen(page.locator("#room-name")).to_have_text(other)
            await seen(page.locator("#empty.loading:visible")).to_have_count(0)
        for number in range(2):
            await peer_says(peers["grace"], f"The icons are ready, version {number}.", room="design", id=str(number))
        for _ in range(13):
            await page.clock.run_for(5_000)
            await page.wait_for_timeout(50)
        await seen(page).to_have_title(re.compile(r"^\(2\)"))
        announcer = await scene.peer("ops", "office", "Operations", ("admin",))
        await announcer.send(json.dumps({"action": "announce", "room": room, "data": "Production is deployed at 16:00. Please merge before that.", "id": "1"}))
        await seen(page.locator(".announcement")).to_have_count(1)
        await seen(page.locator("#people .person")).to_have_count(4)
        await page.clock.run_for(1_000)
        await shot(page, file)
        if phone:
            await page.click("#rooms-button")
            await page.clock.run_for(1_000)
            await shot(page, f"rooms-{file}")
        for socket in (*peers.values(), announcer):
            await socket.close()


async def closed(browser):
    for context in browser.contexts:
        await context.close()


async def main(names):
    seen.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"])
        async with Dev() as dev:
            scene = Scene(browser, dev, dev.web_url)
            for one in CHECKS:
                if not names or one.__name__ in names:
                    began = time.monotonic()
                    try:
                        await one(scene)
                    except (Exception, SystemExit) as failure:
                        # A page's clock and a busy machine's do not go together: once more, and twice is a failure.
                        print(f"\n*** browser: {one.__name__} FAILED ONCE: {failure} ***\n", flush=True)
                        await closed(browser)
                        async with Dev() as fresh:
                            await one(Scene(browser, fresh, fresh.web_url))
                    await closed(browser)
                    print(f"browser: {one.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
