// The client against a chat in memory, whose connections end at random: before a frame arrives, before its answer does,
// in the middle of a history. Time is played, so minutes take milliseconds.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as chat from "../chat.js";
import { idAt, read } from "../protocol.js";
import { unread } from "../room.js";
import { rows } from "../timeline.js";

const START = Date.UTC(2026, 5, 1, 12);
const BEARER = { sub: "ada", name: "Ada", roles: [], expiresAt: START + 8 * 3_600_000 };

/** Numbers from 0 to 1, the same for the same seed. */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A client, a network and a chat. */
class World {
  constructor({ seed = 1, bearer = BEARER, known } = {}) {
    this.random = random(seed);
    this.now = START;
    this.said = [];
    this.queue = [];
    this.connection = 0;
    this.opened = 0;
    this.sent = [];
    this.stopped = false;
    this.state = chat.create(bearer, "lobby", known);
  }

  /** Does `what` after so many milliseconds. */
  later(after, what) {
    this.queue.push({ at: this.now + after, what });
  }

  act(event) {
    for (const effect of chat.update(this.state, event, this.now)) {
      if (effect.do === "send") this.send(effect.frame);
      else if (effect.do === "drop") this.cut(100);
      else if (effect.do === "stop") {
        this.connection = 0;
        this.stopped = true;
      } else if (effect.do === "renew") this.open();
    }
  }

  open() {
    this.opened += 1;
    this.connection = this.opened;
    this.room = this.state.current;
    this.act({ type: "opened", room: this.state.current });
  }

  /** The connection ends; what is under way over it may arrive or not. */
  cut(retryMs) {
    if (!this.connection) return;
    this.connection = 0;
    this.act({ type: "lost", opened: true, retryMs });
    this.later(retryMs, () => this.connection || this.stopped || this.open());
  }

  send(frame) {
    this.sent.push({ at: this.now, frame });
    if (!this.connection) {
      this.act({ type: "unsent", id: frame.id });
      return;
    }
    const connection = this.connection;
    const lossy = this.flapping && this.random() < 0.15;
    if (lossy) this.later(this.random() * 50, () => this.connection === connection && this.cut(this.random() * 1000));
    if (lossy && this.random() < 0.5) return;
    // A frame that is under way when its connection ends may still be obeyed, seconds later.
    this.later(this.flapping ? this.random() ** 4 * 6_000 : 20, () => this.obey(frame, connection));
  }

  obey(frame, connection) {
    const answer = (body) => this.later(this.random() * 40, () => this.connection === connection && this.hear({ ...body, id: frame.id }));
    switch (frame.action) {
      case "sendMessage":
        answer({ type: "ack", messageId: this.record("ada", "Ada", frame.data, frame.room, connection) });
        break;
      case "join":
        this.room = frame.room;
        answer({ type: "members", room: frame.room, members: [{ sub: "ada", name: "Ada" }], more: false });
        break;
      case "who":
        answer({ type: "members", room: this.room, members: [{ sub: "ada", name: "Ada" }], more: false });
        break;
      case "history": {
        const from = frame.cursor ?? (frame.after ? idAt(Math.max(0, this.timeOf(frame.after) - 10_000)) : null);
        const all = this.said.filter(({ room, id }) => room === frame.room && (!from || id > from)).sort((one, other) => (one.id < other.id ? -1 : 1));
        const page = from ? all.slice(0, 7) : all.slice(-7);
        const more = from !== null && all.length > 7;
        answer({ type: "history", room: frame.room, messages: page, more, ...(more && { cursor: page.at(-1).id }) });
      }
    }
  }

  timeOf(id) {
    return read(JSON.stringify({ type: "message", id, from: { sub: "x" }, room: "x", data: "x" })).message.at;
  }

  record(sub, name, data, room, from) {
    this.serial = (this.serial ?? 0) + 1;
    const id = idAt(this.now).slice(0, 10) + String(this.serial).padStart(16, "0");
    const message = { type: "message", id, from: { sub, name }, room, data, at: new Date(this.now).toISOString() };
    this.said.push(message);
    // Live messages may be missed, come twice, and come in another order.
    const connection = this.connection;
    const copies = connection && connection !== from && room === this.room ? (this.flapping ? Math.floor(this.random() * 3) : 1) : 0;
    for (let copy = 0; copy < copies; copy += 1) this.later(this.random() * 400, () => this.connection === connection && this.hear(message));
    return id;
  }

  hear(body) {
    const frame = read(JSON.stringify(body));
    assert.ok(frame, JSON.stringify(body));
    this.act({ type: "frame", frame });
  }

  /** Lets time pass. */
  pass(ms) {
    const end = this.now + ms;
    for (let tick = this.now + 1_000; ; ) {
      this.queue.sort((one, other) => one.at - other.at);
      const next = Math.min(this.queue[0]?.at ?? Infinity, tick);
      if (next > end) break;
      this.now = next;
      if (next === tick) {
        this.act({ type: "tick" });
        tick += 1_000;
      } else this.queue.shift().what();
    }
    this.now = end;
  }

  get room_() {
    return chat.currentRoom(this.state);
  }

  shown(room = this.room_) {
    return room.messages.map(({ data }) => data);
  }
}

test("nothing is lost and nothing doubled, however connections end", () => {
  let reconnects = 0;
  for (let seed = 1; seed <= 200; seed += 1) {
    const world = new World({ seed });
    world.open();
    world.flapping = true;
    const wanted = [];
    for (let number = 0; number < 25; number += 1) {
      wanted.push(`ada ${number}`, `bo ${number}`);
      world.act({ type: "say", kind: "message", data: `ada ${number}`, localId: `${number}` });
      world.record("bo", "Bo", `bo ${number}`, "lobby", 0);
      world.pass(world.random() * 2_000);
    }
    world.flapping = false;
    world.pass(180_000);
    assert.deepEqual(world.room_.outbox, [], `seed ${seed}`);
    assert.deepEqual(world.said.map(({ data }) => data).sort(), [...wanted].sort(), `seed ${seed}: recorded`);
    assert.deepEqual(world.shown(), [...world.said].sort((one, other) => (one.id < other.id ? -1 : 1)).map(({ data }) => data), `seed ${seed}: shown`);
    const own = world.shown().filter((text) => text.startsWith("ada"));
    assert.deepEqual(own, wanted.filter((text) => text.startsWith("ada")), `seed ${seed}: order`);
    reconnects += world.opened - 1;
  }
  assert.ok(reconnects > 200, `only ${reconnects} reconnects`);
});

test("the same text twice is two messages", () => {
  const world = new World();
  world.open();
  for (const localId of ["1", "2"]) world.act({ type: "say", kind: "message", data: "hi", localId });
  world.pass(1_000);
  assert.deepEqual(world.shown(), ["hi", "hi"]);
  assert.deepEqual(world.room_.messages.map(({ localId }) => localId), ["1", "2"]);
});

test("a message whose answer was lost is found in history, and not sent again", () => {
  const world = new World();
  world.open();
  world.pass(1_000);
  world.act({ type: "say", kind: "message", data: "hi", localId: "1" });
  world.pass(25);
  assert.equal(world.said.length, 1);
  world.cut(200);
  assert.equal(world.room_.outbox[0].state, "unsure");
  world.pass(30_000);
  assert.deepEqual([world.said.length, world.room_.outbox.length], [1, 0]);
});

/** Says something, and has the chat's copy of it come before the acknowledgement: by history, or by another connection of the user. */
function overtaken(world) {
  world.open();
  world.pass(1_000);
  world.act({ type: "say", kind: "message", data: "hi", localId: "1" });
  world.pass(20);
  world.hear(world.said[0]);
  assert.equal(world.room_.outbox.length, 1);
}

test("a message that comes before its acknowledgement is shown once", () => {
  const world = new World();
  overtaken(world);
  const shown = () => rows(world.room_, world.state.me).filter(({ kind }) => kind === "message").map(({ key, state }) => [key, state]);
  assert.deepEqual(shown(), [["own-1", "sending"]]);
  world.pass(1_000);
  assert.deepEqual(shown(), [["own-1", "sent"]]);
});

test("a message that comes before its acknowledgement, which is lost, is not sent again", () => {
  const world = new World();
  overtaken(world);
  world.cut(200);
  world.pass(60_000);
  assert.deepEqual([world.said.length, world.shown(), world.room_.outbox], [1, ["hi"], []]);
  assert.equal(world.room_.messages[0].localId, "1");
});

test("the same text from the user's other page is a message of its own", () => {
  const world = new World();
  world.open();
  world.pass(1_000);
  world.act({ type: "say", kind: "message", data: "hi", localId: "1" });
  world.record("ada", "Ada", "hi", "lobby", 0);
  world.pass(2_000);
  assert.deepEqual(rows(world.room_, world.state.me).filter(({ own, state }) => own && state === "sent").length, 2);
});

test("a message that never arrived is sent again, once that is certain", () => {
  const world = new World();
  world.open();
  world.pass(1_000);
  world.act({ type: "say", kind: "message", data: "hi", localId: "1" });
  world.queue = [];
  world.cut(200);
  world.pass(chat.SETTLE_MS - 1_500);
  assert.deepEqual(world.said, []);
  world.pass(5_000);
  assert.deepEqual([world.said.length, world.room_.outbox.length], [1, 0]);
});

test("a connection is never idle for ten minutes, and is replaced before two hours", () => {
  for (const visible of [true, false]) {
    const world = new World();
    world.open();
    world.act({ type: "attention", visible, attentive: visible });
    world.pass(3 * 3_600_000);
    const pauses = world.sent.map(({ at }, index) => at - (world.sent[index - 1]?.at ?? START));
    assert.ok(Math.max(...pauses) < 5 * 60_000, `${Math.max(...pauses)}`);
    assert.equal(world.opened, 2);
  }
});

test("a connection that does not answer is given up", () => {
  const world = new World();
  world.open();
  world.pass(1_000);
  world.obey = () => {};
  world.pass(90_000);
  assert.ok(world.opened > 1);
});

test("a token that has expired ends it, and a new one goes on where it stopped", () => {
  const world = new World({ bearer: { ...BEARER, expiresAt: START + 20 * 60_000 } });
  world.open();
  world.act({ type: "say", kind: "message", data: "before", localId: "1" });
  world.pass(16 * 60_000);
  assert.equal(world.state.expiring, true);
  world.pass(5 * 60_000);
  world.hear({ type: "error", code: "token_expired", message: "token has expired" });
  assert.equal(world.state.end.why, "expired");
  world.act({ type: "say", kind: "message", data: "meanwhile", localId: "2" });
  world.act({ type: "resume", bearer: BEARER });
  world.stopped = false;
  world.open();
  world.pass(1_000);
  assert.deepEqual([world.shown(), world.state.end], [["before", "meanwhile"], null]);
});

test("a first connection that fails is a refusal, a later one is tried again", () => {
  const world = new World();
  world.act({ type: "lost", opened: false, retryMs: 100 });
  assert.equal(world.state.end.why, "refused");
  const other = new World();
  other.open();
  other.cut(100);
  other.act({ type: "lost", opened: false, retryMs: 100 });
  assert.deepEqual([other.state.end, other.state.link.phase, other.state.link.failures], [null, "waiting", 1]);
});

test("what nobody looks at is unread, also in other rooms", () => {
  const world = new World();
  world.open();
  world.record("bo", "Bo", "old", "lobby", 0);
  world.pass(1_000);
  world.act({ type: "attention", visible: true, attentive: true });
  world.act({ type: "join", room: "red" });
  world.pass(1_000);
  world.record("bo", "Bo", "new", "lobby", 0);
  world.act({ type: "say", kind: "message", data: "own", localId: "1" });
  world.pass(70_000);
  const lobby = world.state.rooms.get("lobby");
  assert.deepEqual([world.shown(lobby), unread(lobby, "ada"), unread(world.room_, "ada")], [["old", "new"], 1, 0]);
  world.act({ type: "join", room: "lobby" });
  world.pass(1_000);
  assert.equal(lobby.divider, lobby.messages[1].id);
  world.act({ type: "attention", visible: true, attentive: true });
  assert.equal(unread(lobby, "ada"), 0);
});

test("a reader who was away gets all of it, marked from where reading stopped", () => {
  const world = new World();
  world.now -= 3_600_000;
  const ids = Array.from({ length: 30 }, (_, number) => world.record("bo", "Bo", `${number}`, "lobby", 0));
  const back = new World({ known: { readTo: { lobby: ids[4] } } });
  back.said = world.said;
  back.open();
  back.pass(2_000);
  assert.ok(back.shown().length >= 25);
  assert.deepEqual([back.room_.divider, unread(back.room_, "ada")], [ids[5], 25]);
});

test("a refused message stays with its reason until its author decides", () => {
  const world = new World();
  world.open();
  world.act({ type: "say", kind: "announcement", data: "hi", localId: "1" });
  const { id } = world.sent.at(-1).frame;
  world.hear({ type: "error", code: "forbidden", message: "none of your roles may do that", id });
  assert.deepEqual([world.room_.outbox[0].state, world.room_.outbox[0].words], ["failed", "Your role does not allow this."]);
  world.act({ type: "retry", localId: "1" });
  assert.equal(world.room_.outbox[0].state, "sending");
});

test("haste is answered with a pause, not with a loss", () => {
  const world = new World();
  world.open();
  world.act({ type: "say", kind: "message", data: "hi", localId: "1" });
  const { id } = world.sent.at(-1).frame;
  world.queue = [];
  world.hear({ type: "error", code: "rate_limited", message: "wait", id });
  world.pass(2_000);
  assert.equal(world.room_.outbox[0].state, "queued");
  world.pass(5_000);
  assert.deepEqual([world.said.length, world.room_.outbox.length], [1, 0]);
});

test("who comes and goes is told once, and a short absence not at all", () => {
  const world = new World();
  world.open();
  world.pass(1_000);
  const tell = (event, after) => world.hear({ type: "presence", event, room: "lobby", user: { sub: "bo", name: "Bo" }, at: new Date(world.now + after).toISOString() });
  tell("joined", 0);
  tell("joined", 1);
  assert.deepEqual(world.room_.members.users.map(({ sub }) => sub), ["ada", "bo"]);
  assert.equal(world.room_.movements.length, 1);
  tell("left", 10_000);
  assert.deepEqual(world.room_.members.users.map(({ sub }) => sub), ["ada"]);
  tell("joined", 20_000);
  assert.deepEqual(world.room_.movements.map(({ event }) => event), ["joined"]);
});

test("who is kicked is out", () => {
  const world = new World();
  world.open();
  world.hear({ type: "kicked", room: "lobby", by: { sub: "bo", name: "Bo" } });
  assert.deepEqual([world.state.end.words, world.stopped], ["Bo removed you from lobby.", true]);
});

test("what was said earlier comes without gaps, up to the beginning", () => {
  const world = new World();
  const hour = 3_600_000;
  for (let number = 40; number > 0; number -= 1) {
    world.now = START - number * hour;
    world.record("bo", "Bo", `${number}`, "lobby", 0);
  }
  world.now = START;
  world.open();
  world.pass(1_000);
  assert.deepEqual([world.shown().length, world.room_.whole, world.room_.earlier], [7, false, null]);
  for (let press = 0; press < 40 && !world.room_.whole; press += 1) {
    world.act({ type: "earlier" });
    world.pass(2_000);
    const shown = world.shown().map(Number);
    assert.deepEqual(shown, Array.from(shown, (_, index) => shown.length - index));
  }
  assert.deepEqual([world.shown().length, unread(world.room_, "ada")], [40, 0]);
});

test("of a short room it is known that it is whole", () => {
  const world = new World();
  world.record("bo", "Bo", "x", "lobby", 0);
  world.open();
  world.pass(1_000);
  assert.equal(world.room_.whole, true);
});
