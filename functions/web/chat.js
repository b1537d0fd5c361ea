/**
 * What the client does: takes events (the user, the connection, frames, the clock's ticks), changes the state, and
 * returns what is to be done about it. Deterministic: no socket, no clock, no randomness, no DOM, so every loss of a
 * connection can be played in tests. answers.js takes frames, turn.js does an event's work; main.js carries the effects
 * out, link.js holds the connection, room.js is what is known of a room.
 *
 * How nothing is lost and nothing doubled:
 * - Messages are kept by id. Live ones may leave gaps; each room's `checkpoint` is moved by history only, and history
 *   is read from there after every reconnect and once in a while, which also keeps the connection from being idle.
 * - Own messages go one after another, each with an id that its acknowledgement repeats. If the connection ends before
 *   that, the message is `unsure`: it is sent again only if a history that was asked for {@link SETTLE_MS} after it was
 *   sent does not have it, as the chat records a message within 8 seconds or not at all.
 *
 * @module chat
 */

import { answers } from "./answers.js";
import { frames, isRoom, withoutControls } from "./protocol.js";
import { createRoom, markDivider, markRead } from "./room.js";
import { powers } from "./token.js";
import { currentRoom, SETTLE_MS, Turn } from "./turn.js";

export { currentRoom, SETTLE_MS };

/** A connection that does not answer for so long is dead, in milliseconds. */
export const ANSWER_MS = 15_000;

/** History is read again after this time, in milliseconds: while somebody looks, and while nobody does. API Gateway ends a connection after 10 idle minutes. */
export const SYNC_MS = { visible: 60_000, hidden: 240_000 };

/** Connections are replaced at this age, in milliseconds; API Gateway ends them after 2 hours. Clients differ by up to {@link RENEW_SPREAD_MS}. */
export const RENEW_MS = 105 * 60_000;

/** See {@link RENEW_MS}. */
export const RENEW_SPREAD_MS = 10 * 60_000;

/** So long before its end a token is said to end, in milliseconds. */
export const EXPIRY_NOTICE_MS = 5 * 60_000;

/** Who is in the room is asked for again after this time, in milliseconds. */
const WHO_MS = 120_000;

/**
 * What is to be done. `end` says that the conversation is over until the user does something.
 * @typedef {{do: "send", frame: object} | {do: "drop" | "stop" | "renew" | "thrive"}} Effect
 */

/**
 * Begins a conversation.
 * @param {import("./token.js").Bearer} bearer
 * @param {string} room
 * @param {object} [known]
 * @param {string[]} [known.rooms] of earlier visits
 * @param {Record<string, string>} [known.readTo] the last message read in each
 * @param {number} [known.spread] from 0 to 1: where in the range of ages this client's connections are replaced
 * @returns {object} the state
 */
export function create(bearer, room, { rooms = [], readTo = {}, spread = 0 } = {}) {
  const names = [...new Set([...rooms.filter(isRoom), room])];
  return {
    me: { sub: bearer.sub, name: bearer.name },
    expiresAt: bearer.expiresAt,
    powers: powers(bearer),
    expiring: false,
    current: room,
    rooms: new Map(names.map((name) => [name, createRoom(name, readTo[name])])),
    link: { phase: "connecting", everOpened: false, openedAt: 0, renewAt: 0, retryAt: 0, failures: 0, room: null },
    renewAfterMs: RENEW_MS + spread * RENEW_SPREAD_MS,
    requests: new Map(),
    sequence: 0,
    attentive: false,
    visible: true,
    tickedAt: 0,
    whoAt: 0,
    end: null,
    notice: null,
  };
}

/**
 * Takes an event.
 * @param {object} state changed in place
 * @param {{type: string}} event one of {@link events}
 * @param {number} now in milliseconds since 1970
 * @returns {Effect[]} in order
 */
export function update(state, event, now) {
  const turn = new Turn(state, now);
  events[event.type](turn, event);
  return turn.effects;
}

/** What can happen. */
const events = {
  /** The user connects again, after an end or with a new token. */
  resume({ state }, { bearer }) {
    Object.assign(state, { expiresAt: bearer.expiresAt, powers: powers(bearer), expiring: false, end: null, notice: null });
    state.me.name = bearer.name;
    if (state.link.phase !== "open") Object.assign(state.link, { phase: "connecting", everOpened: false, failures: 0 });
  },

  /** A connection is there, or took over from the one before. */
  opened(turn, { room }) {
    const { state, now } = turn;
    const { link } = state;
    if (link.phase !== "open") turn.doubt();
    Object.assign(link, { phase: "open", everOpened: true, openedAt: now, renewAt: now + state.renewAfterMs, failures: 0, room });
    if (room === state.current) turn.who();
    else turn.join(state.current);
    // A reading that is under way over the old connection cannot vouch for the new one.
    currentRoom(state).sync = null;
    turn.sync(currentRoom(state));
    turn.flush();
  },

  /** The connection ended, or could not be made. */
  lost(turn, { opened, retryMs }) {
    const { state, now } = turn;
    turn.doubt();
    if (state.end) return;
    Object.assign(state.link, { phase: "waiting", retryAt: now + retryMs, failures: opened ? 0 : state.link.failures + 1 });
    if (state.expiresAt <= now) turn.end("expired", "Your token has expired.");
    else if (!state.link.everOpened) turn.end("refused", "");
  },

  /** A frame arrived, as protocol.js read it. */
  frame(turn, { frame }) {
    if (frame.type !== "gateway" && frame.type !== "error") turn.effects.push({ do: "thrive" });
    answers[frame.type](turn, frame);
  },

  /** A frame could not be handed to the connection, so it was certainly not sent. */
  unsent(turn, { id }) {
    const request = turn.answered({ id });
    if (!request) return;
    const room = turn.state.rooms.get(request.room);
    if (room?.sync?.id === id) room.sync = null;
    if (room?.earlier?.id === id) room.earlier = null;
    const sent = room?.outbox.find(({ localId }) => localId === request.localId);
    if (sent?.state === "sending") Object.assign(sent, { state: "queued", attempts: sent.attempts - 1 });
  },

  /** The user says something. */
  say(turn, { kind, data, localId }) {
    const { state, now } = turn;
    const room = currentRoom(state);
    const text = withoutControls(data);
    room.outbox.push({ localId, kind, data: text, at: now, since: "", state: "queued", sentAt: 0, notBefore: 0, attempts: 0, words: "", copy: "" });
    markRead(room);
    room.divider = null;
    turn.flush();
  },

  /** The user tries a message again that was refused. */
  retry(turn, { localId }) {
    const sent = currentRoom(turn.state).outbox.find((one) => one.localId === localId);
    if (sent?.state === "failed") Object.assign(sent, { state: "queued", attempts: 0, words: "" });
    turn.flush();
  },

  /** The user gives a message up that was refused. */
  discard(turn, { localId }) {
    const room = currentRoom(turn.state);
    room.outbox = room.outbox.filter((sent) => sent.localId !== localId || sent.state !== "failed");
  },

  /** The user goes to a room. */
  join(turn, { room: name }) {
    const { state } = turn;
    if (!isRoom(name) || name === state.current) return;
    const left = currentRoom(state);
    if (state.attentive) markRead(left);
    left.divider = null;
    left.members = null;
    left.movements = [];
    state.current = name;
    state.attentive = false;
    if (!state.rooms.has(name)) state.rooms.set(name, createRoom(name));
    markDivider(currentRoom(state), state.me.sub);
    if (state.link.phase === "open") turn.join(name);
  },

  /** The user wants to read what was said before. */
  earlier(turn) {
    const room = currentRoom(turn.state);
    if (turn.state.link.phase === "open" && !room.earlier && !room.whole) turn.lookBack(room, room.span, false);
  },

  /** The user takes another room off the list. */
  leave({ state }, { room }) {
    if (room !== state.current && !state.rooms.get(room)?.outbox.length) state.rooms.delete(room);
  },

  /** A moderator ends all connections of a user in this room. */
  kick(turn, { user }) {
    const room = turn.state.current;
    turn.ask({ kind: "kick", room, user }, (id) => frames.kick(room, user.sub, id));
  },

  /** Whether somebody looks at the page (`visible`), and at its last message (`attentive`). */
  attention(turn, { visible, attentive }) {
    const { state, now } = turn;
    const room = currentRoom(state);
    if (attentive) markRead(room);
    // What was marked as new has been seen once the reader goes away.
    else if (state.attentive) room.divider = null;
    const returned = visible && !state.visible;
    Object.assign(state, { visible, attentive });
    if (returned) events.probe(turn, { now });
  },

  /** The connection may have died unnoticed: the network changed, or the machine slept. */
  probe(turn) {
    if (turn.state.link.phase === "open") turn.sync(currentRoom(turn.state));
  },

  /** About once a second, and less often while nobody looks. */
  tick(turn) {
    const { state, now } = turn;
    state.expiring = state.expiresAt - now < EXPIRY_NOTICE_MS;
    const slept = state.tickedAt > 0 && now - state.tickedAt > 90_000;
    state.tickedAt = now;
    if (state.link.phase !== "open") return;
    if ([...state.requests.values()].some(({ at }) => now - at > ANSWER_MS)) {
      turn.effects.push({ do: "drop" });
      return;
    }
    if (now > state.link.renewAt) {
      state.link.renewAt = now + 60_000;
      turn.effects.push({ do: "renew" });
    }
    if (state.link.room !== state.current) turn.join(state.current);
    if (state.visible && now - state.whoAt > WHO_MS) turn.who();
    if (slept) events.probe(turn);
    const due = [...state.rooms.values()].filter((room) => isDue(state, room, now));
    // Its own room first, and one other at a time.
    for (const room of due.filter(({ name }) => name === state.current)) turn.sync(room);
    const others = due.filter(({ name }) => name !== state.current);
    if (others.length && ![...state.requests.values()].some(({ kind }) => kind === "history")) turn.sync(others[0]);
    turn.flush();
  },
};

/** @returns {boolean} whether a room's history is to be read */
function isDue(state, room, now) {
  if (room.sync || now < room.syncAt) return false;
  if (room.syncAt > 0) return true;
  if (room.outbox.some((sent) => sent.state === "unsure" && now >= sent.sentAt + SETTLE_MS)) return true;
  if (room.name === state.current) return now - room.syncedAt > (state.visible ? SYNC_MS.visible : SYNC_MS.hidden);
  return state.visible && now - room.syncedAt > SYNC_MS.visible;
}
