/**
 * What outlives a reload: the address, rooms, where the reader stopped, the theme. Never a token, never a message.
 * Storage may be forbidden or full; then nothing is remembered, and nothing fails.
 *
 * @module memory
 */

const KEY = "chat";

/**
 * @typedef {{url: string, room: string, rooms: string[], readTo: Record<string, string>}} Memory
 */

/** @returns {Memory} */
export function recall() {
  const nothing = { url: "", room: "", rooms: [], readTo: {} };
  try {
    const { url, room, rooms, readTo } = JSON.parse(localStorage.getItem(KEY)) ?? {};
    return {
      url: typeof url === "string" ? url : "",
      room: typeof room === "string" ? room : "",
      rooms: Array.isArray(rooms) ? rooms.filter((name) => typeof name === "string") : [],
      readTo: readTo !== null && typeof readTo === "object" ? readTo : {},
    };
  } catch {
    return nothing;
  }
}

let stored = "";

/** @param {Memory} memory */
export function remember(memory) {
  const text = JSON.stringify(memory);
  if (text === stored) return;
  stored = text;
  try {
    localStorage.setItem(KEY, text);
  } catch {
    // See above.
  }
}

/** @param {"light" | "dark"} theme */
export function rememberTheme(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // See above.
  }
}
