/**
 * Small helpers for the document. Texts become text nodes, never HTML; styles are classes, as the page's policy allows no
 * inline ones.
 *
 * @module dom
 */

/** @param {string} id @returns {HTMLElement} */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element.
 * @param {string} tag with classes: `div.message.own`
 * @param {Record<string, string | boolean | EventListener>} [attributes] `onclick` and the like listen; false leaves one out
 * @param {...(Node | string | null)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A text for screen readers only. */
export const unseen = (text) => element("span.unseen", {}, text);

/** A name, which may be written in either direction, without effect on what stands beside it. */
export const bdi = (tag, name) => element(tag, { dir: "auto" }, name);

/**
 * Sets a text if it is another, so that screen readers hear only changes.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name of a symbol in index.html @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * Brings the children of `parent` to those that `items` describe, moving and changing only what differs.
 * @template Item
 * @param {HTMLElement} parent
 * @param {Item[]} items
 * @param {(item: Item) => string} keyOf
 * @param {(item: Item) => string} versionOf what the element shows; it is made anew if that changes
 * @param {(item: Item) => HTMLElement} make
 */
export function reconcile(parent, items, keyOf, versionOf, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const version = versionOf(item);
    let child = known.get(key);
    known.delete(key);
    if (child && child.dataset.version !== version) {
      const made = make(item);
      if (next === child) next = made;
      child.replaceWith(made);
      child = made;
    }
    child ??= make(item);
    child.dataset.key = key;
    child.dataset.version = version;
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  for (const child of known.values()) child.remove();
}

/**
 * The element that stands for somebody: initials on a colour that stays the same for the same user.
 * @param {import("./protocol.js").User} user
 * @param {string} letters
 */
export function avatar({ sub }, letters) {
  let hash = 0;
  for (const letter of sub) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return element(`span.avatar.hue-${hash % 8}`, { "aria-hidden": "true" }, letters);
}
