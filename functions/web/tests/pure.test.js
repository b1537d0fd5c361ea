// The small pure modules: frames, tokens, backoff, rows, words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BASE_MS, CAP_MS, delay } from "../backoff.js";
import * as protocol from "../protocol.js";
import { createRoom, insert, MESSAGES_KEPT } from "../room.js";
import { rows, segments } from "../timeline.js";
import * as token from "../token.js";
import { dayWords, initials, linkWords, movementWords } from "../words.js";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const minted = (claims) => `${encode({ alg: "HS256" })}.${encode(claims)}.c2ln`;
const NOW = Date.UTC(2026, 5, 1, 12);

test("waits are spread over a range that doubles up to a cap", () => {
  assert.equal(delay(0, () => 0), 0);
  assert.equal(delay(0, () => 1), BASE_MS);
  assert.equal(delay(3, () => 0.5), 4 * BASE_MS);
  for (const attempt of [10, 1000, Infinity]) assert.equal(delay(attempt, () => 1), CAP_MS);
});

test("the token goes into a subprotocol and never into the address", () => {
  assert.deepEqual(protocol.subprotocols("a.b.c"), ["chat.v1", "auth.a.b.c"]);
  assert.equal(protocol.addressOf("wss://x.example/dev", "red"), "wss://x.example/dev?room=red");
  assert.match(protocol.addressTrouble("wss://x.example/dev?token=a.b.c"), /Leave the token out/);
  for (const wrong of ["", "x", "https://x.example/dev"]) assert.ok(protocol.addressTrouble(wrong), wrong);
  assert.equal(protocol.addressTrouble("ws://127.0.0.1:4566/_aws/execute-api/a/local"), null);
});

test("what is no frame is no frame", () => {
  for (const text of ["", "x", "null", "5", "[]", "{}", '{"type":"message"}', '{"type":"history","room":"a"}', '{"type":"members","room":5,"members":[]}', '{"type":"presence","user":{}}', '{"type":"__proto__"}', '{"type":"toString"}']) {
    assert.equal(protocol.read(text), null, text);
  }
  const gateway = '{"message":"Internal server error","connectionId":"x","requestId":"y"}';
  assert.deepEqual(protocol.read(gateway), { type: "gateway", message: "Internal server error" });
  const message = { id: protocol.idAt(NOW), from: { sub: "bo", name: " " }, room: "red", data: "x" };
  const frame = protocol.read(JSON.stringify({ type: "history", room: "red", messages: [{ ...message, type: "announcement" }, { type: "message" }] }));
  assert.deepEqual(frame.messages, [{ ...message, kind: "announcement", from: { sub: "bo", name: "bo" }, at: NOW }]);
});

test("ids are times, and sizes are those of the frame that others get", () => {
  assert.equal(protocol.timeOf(protocol.idAt(NOW)), NOW);
  assert.equal(protocol.idAt(0), protocol.FIRST_ID);
  const user = { sub: "ada", name: "Ada" };
  const empty = protocol.frameBytes("", user, "lobby");
  for (const [text, bytes] of [["x", 1], ["é", 2], ["🚀", 4], ["\n", 2], ['"', 2]]) assert.equal(protocol.frameBytes(text, user, "lobby") - empty, bytes, text);
  assert.equal(protocol.withoutControls("a\u0000b\tc\nd\u009be\u007f"), "ab\tc\nde");
});

test("a token says whose it is, or what is wrong with it", () => {
  const good = minted({ sub: "ada", name: "Ada Lovelace", roles: ["admin", 5], exp: NOW / 1000 + 60 });
  assert.deepEqual(token.read(good, NOW), { bearer: { sub: "ada", name: "Ada Lovelace", roles: ["admin"], expiresAt: NOW + 60_000 } });
  assert.equal(token.cleaned(` Bearer "${good}"\n`), good);
  for (const [text, words] of [
    ["", /Enter a token/],
    ["hello", /no token/],
    ["a.b.c", /no token/],
    [`${good}.x`, /no token/],
    ["x".repeat(5_000), /too long/],
    [minted({ exp: 1 }), /does not say/],
    [minted({ sub: "ada", exp: NOW / 1000 }), /expired/],
  ]) assert.match(token.read(text, NOW).trouble, words, text);
  assert.deepEqual(token.powers({ roles: ["moderator"] }), { kick: true, announce: false });
  assert.deepEqual(token.powers({ roles: [] }), { kick: false, announce: false });
});

test("messages are kept once, in order, and not without end", () => {
  const room = createRoom("lobby");
  const message = (number) => ({ id: protocol.idAt(number), from: { sub: "bo", name: "Bo" }, data: `${number}` });
  for (const number of [3, 1, 2, 3, 1]) insert(room, message(number));
  assert.deepEqual(room.messages.map(({ data }) => data), ["1", "2", "3"]);
  for (let number = 4; number < MESSAGES_KEPT + 10; number += 1) insert(room, message(number));
  assert.deepEqual([room.messages.length, room.messages[0].data, insert(room, message(2))], [MESSAGES_KEPT, "10", false]);
});

test("rows: days, groups, the unread mark, who came", () => {
  const room = createRoom("lobby");
  const say = (at, sub) => insert(room, { id: protocol.idAt(at), kind: "message", from: { sub, name: sub }, room: "lobby", data: "x", at });
  const day = 24 * 3_600_000;
  for (const [at, sub] of [[NOW - day, "bo"], [NOW, "bo"], [NOW + 1_000, "bo"], [NOW + 2_000, "ada"]]) say(at, sub);
  room.divider = protocol.idAt(NOW + 1_000);
  room.movements = [{ key: "1", at: NOW + 1_500, event: "joined", user: { sub: "cy", name: "Cy" } }, { key: "2", at: NOW + 1_600, event: "left", user: { sub: "di", name: "Di" } }];
  room.outbox = [{ localId: "7", kind: "message", data: "y", at: NOW + 3_000, state: "sending", words: "" }];
  const shown = rows(room, { sub: "ada", name: "Ada" });
  assert.deepEqual(shown.map(({ kind }) => kind), ["day", "message", "day", "message", "unread", "message", "movements", "message", "message"]);
  assert.deepEqual(shown.filter(({ kind }) => kind === "message").map(({ leads, own, state }) => [leads, own, state]), [
    [true, false, ""],
    [true, false, ""],
    [true, false, ""],
    [true, true, "sent"],
    [false, true, "sending"],
  ]);
  assert.equal(shown.at(-1).key, "own-7");
  assert.equal(movementWords(shown[6].movements), "Cy joined · Di left");
  assert.equal(new Set(shown.map(({ key }) => key)).size, shown.length);
});

test("only web addresses become links", () => {
  const links = (text) => segments(text).filter(({ href }) => href).map(({ href }) => href);
  assert.deepEqual(links("see https://a.example/x?y=1. And (http://b.example/)"), ["https://a.example/x?y=1", "http://b.example/"]);
  assert.deepEqual(links("javascript:alert(1) data:text/html,x file:///etc https://"), []);
  for (const text of ["", "x", "https://a.example", "a https://a.example b https://[ c"]) assert.equal(segments(text).map((part) => part.text).join(""), text);
});

test("words for people", () => {
  assert.deepEqual(["Ada Lovelace", "bo", "", "🚀 x y", "a-b"].map(initials), ["AL", "B", "?", "🚀Y", "AB"]);
  assert.equal(dayWords(NOW, NOW), "Today");
  assert.equal(dayWords(NOW - 24 * 3_600_000, NOW), "Yesterday");
  assert.equal(linkWords({ phase: "waiting", retryAt: NOW + 4_200, everOpened: true }, NOW, true).words, "Reconnecting in 5 s");
  assert.equal(linkWords({ phase: "waiting", retryAt: NOW }, NOW, false).words, "Offline");
});
