/**
 * Light or dark: what the reader chose, else what the system says. A classic script in the head, so that it works before
 * the first paint; shell.js changes it.
 */
"use strict";

try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's colours do.
}
