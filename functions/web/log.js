/**
 * The log of messages: shows rows, keeps its place while the reader reads, follows while the reader is at the end.
 *
 * @module log
 */

import { avatar, bdi, element, icon, reconcile, unseen } from "./dom.js";
import { segments } from "./timeline.js";
import { dayWords, initials, momentWords, movementWords, timeWords } from "./words.js";

/** So near to the end counts as the end, in pixels. */
const END_PX = 48;

/** How the state of an own message is shown. */
const STATES = {
  queued: "Waiting to send…",
  sending: "Sending…",
  unsure: "Checking…",
};

/** Shows one room's rows. */
export class Log {
  #box;
  #list;
  #room = null;
  #following = true;
  #arrived = false;
  #first;
  #act;

  /**
   * @param {HTMLElement} box what scrolls
   * @param {HTMLElement} list what holds the rows
   * @param {(event: object) => void} act takes the user's wishes: `retry`, `discard`
   * @param {() => void} moved hears that the reader has scrolled
   */
  constructor(box, list, act, moved) {
    this.#box = box;
    this.#list = list;
    this.#act = act;
    box.addEventListener("scroll", () => {
      this.#following = this.#distance() < END_PX;
      moved();
    });
    // The composer grows, a keyboard opens, a phone turns: the end stays in sight.
    new ResizeObserver(() => this.#following && this.toEnd()).observe(box);
  }

  /** Whether the last row is in sight. */
  get atEnd() {
    return this.#following;
  }

  /** Scrolls to the last row. */
  toEnd() {
    this.#following = true;
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  /**
   * @param {string} room
   * @param {import("./timeline.js").Row[]} rows
   * @param {boolean} complete whether what was said before is there already
   * @param {number} now
   */
  show(room, rows, complete, now) {
    if (room !== this.#room) {
      this.#list.replaceChildren();
      this.#room = room;
      this.#following = true;
      this.#arrived = false;
      this.#first = undefined;
    }
    // What was said before is not read out, what is said now is.
    const first = rows.find(({ kind }) => kind === "message")?.key;
    const earlier = this.#first !== undefined && first !== this.#first;
    this.#list.setAttribute("aria-live", this.#arrived && !earlier ? "polite" : "off");
    const below = this.#box.scrollHeight - this.#box.scrollTop;
    reconcile(this.#list, rows, ({ key }) => key, (row) => version(row, now), (row) => this.#make(row, now));
    this.#first = first;
    // What comes above moves nothing that is being read.
    if (earlier && !this.#following) this.#box.scrollTop = this.#box.scrollHeight - below;
    if (!this.#following) return;
    this.toEnd();
    // Who enters a room begins where reading stopped.
    const unread = complete && !this.#arrived ? this.#list.querySelector(".unread-mark") : null;
    this.#arrived ||= complete;
    if (!unread) return;
    this.#box.scrollTop = Math.min(this.#box.scrollTop, unread.offsetTop - this.#list.parentElement.offsetTop - 24);
    this.#following = this.#distance() < END_PX;
  }

  #distance() {
    return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight;
  }

  #make(row, now) {
    switch (row.kind) {
      case "day":
        return element("div.day", {}, element("span", {}, dayWords(row.at, now)));
      case "unread":
        return element("div.unread-mark", {}, element("span", {}, "New messages"));
      case "movements":
        return element("p.movements", {}, movementWords(row.movements));
      case "message":
        return this.#message(row);
    }
  }

  #message({ message, own, leads, state, words }) {
    const announcement = message.kind === "announcement";
    const classes = `div.message.${announcement ? "announcement" : own ? "own" : "other"}${leads ? ".leads" : ""}${state ? `.is-${state}` : ""}`;
    const author = own ? "You" : message.from.name;
    const time = element("time", { datetime: new Date(message.at).toISOString(), title: momentWords(message.at) }, timeWords(message.at));
    const meta = element("span.meta", {}, time, ...this.#state(state));
    const head = leads
      ? element("div.head", {}, ...(announcement ? [icon("announce"), element("span.tag", {}, "Announcement")] : []), bdi("bdi.author", author))
      : unseen(`${author}: `);
    const bubble = element("div.bubble", {}, element("p.text", { dir: "auto" }, ...linked(message.data)), meta);
    const body = element("div.body", {}, head, bubble);
    if (state === "failed") body.append(this.#trouble(message, words));
    const face = own || announcement ? null : leads ? avatar(message.from, initials(message.from.name)) : element("span.avatar.blank");
    return element(classes, {}, face, body);
  }

  #state(state) {
    if (state === "sent") return [icon("sent"), unseen("Sent")];
    return Object.hasOwn(STATES, state) ? [element("span", {}, STATES[state])] : [];
  }

  #trouble({ localId }, words) {
    return element(
      "div.trouble",
      { role: "alert" },
      element("span", {}, `Not sent. ${words}`),
      element("button.link", { type: "button", onclick: () => this.#act({ type: "retry", localId }) }, "Try again"),
      element("button.link", { type: "button", onclick: () => this.#act({ type: "discard", localId }) }, "Discard"),
    );
  }
}

/** What of a row is shown, besides its key. */
function version(row, now) {
  switch (row.kind) {
    case "day":
      return dayWords(row.at, now);
    case "unread":
      return "";
    case "movements":
      return row.movements.map(({ key }) => key).join();
    case "message":
      return [row.leads, row.state, row.words, row.message.id ?? "", row.message.from.name].join();
  }
}

const linked = (text) =>
  segments(text).map(({ text: part, href }) =>
    href ? element("a", { href, target: "_blank", rel: "noopener noreferrer" }, part) : document.createTextNode(part),
  );
