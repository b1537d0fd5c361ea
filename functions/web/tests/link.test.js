// The connection, over sockets that do as they are told. Waits are 0 or endless, so no test depends on time.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Link } from "../link.js";

/** A link, the sockets that it has opened, and what it has told. */
function scene(random = () => 0) {
  const sockets = [];
  const told = [];
  const open = () => {
    const socket = { readyState: 0, sent: [], send: (text) => socket.sent.push(text), close: () => (socket.readyState = 3) };
    sockets.push(socket);
    return { socket, room: "lobby" };
  };
  const link = new Link({ open, tell: (event) => told.push(event.type), random });
  const accept = (socket) => {
    socket.readyState = 1;
    socket.onopen();
  };
  return { link, sockets, told, accept };
}

const moment = () => new Promise((resolve) => setTimeout(resolve, 5));

test("frames go over an open connection only", () => {
  const { link, sockets, accept } = scene();
  link.start();
  assert.equal(link.send({ a: 1 }), false);
  accept(sockets[0]);
  assert.equal(link.send({ a: 1 }), true);
  sockets[0].readyState = 2;
  assert.equal(link.send({ a: 2 }), false);
  assert.deepEqual(sockets[0].sent, ['{"a":1}']);
  link.stop();
});

test("a lost connection is made again, until it is not wanted", async () => {
  const { link, sockets, told, accept } = scene();
  link.start();
  accept(sockets[0]);
  sockets[0].onclose();
  await moment();
  assert.equal(sockets.length, 2);
  sockets[1].onclose();
  await moment();
  assert.equal(sockets.length, 3);
  link.stop();
  await moment();
  assert.deepEqual([sockets.length, sockets[2].readyState, told], [3, 3, ["opened", "lost", "lost"]]);
});

test("who is in a hurry does not wait", async () => {
  const { link, sockets, accept } = scene(() => 1);
  link.start();
  accept(sockets[0]);
  link.drop();
  await moment();
  assert.equal(sockets.length, 1);
  link.hurry();
  link.hurry();
  assert.equal(sockets.length, 2);
  link.stop();
});

test("a new connection takes over, and the old one still brings its answers", () => {
  const { link, sockets, told, accept } = scene();
  link.start();
  accept(sockets[0]);
  link.renew();
  link.renew();
  link.send({ a: 1 });
  accept(sockets[1]);
  link.send({ a: 2 });
  sockets[0].onmessage({ data: "late" });
  assert.deepEqual([sockets.length, sockets[0].sent, sockets[1].sent], [2, ['{"a":1}'], ['{"a":2}']]);
  assert.deepEqual(told, ["opened", "opened", "frame"]);
  link.stop();
});

test("a new connection that is refused leaves the old one alone", () => {
  const { link, sockets, told, accept } = scene();
  link.start();
  accept(sockets[0]);
  link.renew();
  sockets[1].onclose();
  assert.deepEqual([told, link.send({ a: 1 })], [["opened", "unrenewed"], true]);
  link.stop();
});
