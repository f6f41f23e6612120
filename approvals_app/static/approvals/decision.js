// What an open decision page does by itself: at the deadline nothing can be decided any more, so
// its verbs stop. The server refuses a late vote whatever the page does.
"use strict";
document.addEventListener("o-due-passed", (event) => {
  const page = event.target.closest(".o-decision");
  if (!page || !event.target.closest(".o-due")) return;
  const verbs = page.querySelector(".o-verbs");
  if (!verbs || verbs.dataset.passed !== undefined) return;
  verbs.dataset.passed = "";
  for (const button of verbs.querySelectorAll("button")) button.disabled = true;
  const note = document.createElement("p");
  note.className = "o-error";
  note.setAttribute("role", "status");
  verbs.before(note);
  // A region that is announced must be there before its words.
  setTimeout(() => { note.textContent = "The deadline has passed. Nothing can be decided any more."; }, 50);
});
// The frame hides the page until its scripts have run, and autofocus finds nothing to focus then.
window.addEventListener("load", () => {
  const invalid = document.querySelector(".o-page [aria-invalid=true]");
  if (!invalid || invalid === document.activeElement) return;
  for (let inside = invalid.closest("details"); inside; inside = inside.parentElement.closest("details")) inside.open = true;
  invalid.focus();
});
