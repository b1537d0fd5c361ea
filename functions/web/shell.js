/**
 * Everything around the log: rooms, people, the state of the connection, banners, the title, panels and the theme. Shows
 * the state of chat.js, and tells what the user wishes.
 *
 * @module shell
 */

import { avatar, bdi, byId, element, icon, reconcile, setText } from "./dom.js";
import { rememberTheme } from "./memory.js";
import { newest, unread } from "./room.js";
import { initials, linkWords, peopleWords } from "./words.js";

/** How long a notice stands, in milliseconds. */
const NOTICE_MS = 8_000;

/** The panels stand beside the log from these widths on. */
const WIDE = { "rooms-panel": matchMedia("(min-width: 760px)"), "people-panel": matchMedia("(min-width: 1080px)") };

let title = "Chat";

/** Says which application and stage this is. */
export function name(app, stage) {
  title = stage ? `${app} · ${stage}` : app;
  setText(byId("app"), title);
  document.title = title;
}

/**
 * Listens to the controls.
 * @param {(event: object) => void} act takes the user's wishes: `join`, `leave`, `kick`
 */
export function begin(act) {
  for (const button of document.querySelectorAll("[data-opens]")) button.addEventListener("click", () => toggle(button.dataset.opens));
  for (const button of document.querySelectorAll("[data-closes]")) button.addEventListener("click", () => close(button.dataset.closes));
  byId("shade").addEventListener("click", closeAll);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeAll());
  for (const button of document.querySelectorAll(".theme")) button.addEventListener("click", switchTheme);
  for (const [id, wide] of Object.entries(WIDE)) {
    wide.addEventListener("change", () => settle(id));
    settle(id);
  }
  wishes = act;
}

let wishes = () => {};

/**
 * Shows the state.
 * @param {object} state of chat.js
 * @param {{now: number, online: boolean, atEnd: boolean}} view
 */
export function show(state, { now, online, atEnd }) {
  const room = state.rooms.get(state.current);
  showRooms(state);
  showPeople(state, room);
  showLink(state, now, online);
  showEmpty(state, room);
  setText(byId("room-name"), room.name);
  byId("earlier").hidden = room.whole || room.checkpoint === null || room.messages.length === 0 || room.earlier?.probe === true;
  byId("earlier").disabled = room.earlier !== null;
  setText(byId("earlier"), room.earlier ? "Loading…" : "Show earlier messages");
  const waiting = unread(room, state.me.sub);
  byId("jump").hidden = atEnd || room.messages.length + room.outbox.length === 0;
  setText(byId("jump-words"), waiting ? `${waiting} new` : "Latest");
  const all = [...state.rooms.values()].reduce((sum, one) => sum + unread(one, state.me.sub), 0);
  document.title = `${all ? `(${all}) ` : ""}#${room.name} · ${title}`;
  const elsewhere = all - waiting;
  byId("rooms-badge").hidden = elsewhere === 0;
  setText(byId("rooms-badge"), String(elsewhere));
  byId("rooms-button").setAttribute("aria-label", elsewhere ? `Rooms, ${elsewhere} unread` : "Rooms");
}

function showRooms(state) {
  const items = [...state.rooms.values()].map((room) => ({ name: room.name, current: room.name === state.current, count: unread(room, state.me.sub), idle: !room.outbox.length }));
  items.sort((one, other) => one.name.localeCompare(other.name));
  reconcile(byId("rooms"), items, ({ name }) => name, ({ current, count, idle }) => [current, count, idle].join(), ({ name, current, count, idle }) =>
    element(
      `li${current ? ".current" : ""}`,
      {},
      element(
        "button.entry",
        { type: "button", "aria-current": current && "page", onclick: () => go(name) },
        element("span.hash", { "aria-hidden": "true" }, "#"),
        element("span.entry-name", {}, name),
        count && !current ? element("span.badge", { "aria-label": `${count} unread` }, String(count)) : null,
      ),
      current || !idle ? null : element("button.quiet.icon-button.remove", { type: "button", "aria-label": `Take ${name} off the list`, onclick: () => wishes({ type: "leave", room: name }) }, icon("close")),
    ),
  );
}

function go(name) {
  close("rooms-panel");
  wishes({ type: "join", room: name });
}

function showPeople(state, { members }) {
  const users = [...(members?.users ?? [])].sort((one, other) => Number(other.sub === state.me.sub) - Number(one.sub === state.me.sub) || one.name.localeCompare(other.name));
  const names = new Map();
  for (const { name } of users) names.set(name, (names.get(name) ?? 0) + 1);
  reconcile(byId("people"), users, ({ sub }) => sub, ({ name }) => [name, names.get(name), state.powers.kick].join(), (user) => {
    const me = user.sub === state.me.sub;
    return element(
      "li.person",
      {},
      avatar(user, initials(user.name)),
      element("span.entry-name", {}, bdi("bdi", user.name), me ? element("span.meta", {}, "you") : names.get(user.name) > 1 ? element("span.meta", {}, user.sub) : null),
      state.powers.kick && !me ? element("button.quiet.icon-button.remove", { type: "button", "aria-label": `Remove ${user.name} from the room`, title: "Remove from the room", onclick: () => wishes({ type: "kick", user }) }, icon("close")) : null,
    );
  });
  const words = members ? peopleWords(users.length, members.more) : "";
  setText(byId("people-count"), words);
  byId("people-button").setAttribute("aria-label", words ? `${words} in this room` : "People in this room");
  setText(byId("people-title"), words ? `People — ${members.more ? `${users.length}+` : users.length}` : "People");
}

function showLink({ link, notice, expiring, expiresAt, end }, now, online) {
  const { tone, words } = linkWords(link, now, online);
  byId("link").dataset.tone = tone;
  setText(byId("link-words"), words);
  const banner = bannerOf({ link, notice, expiring, expiresAt, end }, now, online);
  byId("banner").hidden = !banner;
  if (banner) {
    byId("banner").dataset.tone = banner.tone;
    setText(byId("banner-words"), banner.words);
    byId("banner-button").hidden = !banner.button;
    setText(byId("banner-button"), banner.button ?? "");
    byId("banner-button").dataset.wish = banner.wish ?? "";
  }
  // Seconds are not read out, turns are.
  const turn = end || link.phase === "connecting" ? "" : link.phase === "open" ? "Connected" : "The connection is lost. Reconnecting.";
  setText(byId("spoken"), notice && now - notice.at < NOTICE_MS ? notice.words : turn);
}

function bannerOf({ link, notice, expiring, expiresAt, end }, now, online) {
  if (end) return null;
  if (!online) return { tone: "bad", words: "You are offline. What you write is sent when the network is back." };
  if (link.phase === "waiting" && link.failures >= 3) {
    return { tone: "bad", words: "The chat does not answer, or refuses the token. Still trying.", button: "Use another token", wish: "token" };
  }
  if (link.phase === "waiting" && link.retryAt - now > 1_500) return { tone: "busy", words: "The connection is lost. What you write is sent when it is back.", button: "Try now", wish: "hurry" };
  if (notice && now - notice.at < NOTICE_MS) return { tone: "busy", words: notice.words };
  if (expiring) {
    const minutes = Math.ceil((expiresAt - now) / 60_000);
    return { tone: "busy", words: minutes > 0 ? `Your token ends in ${minutes} min.` : "Your token has ended.", button: "Use a new token", wish: "token" };
  }
  return null;
}

function showEmpty(state, room) {
  const nothing = newest(room) === "" && room.outbox.length === 0 && room.movements.length === 0;
  byId("empty").hidden = !nothing;
  if (!nothing) return;
  const known = room.checkpoint !== null;
  byId("empty").classList.toggle("loading", !known);
  setText(byId("empty-title"), known ? `Nothing was said in #${room.name} yet` : "Loading messages…");
  setText(byId("empty-words"), known ? "Say hello: everybody in the room will see it." : "");
}

function toggle(id) {
  const open = byId(id).classList.contains("open");
  closeAll();
  if (open) return;
  byId(id).classList.add("open");
  settle(id);
  if (!WIDE[id].matches) byId(id).querySelector("button:not([hidden]), input")?.focus();
}

function close(id) {
  if (!byId(id).classList.contains("open")) return;
  byId(id).classList.remove("open");
  settle(id);
  if (!WIDE[id].matches) document.querySelector(`[data-opens="${id}"]`).focus();
}

const closeAll = () => Object.keys(WIDE).forEach(close);

/** A panel that is out of sight cannot be reached by keyboard, nor what lies behind one that is open. */
function settle(id) {
  const open = byId(id).classList.contains("open");
  byId(id).inert = !open && !WIDE[id].matches;
  document.querySelector(`[data-opens="${id}"]`).setAttribute("aria-expanded", String(open));
  const covered = Object.entries(WIDE).some(([panel, wide]) => byId(panel).classList.contains("open") && !wide.matches);
  byId("shade").hidden = !covered;
  document.querySelector(".talk").inert = covered;
}

function switchTheme() {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dark ? "light" : "dark";
  rememberTheme(dataset.theme);
}
