/**
 * One event's work on the state of chat.js: asks, and what to do when answers do not come. Deterministic, as chat.js is.
 *
 * @module turn
 */

import { frames, idAt, KEPT_MS, timeOf } from "./protocol.js";
import { markDivider, markRead, newest, takeCopies } from "./room.js";

/** What was sent so long ago and is not in history will not be there, in milliseconds. */
export const SETTLE_MS = 12_000;

/** A message is sent so often by itself; then its author decides. */
const ATTEMPTS_MAX = 5;

/** @returns the room that is shown */
export const currentRoom = (state) => state.rooms.get(state.current);

/** One event's work. */
export class Turn {
  constructor(state, now) {
    this.state = state;
    this.now = now;
    this.effects = [];
  }

  /** Sends a frame whose answer is waited for. `about` says what to do with the answer. */
  ask(about, frameOf) {
    this.state.sequence += 1;
    const id = `${about.kind}-${this.state.sequence}`;
    this.state.requests.set(id, { ...about, at: this.now });
    this.effects.push({ do: "send", frame: frameOf(id) });
    return id;
  }

  /** @returns the request that a frame answers, which is over by that */
  answered(frame) {
    const request = this.state.requests.get(frame.id);
    this.state.requests.delete(frame.id);
    return request;
  }

  /** Reads what may have been missed since `after`; the last messages, if that is null. */
  sync(room, after = room.checkpoint) {
    if (room.sync) return;
    const first = room.syncedAt === 0;
    const id = this.ask({ kind: "history", room: room.name }, (id) => frames.history(room.name, after, id));
    room.sync = { id, began: this.now, first };
  }

  /** Looks at what was said in the `span` before the first message; a probe finds out only whether there is something. */
  lookBack(room, span, probe) {
    const until = room.messages[0]?.id ?? idAt(this.now);
    const from = Math.max(timeOf(until) - span, this.now - KEPT_MS);
    const id = this.ask({ kind: "history", room: room.name }, (id) => frames.page(room.name, idAt(from), id));
    room.earlier = { id, from, until, probe, held: [] };
  }

  join(room) {
    if ([...this.state.requests.values()].some((request) => request.kind === "join" && request.room === room)) return;
    this.ask({ kind: "join", room }, (id) => frames.join(room, id));
  }

  who() {
    this.state.whoAt = this.now;
    this.ask({ kind: "who" }, frames.who);
  }

  /** Sends what waits, one message of a room at a time, so that the order stays. */
  flush() {
    if (this.state.link.phase !== "open") return;
    for (const room of this.state.rooms.values()) {
      if (room.outbox.some(({ state }) => state === "sending" || state === "unsure")) continue;
      const next = room.outbox.find(({ state }) => state === "queued");
      if (!next || next.notBefore > this.now) continue;
      Object.assign(next, { state: "sending", sentAt: this.now, since: newest(room), attempts: next.attempts + 1 });
      this.ask({ kind: "say", room: room.name, localId: next.localId }, (id) => frames.say(next.kind, room.name, next.data, id));
    }
  }

  /** Nobody knows what became of what is under way. */
  doubt() {
    this.state.requests.clear();
    this.state.whoAt = 0;
    for (const room of this.state.rooms.values()) {
      room.sync = null;
      room.earlier = null;
      takeCopies(room);
      for (const sent of room.outbox) if (sent.state === "sending") sent.state = "unsure";
    }
  }

  /** What history that was asked for at `began` does not have was not accepted, if it was sent long enough before. */
  settle(room, began) {
    for (const sent of room.outbox) {
      if (sent.state !== "unsure" || sent.sentAt + SETTLE_MS > began) continue;
      if (sent.attempts < ATTEMPTS_MAX) sent.state = "queued";
      else Object.assign(sent, { state: "failed", words: "The chat did not take it." });
    }
  }

  /** Messages of a room came: what nobody looks at is unread. */
  arrived(room) {
    if (room.name === this.state.current && this.state.attentive) markRead(room);
    else markDivider(room, this.state.me.sub);
  }

  end(why, words) {
    this.doubt();
    this.state.end = { why, words };
    this.state.link.phase = "ended";
    this.effects.push({ do: "stop" });
  }

  notify(words) {
    this.state.notice = { words, at: this.now };
  }
}
