"use strict";
// Runs before the page is drawn, so that a page that loads itself again does not flash in the other theme.
try {
  const saved = sessionStorage.getItem("dlassign-theme");
  if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
} catch (error) {
  // Storage may be forbidden; the page then follows the system.
}
