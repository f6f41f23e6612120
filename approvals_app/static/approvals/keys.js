/* Keys for whoever decides much. None decides anything: a and r move to the button, and say so.
   Only those that can do something on the page do, and are listed (?), where all can be switched off,
   as WCAG 2.1.4 wants it. */
"use strict";
(() => {
  const STORED = "orchestrator.keys";
  let begun = 0;

  const said = document.createElement("div");
  said.className = "o-hidden";
  said.setAttribute("role", "status");
  document.body.append(said);

  const isOn = () => {
    try { return localStorage.getItem(STORED) !== "off"; } catch { return true; }
  };
  const store = (on) => {
    try { localStorage.setItem(STORED, on ? "on" : "off"); } catch { /* then until the next page */ }
  };
  const typing = (target) =>
    target.isContentEditable ||
    target.closest?.("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=button], [type=submit])");

  const links = () => [...document.querySelectorAll("tr[data-key]:not([hidden]) .o-row-link")];
  const row = () => document.activeElement?.closest?.("tr[data-key]") ?? find("tr[data-key][aria-current]");
  const shown = (element) => element && element.getClientRects().length > 0;
  const find = (selector) => document.querySelector(selector);
  const verb = (name) => [...document.querySelectorAll(`button[name=decision][value=${name}]`)].find(shown);

  function move(by) {
    const all = links();
    if (!all.length) return step(by > 0 ? "next" : "prev");
    const here = all.findIndex((link) => link.closest("tr") === row());
    const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1);
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
    document.dispatchEvent(new CustomEvent("o-row", { detail: all[next].closest("tr") }));
    return true;
  }

  function tick() {
    const box = row()?.querySelector("input[type=checkbox]");
    if (!box) return false;
    box.click();
    tell(box.checked ? "Selected" : "Deselected");
    return true;
  }

  function step(rel) {
    const link = find(`.o-position a[rel=${rel}]`);
    if (link) link.click();
    else if (find(".o-position")) tell(rel === "next" ? "This is the last request" : "This is the first request");
    return Boolean(link);
  }

  function button(name) {
    const found = verb(name);
    if (!found) return false;
    found.scrollIntoView({ block: "center" });
    if (found.disabled) tell(`${found.textContent.trim()}: not possible now`);
    if (found.disabled) return true;
    const notes = find("#notes");
    // Without its reason it would be refused, and a reason typed now would press other keys.
    if (notes && !notes.value.trim() && find(".o-position")?.dataset.commentFor.split(" ").includes(name)) {
      tell(`${found.textContent.trim()}: write why, then Tab to the button`);
      return go("#notes");
    }
    found.focus();
    tell(`${found.textContent.trim()}: press Enter to confirm`);
    return true;
  }

  function go(selector) {
    const found = find(selector);
    if (!found) return false;
    for (let inside = found.closest("details"); inside; inside = inside.parentElement.closest("details")) inside.open = true;
    found.focus();
    found.scrollIntoView({ block: "center" });
    return true;
  }

  function edit() {
    const link = find(EDIT);
    if (!link) return false;
    link.click();
    return true;
  }

  function home() {
    const link = find("a[data-home]");
    if (link) link.click();
    else location.assign(find("[data-inbox]")?.dataset.inbox ?? "/admin/");
    return true;
  }

  function tell(words) {
    said.textContent = "";
    setTimeout(() => { said.textContent = words; }, 50);
  }

  function list() {
    const dialog = build();
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
    return true;
  }

  function build() {
    const box = document.createElement("dialog");
    box.className = "o-keys";
    box.setAttribute("aria-labelledby", "o-keys-title");
    const title = document.createElement("h2");
    title.id = "o-keys-title";
    title.textContent = "Keys";
    const table = document.createElement("dl");
    for (const { key, what } of KEYS.filter(({ works }) => works())) {
      const line = document.createElement("div");
      const name = document.createElement("dt");
      for (const [index, part] of key.split(" then ").entries()) {
        if (index) name.append(" then ");
        const cap = document.createElement("kbd");
        cap.textContent = part;
        name.append(cap);
      }
      const does = document.createElement("dd");
      does.textContent = what;
      line.append(name, does);
      table.append(line);
    }
    const label = document.createElement("label");
    const check = document.createElement("input");
    check.type = "checkbox";
    check.checked = isOn();
    check.addEventListener("change", () => store(check.checked));
    label.append(check, " Use these keys (? always works)");
    const note = document.createElement("p");
    note.textContent = "No single key decides anything.";
    const form = document.createElement("form");
    form.method = "dialog";
    const close = document.createElement("button");
    close.className = "o-button";
    close.textContent = "Close";
    // Not the box that switches all keys off.
    close.autofocus = true;
    form.append(close);
    box.append(title, table, note, label, form);
    document.body.append(box);
    return box;
  }

  const EDIT = "a[href*='/edit/']";
  const SNOOZE = ".o-snooze button";
  const TAKE = "[data-take]";
  const SEARCH = "#q, .o-search input";
  const canUndo = () => typeof votes !== "undefined" && votes.canUndo();
  const ways = (rel) => links().length > 0 || find(`.o-position a[rel=${rel}]`);
  const KEYS = [
    { key: "j", what: "Next request", works: () => ways("next"), run: () => move(1) },
    { key: "k", what: "Previous request", works: () => ways("prev"), run: () => move(-1) },
    { key: "Enter", what: "Open the request", works: () => links().length > 0 },
    { key: "x", what: "Select or deselect", works: () => find("tr[data-key] input[type=checkbox]"), run: tick },
    { key: "a", what: "Focus Approve; Enter confirms", works: () => verb("approve"), run: () => button("approve") },
    { key: "r", what: "Focus Reject, or the reason that it needs", works: () => verb("reject"), run: () => button("reject") },
    { key: "c", what: "Focus Request changes, or what should change", works: () => verb("request_changes"), run: () => button("request_changes") },
    { key: "z", what: "Undo the last decision", works: canUndo, run: () => canUndo() && votes.undo() },
    { key: "h", what: "Snooze", works: () => find(SNOOZE), run: () => go(SNOOZE) },
    { key: "t", what: "Take it, so that others see that you have it", works: () => find(TAKE), run: () => go(TAKE) },
    { key: "e", what: "Edit the payload", works: () => find(EDIT), run: edit },
    { key: "n", what: "Focus the comment", works: () => find("#notes"), run: () => go("#notes") },
    { key: "/", what: "Search", works: () => find(SEARCH), run: () => go(SEARCH) },
    { key: "g then i", what: "Back to the inbox", works: () => true },
    { key: "?", what: "Show these keys", works: () => true },
  ];
  const ACTIONS = Object.fromEntries(KEYS.filter(({ run }) => run).map(({ key, run }) => [key, run]));

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.repeat && event.key !== "j" && event.key !== "k") return;
    if (typing(event.target) || find("dialog[open]")) return;
    const key = event.key;
    let done = false;
    if (key === "?") {
      done = list();
    } else if (!isOn()) {
      return;
    } else if (key === "i" && event.timeStamp - begun < 1500) {
      done = home();
    } else if (Object.hasOwn(ACTIONS, key)) {
      done = ACTIONS[key]();
    }
    begun = key === "g" ? event.timeStamp : -Infinity;
    if (done) event.preventDefault();
  });

  const inbox = find("#inbox");
  if (inbox) {
    const hint = document.createElement("p");
    hint.className = "o-hint";
    const open = document.createElement("button");
    open.type = "button";
    open.textContent = "Keys (?)";
    open.addEventListener("click", list);
    hint.append(open);
    inbox.after(hint);
  }
})();
