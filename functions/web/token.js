/**
 * Reads what a token says about its bearer, to show it and to explain a refusal before it happens. Only the chat can tell
 * whether a token is genuine. Pure; the token itself is kept by main.js, in memory only.
 *
 * @module token
 */

/** API Gateway allows no longer handshake. */
const TOKEN_BYTES_MAX = 4096;

/**
 * Who the token speaks for.
 * @typedef {{sub: string, name: string, roles: string[], expiresAt: number}} Bearer `expiresAt` in milliseconds since 1970
 */

/**
 * Returns the token as people paste it: without blanks, quotes and the word `Bearer`.
 * @param {string} text
 * @returns {string}
 */
export const cleaned = (text) => text.trim().replace(/^Bearer\s+/i, "").replace(/^["']|["']$/g, "").trim();

/**
 * Reads a token.
 * @param {string} token
 * @param {number} now in milliseconds since 1970
 * @returns {{bearer: Bearer} | {trouble: string}} the bearer, or what is wrong in plain words
 */
export function read(token, now) {
  if (!token) return { trouble: "Enter a token. “cargo xtask token --sub ada” prints one." };
  if (token.length > TOKEN_BYTES_MAX) return { trouble: "This token is too long. The chat takes 4,096 characters." };
  const claims = claimsOf(token);
  if (!claims) return { trouble: "This is no token. A token has three parts with dots between them; perhaps a part is missing." };
  if (typeof claims.sub !== "string" || !claims.sub || typeof claims.exp !== "number") {
    return { trouble: "This token does not say whose it is or how long it counts, so the chat would refuse it." };
  }
  if (claims.exp * 1000 <= now) return { trouble: "This token has expired. Ask for a new one." };
  const name = typeof claims.name === "string" && claims.name.trim() ? claims.name : claims.sub;
  const roles = Array.isArray(claims.roles) ? claims.roles.filter((role) => typeof role === "string") : [];
  return { bearer: { sub: claims.sub, name, roles, expiresAt: claims.exp * 1000 } };
}

/**
 * Returns what a bearer may do beyond chatting: the table of docs/protocol.md, “Roles”. The chat has the last word.
 * @param {Bearer} bearer
 * @returns {{kick: boolean, announce: boolean}}
 */
export const powers = ({ roles }) => ({
  kick: roles.includes("moderator") || roles.includes("admin"),
  announce: roles.includes("admin"),
});

function claimsOf(token) {
  const parts = token.split(".");
  if (parts.length !== 3 || parts.some((part) => !/^[A-Za-z0-9_-]+$/.test(part))) return null;
  try {
    const bytes = Uint8Array.from(atob(parts[1].replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return claims !== null && typeof claims === "object" ? claims : null;
  } catch {
    return null;
  }
}
