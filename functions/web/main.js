/**
 * Begins here: puts the state of chat.js, the connection of link.js and the document together. It alone holds the token,
 * in memory: it is never stored, never part of an address, and sent only as a subprotocol of the handshake.
 *
 * Where to read next: chat.js for what the client does, link.js for the connection, log.js and shell.js for what is seen.
 *
 * @module main
 */

import * as chat from "./chat.js";
import { Composer } from "./composer.js";
import { avatar, byId, setText } from "./dom.js";
import { Link } from "./link.js";
import { Log } from "./log.js";
import { recall, remember } from "./memory.js";
import { addressOf, addressTrouble, isRoom, read as readFrame, subprotocols } from "./protocol.js";
import { newest } from "./room.js";
import * as shell from "./shell.js";
import { rows } from "./timeline.js";
import { cleaned, read as readToken } from "./token.js";
import { initials, refusedWords } from "./words.js";

/** The room of who names none. */
const LOBBY = "lobby";

let token = "";
let tokenBefore = "";
let url = "";
let state = null;
let link = null;
let due = false;
let ids = 0;

const log = new Log(byId("log-box"), byId("log"), act, attend);
const composer = new Composer((message) => {
  ids += 1;
  log.toEnd();
  act({ type: "say", ...message, localId: String(ids) });
});

/** Takes what happened, does what follows, and shows it. */
function act(event) {
  if (!state) return;
  const ended = state.end;
  for (const effect of chat.update(state, event, Date.now())) carryOut(effect);
  if (state.end && state.end !== ended) finish(state.end);
  if (!due) {
    due = true;
    // Frames are not drawn while the page is hidden, but the title counts.
    if (document.hidden) setTimeout(show, 0);
    else requestAnimationFrame(show);
  }
}

function carryOut(effect) {
  switch (effect.do) {
    case "send":
      if (!link.send(effect.frame)) act({ type: "unsent", id: effect.frame.id });
      break;
    case "drop":
      link.drop();
      break;
    case "stop":
      link.stop();
      break;
    case "renew":
      link.renew();
      break;
    case "thrive":
      link.thrive();
      break;
  }
}

function show() {
  due = false;
  if (!state || byId("chat").hidden) return;
  const now = Date.now();
  const room = chat.currentRoom(state);
  composer.show(state);
  log.show(room.name, rows(room, state.me), room.checkpoint !== null && !room.sync, now);
  shell.show(state, { now, online: navigator.onLine, atEnd: log.atEnd });
  const readTo = Object.fromEntries([...state.rooms.values()].filter((one) => one.readTo).map((one) => [one.name, one.readTo]));
  remember({ url, room: state.current, rooms: [...state.rooms.keys()], readTo });
  attend();
}

/** Tells whether somebody reads, if that has changed. */
function attend() {
  if (!state || byId("chat").hidden) return;
  const visible = !document.hidden;
  const attentive = visible && document.hasFocus() && log.atEnd;
  const behind = attentive && newest(chat.currentRoom(state)) > chat.currentRoom(state).readTo;
  if (visible !== state.visible || attentive !== state.attentive || behind) act({ type: "attention", visible, attentive });
  else shell.show(state, { now: Date.now(), online: navigator.onLine, atEnd: log.atEnd });
}

/** Connects as the bearer of `given`; the room and messages stay if it is the same user at the same address. */
function connect(given, at, room) {
  const { bearer } = readToken(given, Date.now());
  const same = state?.me.sub === bearer.sub && url === at;
  tokenBefore = token;
  token = given;
  url = at;
  if (same) {
    act({ type: "resume", bearer });
    if (state.link.phase === "open") {
      link.renew();
      return;
    }
  } else {
    const memory = recall();
    state = chat.create(bearer, room, memory.url === url ? { ...memory, spread: Math.random() } : { spread: Math.random() });
    composer.clear();
  }
  link?.stop();
  link = new Link({ open, tell });
  byId("me-avatar").replaceChildren(avatar(bearer, initials(bearer.name)));
  setText(byId("me-name"), bearer.name);
  setText(byId("me-role"), ["admin", "moderator"].find((role) => bearer.roles.includes(role)) ?? "");
  link.start();
}

function open() {
  const room = state.current;
  return { socket: new WebSocket(addressOf(url, room), subprotocols(token)), room };
}

function tell(event) {
  switch (event.type) {
    case "opened":
      tokenBefore = token;
      enter();
      act(event);
      break;
    case "frame": {
      const frame = readFrame(event.text);
      if (frame) act({ type: "frame", frame });
      break;
    }
    case "lost":
      act(event);
      break;
    case "unrenewed":
      if (token === tokenBefore) break;
      token = tokenBefore;
      state.expiresAt = readToken(token, 0).bearer.expiresAt;
      askAgain("The chat refused this token", "Your connection goes on with the one before.", true);
  }
}

/** From the form to the chat. */
function enter() {
  byId("connect-button").disabled = false;
  setText(byId("connect-button"), "Connect");
  if (!byId("chat").hidden) return;
  byId("welcome").hidden = true;
  byId("chat").hidden = false;
  byId("token").value = "";
  composer.show(state);
  composer.focus();
}

/** From the chat to the form. */
function leave() {
  link?.stop();
  link = null;
  state = null;
  token = tokenBefore = "";
  composer.clear();
  byId("ended").close();
  byId("again-token").value = "";
  byId("chat").hidden = true;
  byId("welcome").hidden = false;
  byId("log").replaceChildren();
  document.title = byId("app").textContent;
  byId("token").focus();
}

/** Nothing goes on by itself. */
function finish({ why, words }) {
  if (why === "kicked") askAgain("You were removed", words, false);
  else if (why === "expired") askAgain("Your token has expired", "Connect again with a new one. What you have written stays.", true);
  else if (why === "refused") refuse();
}

/** The first connection failed; a browser does not learn why. */
async function refuse() {
  const online = navigator.onLine;
  const reachable = online && (await fetch("config.json", { cache: "no-store" }).then(() => true, () => false));
  const words = refusedWords({ online, reachable });
  if (byId("chat").hidden) {
    trouble("connect-trouble", words);
    byId("connect-button").disabled = false;
    setText(byId("connect-button"), "Connect");
    byId("token").focus();
    token = "";
    state = null;
  } else {
    askAgain("Not connected", words, true);
  }
}

function askAgain(title, words, wantsToken) {
  setText(byId("ended-title"), title);
  setText(byId("ended-words"), words);
  trouble("again-trouble", "");
  byId("again-token-field").hidden = !wantsToken;
  setText(byId("again-leave"), state.end ? "Leave" : "Cancel");
  if (!byId("ended").open) byId("ended").showModal();
  byId(wantsToken ? "again-token" : "again-button").focus();
}

function trouble(id, words) {
  byId(id).hidden = !words;
  setText(byId(id), words);
}

byId("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = cleaned(byId("token").value);
  const at = byId("url").value.trim();
  const room = byId("room").value.trim() || LOBBY;
  const found = readToken(given, Date.now());
  const wrongRoom = isRoom(room) ? null : "A room’s name has 1 to 64 letters, digits, “_” or “-”.";
  const wrongs = [["token", found.trouble], ["url", addressTrouble(at)], ["room", wrongRoom]].filter(([, words]) => words);
  for (const id of ["token", "url", "room"]) byId(id).setAttribute("aria-invalid", String(wrongs.some(([wrong]) => wrong === id)));
  trouble("connect-trouble", wrongs[0]?.[1] ?? "");
  if (wrongs.length) {
    byId(wrongs[0][0]).focus();
    return;
  }
  byId("connect-button").disabled = true;
  setText(byId("connect-button"), "Connecting…");
  connect(given, at, room);
});

byId("again").addEventListener("submit", (event) => {
  event.preventDefault();
  const wantsToken = !byId("again-token-field").hidden;
  const given = wantsToken ? cleaned(byId("again-token").value) : token;
  const found = readToken(given, Date.now());
  trouble("again-trouble", found.trouble ?? "");
  if (found.trouble) {
    byId("again-token-field").hidden = false;
    byId("again-token").focus();
    return;
  }
  byId("again-token").value = "";
  byId("ended").close();
  connect(given, url, state.current);
  composer.focus();
});

byId("again-leave").addEventListener("click", () => (state?.end ? leave() : byId("ended").close()));
byId("ended").addEventListener("cancel", (event) => {
  if (!state?.end) return;
  event.preventDefault();
  leave();
});
byId("leave").addEventListener("click", leave);

byId("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = byId("join-room").value.trim().replace(/^#/, "");
  const right = isRoom(room);
  setText(byId("join-trouble"), right || !room ? "" : "Use letters, digits, “_” and “-”.");
  if (!right) return;
  byId("join-room").value = "";
  wish({ type: "join", room });
});

byId("earlier").addEventListener("click", () => {
  byId("log-box").focus({ preventScroll: true });
  act({ type: "earlier" });
});

byId("jump").addEventListener("click", () => {
  log.toEnd();
  composer.focus();
  attend();
});

byId("banner-button").addEventListener("click", () => {
  if (byId("banner-button").dataset.wish === "hurry") link?.hurry();
  else askAgain("Use a new token", "You stay in the room while the connection is replaced.", true);
});

/** What the user wants of the shell. */
function wish(event) {
  if (event.type === "kick") {
    setText(byId("confirm-words"), `Remove ${event.user.name} from #${state.current}? All their connections to this room end; they may come back while their token counts.`);
    byId("confirm").onclose = () => byId("confirm").returnValue === "yes" && act(event);
    byId("confirm").returnValue = "";
    byId("confirm").showModal();
    return;
  }
  act(event);
  if (event.type === "join" && matchMedia("(hover: hover)").matches) composer.focus();
}

shell.begin(wish);
setInterval(() => act({ type: "tick" }), 1_000);
addEventListener("focus", attend);
addEventListener("blur", attend);
document.addEventListener("visibilitychange", attend);
addEventListener("offline", () => link?.drop());
addEventListener("online", () => {
  link?.hurry();
  act({ type: "probe" });
});
// A page that comes back from the browser's cache has been asleep.
addEventListener("pageshow", (event) => event.persisted && act({ type: "probe" }));

// What has not been sent would be gone.
addEventListener("beforeunload", (event) => {
  if (state && [...state.rooms.values()].some(({ outbox }) => outbox.length > 0)) event.preventDefault();
});

/** What the address brings: `#token=…&room=…`, which is never sent to a server and is taken off at once. */
function takeFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token") || given.has("room")) history.replaceState(null, "", location.pathname + location.search);
  return { token: cleaned(given.get("token") ?? ""), room: given.get("room") ?? "" };
}

async function begin() {
  const given = takeFragment();
  const memory = recall();
  const config = await fetch("config.json", { cache: "no-store" })
    .then((response) => (response.ok ? response.json() : {}))
    .catch(() => ({}));
  if (config.app) shell.name(config.app, config.stage);
  if (config.stage) setText(byId("mint"), `cargo xtask token --sub ada --stage ${config.stage}`);
  // Who types fast was here before the configuration.
  byId("url").value ||= config.webSocketUrl ?? memory.url;
  byId("room").value = given.room || byId("room").value || (memory.url === byId("url").value ? memory.room : "") || LOBBY;
  byId("connect-button").disabled = false;
  if (given.token) {
    byId("token").value = given.token;
    byId("connect").requestSubmit();
  } else if (document.activeElement === document.body) byId("token").focus();
}

// A new fragment in an open page, as when a link with a token is opened in it.
addEventListener("hashchange", () => /[#&]token=/.test(location.hash) && (leave(), begin()));
begin();
