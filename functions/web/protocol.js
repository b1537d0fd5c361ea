/**
 * The chat's frames, as docs/protocol.md describes them: writes what the browser sends, reads what it receives, and
 * knows the limits. Pure: no socket, no clock, no DOM. What becomes of frames is decided in chat.js.
 *
 * @module protocol
 */

/** The largest frame that the chat takes and that receivers get, in bytes. */
export const FRAME_BYTES_MAX = 32 * 1024;

/** Messages in one answer to `history`, at most. */
export const HISTORY_MESSAGES_MAX = 100;

/** Messages are kept so long, in milliseconds. */
export const KEPT_MS = 7 * 24 * 3_600_000;

/** An id before all others: history after it is all that is kept. */
export const FIRST_ID = "0".repeat(26);

/** The subprotocol that the chat answers with. */
const SUBPROTOCOL = "chat.v1";

/** The alphabet of message ids (ULIDs), which sort as texts in order of time. */
const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const ROOM = /^[A-Za-z0-9_-]{1,64}$/;

/** All control characters but line ends and tabs: the chat refuses them, since terminals would obey them. */
const CONTROL_CHARACTERS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

/**
 * A user as others see it.
 * @typedef {{sub: string, name: string}} User
 */

/**
 * A message or announcement. `at` is in milliseconds since 1970.
 * @typedef {{id: string, kind: "message" | "announcement", from: User, room: string, data: string, at: number}} Message
 */

/**
 * Returns the subprotocols by which a browser, which can set no header, carries a token.
 * @param {string} token
 * @returns {string[]}
 */
export const subprotocols = (token) => [SUBPROTOCOL, `auth.${token}`];

/**
 * Returns the address of a connection that begins in `room`.
 * @param {string} url as the deployment prints it
 * @param {string} room
 * @returns {string}
 */
export function addressOf(url, room) {
  const address = new URL(url);
  address.searchParams.set("room", room);
  return address.href;
}

/**
 * Returns what is wrong with the address of a chat, in plain words; null, if nothing is.
 * @param {string} url
 * @returns {string | null}
 */
export function addressTrouble(url) {
  if (!url) return "Enter the address of the chat. It begins with wss://.";
  let address;
  try {
    address = new URL(url);
  } catch {
    return "This is no address. It looks like wss://abc123.execute-api.us-east-1.amazonaws.com/dev.";
  }
  if (address.protocol !== "wss:" && address.protocol !== "ws:") return "The address of the chat begins with wss:// (or ws:// on this machine).";
  if (address.searchParams.has("token")) return "Leave the token out of the address: addresses end up in logs. It has a field of its own.";
  if (address.hash) return "The address of the chat has no part after #.";
  return null;
}

/**
 * @param {string} name
 * @returns {boolean} whether it is a room's name
 */
export const isRoom = (name) => ROOM.test(name);

/** @param {string} text @returns {string} the text without what the chat refuses */
export const withoutControls = (text) => text.replace(CONTROL_CHARACTERS, "");

/**
 * Returns when the message was accepted, in milliseconds since 1970: the first ten characters of its id.
 * @param {string} id
 * @returns {number}
 */
export function timeOf(id) {
  let time = 0;
  for (const digit of id.slice(0, 10)) time = time * 32 + CROCKFORD.indexOf(digit);
  return time;
}

/**
 * Returns the smallest id of a moment.
 * @param {number} at milliseconds since 1970
 * @returns {string}
 */
export function idAt(at) {
  let digits = "";
  for (let left = Math.max(0, Math.floor(at)), place = 0; place < 10; place += 1) {
    digits = CROCKFORD[left % 32] + digits;
    left = Math.floor(left / 32);
  }
  return digits + "0".repeat(16);
}

/**
 * Returns how large the frame is that carries `data` to others, which is what the limit is about: names, line ends and
 * quotes count as they are written in JSON.
 * @param {string} data
 * @param {User} from
 * @param {string} room
 * @returns {number} bytes
 */
export function frameBytes(data, from, room) {
  const frame = { type: "announcement", id: FIRST_ID, from: { sub: from.sub, name: from.name }, room, data, at: "2026-01-01T00:00:00.000Z" };
  return new TextEncoder().encode(JSON.stringify(frame)).length;
}

/** Frames from clients. The answer to each repeats its `id`. */
export const frames = {
  /** @returns {object} */
  say: (kind, room, data, id) => ({ action: kind === "announcement" ? "announce" : "sendMessage", room, data, id }),
  join: (room, id) => ({ action: "join", room, id }),
  who: (id) => ({ action: "who", id }),
  /** All that the bearer of `after` may have missed; the last messages without it. */
  history: (room, after, id) => ({ action: "history", room, ...(after && { after }), limit: HISTORY_MESSAGES_MAX, id }),
  /** The page after `cursor`. */
  page: (room, cursor, id) => ({ action: "history", room, cursor, limit: HISTORY_MESSAGES_MAX, id }),
  kick: (room, sub, id) => ({ action: "kick", room, sub, id }),
  ping: (id) => ({ action: "ping", id }),
};

/**
 * Reads a frame. What is not as the protocol says is null: a client must survive whatever arrives.
 * @param {string} text
 * @returns {object | null} the frame, its messages as {@link Message}
 */
export function read(text) {
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return null;
  }
  if (frame === null || typeof frame !== "object") return null;
  switch (frame.type) {
    case "message":
    case "announcement": {
      const message = messageOf(frame);
      return message && { type: "message", message };
    }
    case "history":
      return Array.isArray(frame.messages) && isText(frame.room)
        ? { ...frame, messages: frame.messages.map(messageOf).filter(Boolean), more: frame.more === true }
        : null;
    case "members":
      return Array.isArray(frame.members) && isText(frame.room) ? { ...frame, members: frame.members.map(userOf).filter(Boolean) } : null;
    case "presence": {
      const user = userOf(frame.user);
      const at = Date.parse(frame.at);
      return user && isText(frame.room) && at ? { ...frame, user, at } : null;
    }
    case "kicked": {
      const by = userOf(frame.by);
      return by && { ...frame, by };
    }
    case "ack":
    case "pong":
    case "error":
      return frame;
    default:
      // API Gateway's own words have no type.
      return isText(frame.message) && isText(frame.requestId) ? { type: "gateway", message: frame.message } : null;
  }
}

const isText = (value) => typeof value === "string";

function userOf(user) {
  if (!isText(user?.sub) || user.sub === "") return null;
  return { sub: user.sub, name: isText(user.name) && user.name.trim() ? user.name : user.sub };
}

function messageOf(frame) {
  const from = userOf(frame?.from);
  if (!from || !isText(frame.id) || frame.id.length !== 26 || !isText(frame.room) || !isText(frame.data)) return null;
  const kind = frame.type === "announcement" ? "announcement" : "message";
  return { id: frame.id, kind, from, room: frame.room, data: frame.data, at: timeOf(frame.id) };
}
