/**
 * What the chat's codes, times and states are called in front of people. Pure.
 *
 * @module words
 */

/** What a refused frame means to who sent it, by the codes of docs/protocol.md. */
const REFUSALS = {
  bad_data: "The chat cannot take this text.",
  data_too_large: "This is too long. A message has at most 32 KB.",
  bad_room: "A room’s name has 1 to 64 letters, digits, “_” or “-”.",
  forbidden: "Your role does not allow this.",
  rate_limited: "That was too fast. Wait a few seconds.",
};

/**
 * @param {{code: string, message?: string}} frame an error frame
 * @returns {string}
 */
export const refusalWords = ({ code, message }) =>
  Object.hasOwn(REFUSALS, code) ? REFUSALS[code] : `The chat refused this${typeof message === "string" && message ? `: ${message}` : ""}.`;

/**
 * @param {string} message API Gateway's
 * @returns {string}
 */
export const gatewayWords = (message) =>
  /too many requests/i.test(message) ? "The chat is very busy. Trying again." : "Something went wrong in the chat. Trying again.";

/**
 * Why the first connection with a token failed. A browser does not learn the status, so all likely reasons are named.
 * @param {{online: boolean, reachable: boolean}} found whether there is a network, and whether the page's own server answers
 * @returns {string}
 */
export function refusedWords({ online, reachable }) {
  if (!online) return "You are offline. Connect to a network and try again.";
  if (!reachable) return "The chat cannot be reached. Check your network and the address.";
  return "The chat refused the connection. The token may be wrong, expired or made for another stage; or the address is wrong.";
}

/**
 * @param {object} link of the state
 * @param {number} now
 * @param {boolean} online
 * @returns {{tone: "good" | "busy" | "bad", words: string}}
 */
export function linkWords(link, now, online) {
  if (link.phase === "open") return { tone: "good", words: "Connected" };
  if (link.phase === "ended") return { tone: "bad", words: "Disconnected" };
  if (!online) return { tone: "bad", words: "Offline" };
  const seconds = Math.ceil((link.retryAt - now) / 1000);
  if (link.phase === "waiting" && seconds > 1) return { tone: "busy", words: `Reconnecting in ${seconds} s` };
  return { tone: "busy", words: link.everOpened ? "Reconnecting…" : "Connecting…" };
}

/**
 * @param {number} count
 * @param {boolean} more whether there are more than were counted
 * @returns {string}
 */
export const peopleWords = (count, more) => (more ? `${count}+ people` : count === 1 ? "1 person" : `${count} people`);

/**
 * @param {{event: "joined" | "left", user: {name: string}}[]} movements in a row
 * @returns {string}
 */
export function movementWords(movements) {
  const words = (event, verb) => {
    const names = movements.filter((movement) => movement.event === event).map(({ user }) => user.name);
    if (names.length === 0) return [];
    const shown = names.length > 3 ? [...names.slice(0, 2), `${names.length - 2} others`] : names;
    return [`${new Intl.ListFormat("en").format(shown)} ${verb}`];
  };
  return [...words("joined", "joined"), ...words("left", "left")].join(" · ");
}

/** @param {number} at @returns {string} the time of day */
export const timeWords = (at) => new Date(at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

/** @param {number} at @returns {string} day and time */
export const momentWords = (at) => new Date(at).toLocaleString(undefined, { dateStyle: "full", timeStyle: "medium" });

/**
 * @param {number} at
 * @param {number} now
 * @returns {string} “Today”, “Yesterday” or the date
 */
export function dayWords(at, now) {
  const day = (time) => new Date(time).toDateString();
  if (day(at) === day(now)) return "Today";
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (day(at) === yesterday.toDateString()) return "Yesterday";
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return new Date(at).toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long", ...(!sameYear && { year: "numeric" }) });
}

/** @param {number} bytes @returns {string} */
export const kilobytes = (bytes) => `${(bytes / 1024).toFixed(1)} KB`;

/** @param {string} name @returns {string} one or two letters that stand for somebody */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || "?";
}
