/**
 * Turns what is known of a room into rows to show: days, messages in groups, the mark before unread ones, who came and
 * went. Also finds links in texts. Pure; view.js makes elements of rows.
 *
 * @module timeline
 */

import { idAt } from "./protocol.js";

/** Messages of one author within this time stand together, in milliseconds. */
const GROUP_MS = 5 * 60_000;

/**
 * A row. `key` stays the same for the same thing, also when an own message is acknowledged.
 * @typedef {{kind: "day", key: string, at: number}
 *   | {kind: "unread", key: string}
 *   | {kind: "movements", key: string, movements: object[]}
 *   | {kind: "message", key: string, message: object, own: boolean, leads: boolean,
 *      state: "sent" | "queued" | "sending" | "unsure" | "failed" | "", words: string}} Row
 */

/**
 * @param {import("./room.js").Room} room
 * @param {import("./protocol.js").User} self who looks
 * @returns {Row[]} in the order in which they are shown
 */
export function rows(room, self) {
  const result = [];
  let day = "";
  let before = null;
  const separate = (at) => {
    const today = new Date(at).toDateString();
    if (today === day) return;
    day = today;
    before = null;
    result.push({ kind: "day", key: `day-${today}`, at });
  };
  const add = (message, key, state, words) => {
    separate(message.at);
    if (message.id && message.id === room.divider) {
      before = null;
      result.push({ kind: "unread", key: "unread" });
    }
    const leads = !before || before.from.sub !== message.from.sub || before.kind !== message.kind || message.at - before.at > GROUP_MS;
    before = message;
    result.push({ kind: "message", key, message, own: message.from.sub === self.sub, leads, state, words });
  };
  const movements = [...room.movements];
  const moveUntil = (id) => {
    while (movements.length && (!id || idAt(movements[0].at) < id)) {
      const movement = movements.shift();
      separate(movement.at);
      before = null;
      const last = result.at(-1);
      if (last?.kind === "movements") last.movements.push(movement);
      else result.push({ kind: "movements", key: movement.key, movements: [movement] });
    }
  };
  const copies = new Set(room.outbox.map(({ copy }) => copy));
  for (const message of room.messages) {
    if (copies.has(message.id)) continue;
    moveUntil(message.id);
    const own = message.from.sub === self.sub;
    add(message, message.localId ? `own-${message.localId}` : message.id, own ? "sent" : "", "");
  }
  moveUntil(null);
  for (const { localId, kind, data, at, state, words } of room.outbox) {
    add({ kind, from: self, data, at, localId }, `own-${localId}`, state, words);
  }
  return result;
}

/** Web addresses in a text; what follows a sentence is not part of one. */
const LINK = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g;

/**
 * Splits a text into plain parts and links.
 * @param {string} text
 * @returns {{text: string, href: string | null}[]}
 */
export function segments(text) {
  const parts = [];
  let at = 0;
  for (const { 0: link, index } of text.matchAll(LINK)) {
    if (!URL.canParse(link)) continue;
    if (index > at) parts.push({ text: text.slice(at, index), href: null });
    parts.push({ text: link, href: new URL(link).href });
    at = index + link.length;
  }
  if (at < text.length) parts.push({ text: text.slice(at), href: null });
  return parts;
}
