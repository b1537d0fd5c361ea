/**
 * What the browser knows of one room: its messages without doubles, own messages on their way, who is there, and what
 * has been read. Pure: no socket, no clock, no DOM. chat.js calls it; timeline.js turns it into rows.
 *
 * @module room
 */

import { FIRST_ID, idAt, timeOf } from "./protocol.js";

/** So many messages are kept in memory; older ones are forgotten. */
export const MESSAGES_KEPT = 2_000;

/** So many lines about who came and went are kept. */
const MOVEMENTS_KEPT = 50;

/** So far back a first look at what was said earlier goes, in milliseconds. */
const SPAN_MS = 3_600_000;

/** Who is back within this time has not been away, in milliseconds. */
const ABSENCE_MS = 60_000;

/** Ids of one moment may differ so much from those of others: history looks back as far, in milliseconds. */
const LOOK_BACK_MS = 10_000;

/**
 * An own message that the chat has not acknowledged. `queued`: not sent yet. `sending`: sent, no answer yet. `unsure`:
 * sent, and the connection ended before the answer; history will tell. `failed`: refused, for the reason `words`. `copy`:
 * the id of what is probably this message, if it came as the chat's before its acknowledgement; shown is only one of both.
 * @typedef {{localId: string, kind: "message" | "announcement", data: string, at: number, since: string,
 *   state: "queued" | "sending" | "unsure" | "failed", sentAt: number, notBefore: number, attempts: number, words: string, copy: string}} Outgoing
 */

/**
 * A room.
 *
 * `messages` are in the order of their ids, each once; `floor` is the last one that was forgotten. `checkpoint` is the
 * id up to which history has brought everything: only history moves it, as live messages may leave gaps. `readTo` is
 * the last message that was read, `divider` the first that was unread when it came.
 * @typedef {object} Room
 * @property {string} name
 * @property {import("./protocol.js").Message[]} messages
 * @property {string} floor
 * @property {string | null} checkpoint
 * @property {Outgoing[]} outbox
 * @property {{key: string, at: number, event: "joined" | "left", user: import("./protocol.js").User}[]} movements
 * @property {{users: import("./protocol.js").User[], more: boolean} | null} members
 * @property {string} readTo
 * @property {string | null} divider
 * @property {{id: string, began: number, first: boolean} | null} sync a reading of history that is under way: its latest frame, when it began, whether it is the first
 * @property {{id: string, from: number, until: string, probe: boolean, held: import("./protocol.js").Message[]} | null} earlier
 *   a look at what was said before `until`: its latest frame, the moment where it began, what it has brought so far; a probe
 *   finds out only whether there is something
 * @property {number} span so far the next look goes back, in milliseconds
 * @property {boolean} whole whether nothing was said before the first message
 * @property {number} syncedAt when the last one ended, in milliseconds since 1970
 * @property {number} syncAt when to read again at the latest
 */

/**
 * @param {string} name
 * @param {string} [readTo] from an earlier visit
 * @returns {Room}
 */
export const createRoom = (name, readTo = "") => ({
  name,
  messages: [],
  floor: "",
  checkpoint: null,
  outbox: [],
  movements: [],
  members: null,
  readTo,
  divider: null,
  sync: null,
  earlier: null,
  span: SPAN_MS,
  whole: false,
  syncedAt: 0,
  syncAt: 0,
});

/** @param {Room} room @returns {string} the largest id */
export const newest = (room) => room.messages.at(-1)?.id ?? room.floor;

/**
 * Puts a message in its place, unless it is there already.
 * @param {Room} room
 * @param {import("./protocol.js").Message} message
 * @returns {boolean} whether it is new
 */
export function insert(room, message) {
  if (message.id <= room.floor) return false;
  let place = room.messages.length;
  while (place > 0 && room.messages[place - 1].id > message.id) place -= 1;
  if (place > 0 && room.messages[place - 1].id === message.id) return false;
  room.messages.splice(place, 0, message);
  if (room.messages.length > MESSAGES_KEPT) room.floor = room.messages.shift().id;
  return true;
}

/**
 * Takes in a message from the chat. One of the own user may be the copy of one whose acknowledgement was lost, or is
 * still to come.
 * @param {Room} room
 * @param {import("./protocol.js").Message} message
 * @param {string} me the own `sub`
 * @returns {boolean} whether it is new
 */
export function receive(room, message, me) {
  if (!insert(room, message)) return false;
  if (message.from.sub === me) {
    const sent = room.outbox.find((sent) => isOut(sent) && !sent.copy && isCopy(message, sent));
    if (sent) sent.copy = message.id;
    if (sent?.state === "unsure") takeCopies(room);
  }
  return true;
}

/**
 * No acknowledgement will come any more: own messages of which there is a copy are that copy.
 * @param {Room} room
 */
export function takeCopies(room) {
  for (const { localId, copy } of room.outbox) {
    const message = copy && room.messages.find(({ id }) => id === copy);
    if (message) message.localId = localId;
  }
  room.outbox = room.outbox.filter(({ copy }) => !copy);
}

const isOut = ({ state }) => state === "sending" || state === "unsure";

const isCopy = (message, sent) =>
  message.data === sent.data && message.kind === sent.kind && message.id >= idAt(timeOf(sent.since || FIRST_ID) - LOOK_BACK_MS);

/**
 * The chat has accepted an own message.
 * @param {Room} room
 * @param {string} localId
 * @param {string} id
 * @param {import("./protocol.js").User} me
 */
export function accept(room, localId, id, me) {
  const at = room.outbox.findIndex((sent) => sent.localId === localId);
  if (at < 0) return;
  const [{ kind, data }] = room.outbox.splice(at, 1);
  const message = { id, kind, from: me, room: room.name, data, at: timeOf(id), localId };
  if (!insert(room, message)) {
    const copy = room.messages.find((known) => known.id === id);
    if (copy) copy.localId = localId;
  }
}

/**
 * Somebody came or went. The chat may say so twice.
 * @param {Room} room
 * @param {"joined" | "left"} event
 * @param {import("./protocol.js").User} user
 * @param {number} at
 */
export function move(room, event, user, at) {
  const known = room.members?.users.some(({ sub }) => sub === user.sub);
  if (room.members && event === "joined" && !known) room.members.users.push(user);
  if (room.members && event === "left") room.members.users = room.members.users.filter(({ sub }) => sub !== user.sub);
  const last = room.movements.findLast((movement) => movement.user.sub === user.sub);
  if (last?.event === event) return;
  if (event === "joined" && last && at - last.at < ABSENCE_MS) {
    room.movements = room.movements.filter((movement) => movement !== last);
    return;
  }
  room.movements.push({ key: `${event}-${user.sub}-${at}`, at, event, user });
  if (room.movements.length > MOVEMENTS_KEPT) room.movements.shift();
}

/**
 * @param {Room} room
 * @param {string} me
 * @returns {number} messages of others that were not read
 */
export const unread = (room, me) => room.messages.reduce((count, { id, from }) => count + (id > room.readTo && from.sub !== me), 0);

/**
 * Everything there is has been seen.
 * @param {Room} room
 */
export function markRead(room) {
  const last = newest(room);
  if (last > room.readTo) room.readTo = last;
}

/**
 * Marks where the unread part begins, unless it is marked already.
 * @param {Room} room
 * @param {string} me
 */
export function markDivider(room, me) {
  room.divider ??= room.messages.find(({ id, from }) => id > room.readTo && from.sub !== me)?.id ?? null;
}
