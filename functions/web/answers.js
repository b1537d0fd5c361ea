/**
 * What the chat's frames mean to the client: the half of chat.js that listens.
 *
 * @module answers
 */

import { frames, idAt, KEPT_MS } from "./protocol.js";
import { accept, markDivider, markRead, MESSAGES_KEPT, move, receive } from "./room.js";
import { currentRoom } from "./turn.js";
import { gatewayWords, refusalWords } from "./words.js";

/** History of an absence reaches back as far, in milliseconds. */
export const ABSENCE_MS = 24 * 3_600_000;

/** After a refusal for haste, or a fault behind the gateway, in milliseconds. */
export const PAUSE_MS = 3_000;

/** In a room with fewer messages it is worth a question whether these are all. */
const FEW_MESSAGES = 30;

/** What frames mean, by their type. */
export const answers = {
  message(turn, { message }) {
    const room = turn.state.rooms.get(message.room);
    if (room && receive(room, message, turn.state.me.sub)) turn.arrived(room);
  },

  history(turn, frame) {
    const { state, now } = turn;
    turn.answered(frame);
    const room = state.rooms.get(frame.room);
    if (room?.earlier && room.earlier.id === frame.id) {
      lookedBack(turn, room, frame);
      return;
    }
    // Another answer may come over a connection that was replaced meanwhile.
    if (!room?.sync || room.sync.id !== frame.id) return;
    const unknown = room.checkpoint === null;
    for (const message of frame.messages) receive(room, message, state.me.sub);
    const last = frame.messages.at(-1)?.id ?? idAt(0);
    if (unknown || last > room.checkpoint) room.checkpoint = last;
    if (frame.more && frame.cursor) {
      room.sync.id = turn.ask({ kind: "history", room: room.name }, (id) => frames.page(room.name, frame.cursor, id));
      return;
    }
    const { began, first } = room.sync;
    room.sync = null;
    // After an absence, what was missed follows, from where the reader stopped.
    if (unknown && room.readTo && room.messages.length && room.messages[0].id > room.readTo) {
      turn.sync(room, [room.readTo, idAt(now - ABSENCE_MS)].sort().at(-1));
      return;
    }
    Object.assign(room, { syncedAt: now, syncAt: 0 });
    turn.settle(room, began);
    // On a first visit nothing counts as unread.
    if (first && !room.readTo) markRead(room);
    if (first) markDivider(room, state.me.sub);
    if (first && room.messages.length < FEW_MESSAGES) turn.lookBack(room, KEPT_MS, true);
    turn.arrived(room);
    turn.flush();
  },

  members(turn, frame) {
    const { state } = turn;
    const request = turn.answered(frame);
    const room = state.rooms.get(frame.room);
    if (room) room.members = { users: frame.members, more: frame.more === true };
    if (request?.kind !== "join") return;
    state.link.room = frame.room;
    state.whoAt = turn.now;
    if (frame.room !== state.current) turn.join(state.current);
    else turn.sync(room);
  },

  presence({ state }, { room: name, event, user, at }) {
    const room = state.rooms.get(name);
    if (room && name === state.current && user.sub !== state.me.sub) move(room, event, user, at);
  },

  ack(turn, frame) {
    const request = turn.answered(frame);
    if (request?.kind === "say") {
      const room = turn.state.rooms.get(request.room);
      if (room && frame.messageId) accept(room, request.localId, frame.messageId, turn.state.me);
      if (room?.name === turn.state.current && turn.state.attentive) markRead(room);
      turn.flush();
    } else if (request?.kind === "kick") {
      const { name } = request.user;
      turn.notify(frame.connections ? `${name} was removed from ${request.room}.` : `${name} was not in ${request.room} any more.`);
    }
  },

  pong(turn, frame) {
    turn.answered(frame);
  },

  kicked(turn, { room, by }) {
    turn.end("kicked", `${by.name} removed you from ${room}.`);
  },

  error(turn, frame) {
    const { state, now } = turn;
    const request = turn.answered(frame);
    const room = state.rooms.get(request?.room);
    if (frame.code === "token_expired") {
      turn.end("expired", "Your token has expired.");
    } else if (frame.code === "not_connected") {
      turn.effects.push({ do: "drop" });
    } else if (request?.kind === "say") {
      const sent = room?.outbox.find(({ localId }) => localId === request.localId);
      // What looked like its copy was said elsewhere.
      if (sent) sent.copy = "";
      if (sent && frame.code === "rate_limited") Object.assign(sent, { state: "queued", notBefore: now + PAUSE_MS });
      else if (sent) Object.assign(sent, { state: "failed", words: refusalWords(frame) });
      turn.flush();
    } else if (request?.kind === "history" && room) {
      if (room.earlier?.id === frame.id) room.earlier = null;
      else Object.assign(room, { sync: null, syncAt: now + PAUSE_MS });
    } else if (request?.kind === "kick" || frame.code !== "rate_limited") {
      turn.notify(refusalWords(frame));
    }
  },

  /** API Gateway does not say which frame failed. */
  gateway(turn, { message }) {
    turn.doubt();
    currentRoom(turn.state).syncAt = turn.now + PAUSE_MS;
    turn.notify(gatewayWords(message));
  },
};

/** An answer about what was said before the first message. It is shown only up to there, so that no gap arises. */
function lookedBack(turn, room, frame) {
  const { from, until, probe, held } = room.earlier;
  if (probe) {
    room.earlier = null;
    room.whole = !frame.more && frame.messages.every(({ id }) => id >= until);
    return;
  }
  held.push(...frame.messages);
  if (frame.more && frame.messages.at(-1).id < until) {
    room.earlier.id = turn.ask({ kind: "history", room: room.name }, (id) => frames.page(room.name, frame.cursor, id));
    return;
  }
  room.earlier = null;
  const found = held.filter((message) => message.id < until && receive(room, message, turn.state.me.sub)).length;
  room.whole = from <= turn.now - KEPT_MS || room.messages.length >= MESSAGES_KEPT;
  if (found > 0 || room.whole) return;
  room.span *= 8;
  turn.lookBack(room, room.span, false);
}
