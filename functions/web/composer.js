/**
 * Where messages are written: several lines, the limit of a frame, announcements. Each room keeps its own draft.
 *
 * @module composer
 */

import { byId, setText } from "./dom.js";
import { FRAME_BYTES_MAX, frameBytes, withoutControls } from "./protocol.js";
import { kilobytes } from "./words.js";

/** From this size on the writer sees how much is left, in bytes. */
const SHOWN_FROM_BYTES = FRAME_BYTES_MAX * 0.75;

/** The field and its buttons. */
export class Composer {
  #field = byId("message");
  #announce = byId("announce");
  #drafts = new Map();
  #state = null;
  #room = null;

  /** @param {(message: {kind: "message" | "announcement", data: string}) => void} say */
  constructor(say) {
    const submit = () => {
      const data = withoutControls(this.#field.value);
      if (!data.trim() || this.#bytes() > FRAME_BYTES_MAX || !this.#state) return;
      const announcement = this.#announce.getAttribute("aria-pressed") === "true";
      this.#field.value = "";
      this.#announce.setAttribute("aria-pressed", "false");
      this.#fit();
      say({ kind: announcement ? "announcement" : "message", data });
    };
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
      this.#field.focus();
    });
    this.#field.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    });
    this.#field.addEventListener("input", () => this.#fit());
    this.#announce.addEventListener("click", () => {
      this.#announce.setAttribute("aria-pressed", String(this.#announce.getAttribute("aria-pressed") !== "true"));
      this.#field.focus();
      this.#fit();
    });
  }

  /** @param {object} state of chat.js */
  show(state) {
    this.#state = state;
    this.#announce.hidden = !state.powers.announce;
    if (this.#room === state.current) return;
    if (this.#room) this.#drafts.set(this.#room, this.#field.value);
    this.#room = state.current;
    this.#field.value = this.#drafts.get(this.#room) ?? "";
    this.#fit();
  }

  focus() {
    this.#field.focus();
  }

  /** Forgets what was written. */
  clear() {
    this.#drafts.clear();
    this.#room = null;
    this.#state = null;
    this.#field.value = "";
  }

  #bytes() {
    return frameBytes(this.#field.value, this.#state.me, this.#room);
  }

  #fit() {
    const field = this.#field;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    if (!this.#state) return;
    const announcing = this.#announce.getAttribute("aria-pressed") === "true";
    field.placeholder = announcing ? `Announce to #${this.#room}` : `Message #${this.#room}`;
    const bytes = this.#bytes();
    const over = bytes > FRAME_BYTES_MAX;
    const size = byId("size");
    size.classList.toggle("over", over);
    const limit = kilobytes(FRAME_BYTES_MAX);
    setText(size, over ? `${kilobytes(bytes)}: too long by ${(bytes - FRAME_BYTES_MAX).toLocaleString("en")} bytes` : bytes > SHOWN_FROM_BYTES ? `${kilobytes(bytes)} of ${limit}` : "");
    field.setAttribute("aria-invalid", String(over));
    byId("send").disabled = over || !field.value.trim();
  }
}
