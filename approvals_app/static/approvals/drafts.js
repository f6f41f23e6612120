// What a reviewer writes is kept in this tab until it is decided: over a reload, a form that was
// refused, and a session that ended. Only the person who wrote it gets it back.
"use strict";
(() => {
  const PREFIX = "orchestrator.draft.";
  const SKIPPED = ["hidden", "submit", "button", "file"];

  const forms = [...document.querySelectorAll("form[data-draft]")];
  const unsent = document.querySelector("[data-draft-unsent]");
  const forgetSent = (done) => forget((key) => key === done || key.startsWith(`${done}.`));
  const done = document.querySelector("[data-draft-done]")?.dataset.draftDone;

  function load(key) {
    try { return JSON.parse(sessionStorage.getItem(PREFIX + key)); } catch { return null; }
  }
  function store(key, draft) {
    try { sessionStorage.setItem(PREFIX + key, JSON.stringify(draft)); } catch { /* a full storage keeps what it has */ }
  }
  function forget(test) {
    try {
      for (const name of Object.keys(sessionStorage)) {
        if (name.startsWith(PREFIX) && test(name.slice(PREFIX.length))) sessionStorage.removeItem(name);
      }
    } catch { /* nothing was kept */ }
  }

  const fields = (form) => [...form.elements].filter((field) => field.name && !SKIPPED.includes(field.type));
  const read = (field) => (field.type === "checkbox" ? field.checked : field.value);
  function write(field, value) {
    if (field.type === "checkbox") field.checked = value;
    else field.value = value;
  }

  function keep(form) {
    const key = form.dataset.draft;
    const first = fields(form).map((field) => [field, read(field)]);
    const draft = load(key);
    let restored = false;
    for (const [field, value] of draft ? first : []) {
      const kept = draft.values[field.name];
      if (kept === undefined || kept === value) continue;
      write(field, kept);
      restored = true;
      for (let inside = field.closest("details"); inside; inside = inside.parentElement.closest("details")) inside.open = true;
    }
    const save = (sent) => {
      const values = Object.fromEntries(fields(form).map((field) => [field.name, read(field)]));
      store(key, { values, sent });
    };
    if (draft?.sent) {
      save(false);
      // A refusal has said so already, and so has the page after a proof of identity.
      const refused = form.closest("article")?.querySelector("[role=alert]");
      const told = "draftTold" in form.dataset || document.querySelector("span[data-draft-told]");
      if (!refused && !told) tell(form, "Nothing was decided. What you wrote is still here.");
    } else if (restored) {
      tell(form, "What you wrote is still here; it was not sent.");
    }
    form.addEventListener("input", () => save(false));
    form.addEventListener("submit", (event) => {
      if (event.submitter?.formMethod !== "dialog") save(true);
    });
  }

  function tell(form, words) {
    const note = document.createElement("p");
    note.className = "o-told";
    note.setAttribute("role", "status");
    form.prepend(note);
    // A region that is announced must be there before its words.
    setTimeout(() => { note.textContent = words; }, 50);
  }

  // Somebody else was faster while the session had ended: there is no form to put it back into.
  function showUnsent(place) {
    const draft = load(place.dataset.draftUnsent);
    if (!draft) return;
    for (const field of place.querySelectorAll("[data-draft-field]")) field.value = draft.values[field.dataset.draftField] ?? "";
    place.hidden = [...place.querySelectorAll("[data-draft-field]")].every((field) => !field.value);
  }

  const owner = (forms[0]?.dataset.draft ?? unsent?.dataset.draftUnsent ?? done)?.split(".")[0];
  if (owner) forget((key) => !key.startsWith(`${owner}.`));
  if (done) forgetSent(done);
  forms.forEach(keep);
  if (unsent) showUnsent(unsent);
  document.addEventListener("o-sent", ({ detail }) => detail.draft && forgetSent(detail.draft));
  document.addEventListener("o-article", ({ detail }) => {
    if (detail.restored) return;
    detail.article.querySelectorAll("form[data-draft]").forEach(keep);
    detail.article.querySelectorAll("[data-draft-unsent]").forEach(showUnsent);
  });
})();
