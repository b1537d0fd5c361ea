/**
 * Keeps one connection to the chat: opens it, opens it again with backoff after a loss, and replaces it before API
 * Gateway ends it. Knows sockets and timers, but neither frames nor the DOM; what is said over it is decided in chat.js.
 *
 * A new connection takes over before the old one is closed, so the room does not hear of it and nothing is missed.
 *
 * @module link
 */

import { delay } from "./backoff.js";

/** A handshake that takes longer counts as failed, in milliseconds. */
const HANDSHAKE_MS = 15_000;

/** So long an old connection may still bring answers after a new one took over, in milliseconds. */
const RETIREMENT_MS = 5_000;

/** Close code of the client's own goodbyes: a normal closure. */
const NORMAL = 1000;

/**
 * What the link tells. `opened`: a connection took over, in that room. `frame`: a text arrived. `lost`: the connection
 * ended (`opened`) or could not be made; the next attempt follows in `retryMs`. `unrenewed`: no new connection
 * could be made, the present one goes on.
 * @typedef {{type: "opened", room: string}
 *   | {type: "frame", text: string} | {type: "unrenewed"}
 *   | {type: "lost", opened: boolean, retryMs: number}} LinkEvent
 */

/** One connection at a time, as long as it is wanted. */
export class Link {
  #open;
  #tell;
  #random;
  #wanted = false;
  #socket = null;
  #opened = false;
  #next = null;
  /** All sockets that are heard, with the timer of each: of its handshake, or of its end. */
  #heard = new Map();
  #timer = 0;
  #attempt = 0;

  /**
   * @param {object} means
   * @param {() => {socket: WebSocket, room: string}} means.open begins a handshake
   * @param {(event: LinkEvent) => void} means.tell
   * @param {() => number} [means.random]
   */
  constructor({ open, tell, random = Math.random }) {
    this.#open = open;
    this.#tell = tell;
    this.#random = random;
  }

  /** Connects at once, and again whenever the connection is lost. */
  start() {
    this.#wanted = true;
    this.#attempt = 0;
    this.#connect();
  }

  /** Ends the connection, and connects no more. */
  stop() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#abandon();
    for (const socket of this.#heard.keys()) this.#silence(socket);
  }

  /** Gives the connection up as dead, and connects again after a wait, without waiting for its end. */
  drop() {
    if (!this.#socket || !this.#wanted) return;
    const opened = this.#opened;
    this.#abandon();
    this.#retry(opened);
  }

  /** Does not wait any longer: the network is back, or somebody asks for it. */
  hurry() {
    if (!this.#wanted || this.#socket) return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Opens a new connection that takes over from the present one. */
  renew() {
    if (this.#opened && !this.#next) this.#next = this.#begin();
  }

  /** The chat answered: the next loss starts with a short wait. */
  thrive() {
    this.#attempt = 0;
  }

  /**
   * @param {object} frame
   * @returns {boolean} whether it was handed to an open connection
   */
  send(frame) {
    if (!this.#opened || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#abandon();
    this.#socket = this.#begin();
  }

  #begin() {
    const { socket, room } = this.#open();
    this.#heard.set(socket, setTimeout(() => this.#ended(socket), HANDSHAKE_MS));
    socket.onopen = () => this.#takeOver(socket, room);
    socket.onmessage = ({ data }) => this.#tell({ type: "frame", text: data });
    socket.onclose = () => this.#ended(socket);
    return socket;
  }

  #takeOver(socket, room) {
    clearTimeout(this.#heard.get(socket));
    if (socket === this.#next) {
      const old = this.#socket;
      this.#heard.set(old, setTimeout(() => this.#silence(old), RETIREMENT_MS));
      this.#socket = socket;
      this.#next = null;
    }
    this.#opened = true;
    this.#tell({ type: "opened", room });
  }

  #ended(socket) {
    this.#silence(socket);
    if (socket === this.#next) {
      this.#next = null;
      this.#tell({ type: "unrenewed" });
    } else if (socket === this.#socket) {
      const opened = this.#opened;
      this.#abandon();
      this.#retry(opened);
    }
  }

  #abandon() {
    for (const socket of [this.#socket, this.#next]) if (socket) this.#silence(socket);
    this.#socket = null;
    this.#next = null;
    this.#opened = false;
  }

  #retry(opened) {
    const retryMs = delay(this.#attempt, this.#random);
    this.#attempt += 1;
    clearTimeout(this.#timer);
    if (this.#wanted) this.#timer = setTimeout(() => this.#connect(), retryMs);
    this.#tell({ type: "lost", opened, retryMs });
  }

  /** Hears nothing more of a socket, and closes it. */
  #silence(socket) {
    clearTimeout(this.#heard.get(socket));
    this.#heard.delete(socket);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(NORMAL);
  }
}
