/* Keys for whoever decides much. None decides anything: a and r move to the button, and say so.
   They are switched off in the list of keys (?), as WCAG 2.1.4 wants it. */
"use strict";
(() => {
  const STORED = "orchestrator.keys";
  const KEYS = [
    ["j", "Next request"],
    ["k", "Previous request"],
    ["Enter", "Open the request"],
    ["x", "Select or deselect"],
    ["a", "Focus Approve; Enter confirms"],
    ["r", "Focus Reject; Enter confirms"],
    ["e", "Edit the payload"],
    ["n", "Focus the comment"],
    ["/", "Search"],
    ["g then i", "Back to the inbox"],
    ["?", "Show these keys"],
  ];
  let dialog = null;
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

  const links = () => [...document.querySelectorAll("tr[data-key] .o-row-link")];
  const row = () => document.activeElement?.closest?.("tr[data-key]");
  const shown = (element) => element && element.getClientRects().length > 0;

  function move(by) {
    const all = links();
    if (!all.length) return false;
    const here = all.findIndex((link) => link.closest("tr") === row());
    const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1);
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
    return true;
  }

  function tick() {
    const box = row()?.querySelector("input[type=checkbox]");
    if (!box) return false;
    box.click();
    tell(box.checked ? "Selected" : "Deselected");
    return true;
  }

  function button(name) {
    const found = [...document.querySelectorAll(`button[name=decision][value=${name}]`)].find(shown);
    if (!found) return false;
    found.focus();
    found.scrollIntoView({ block: "center" });
    tell(`${found.textContent.trim()}: press Enter to confirm`);
    return true;
  }

  function go(selector) {
    const found = document.querySelector(selector);
    if (!found) return false;
    for (let inside = found.closest("details"); inside; inside = inside.parentElement.closest("details")) inside.open = true;
    found.focus();
    found.scrollIntoView({ block: "center" });
    return true;
  }

  function edit() {
    const link = document.querySelector("a[href*='/edit/']");
    if (!link) return false;
    link.click();
    return true;
  }

  function home() {
    const link = document.querySelector("[data-inbox]");
    location.assign(link ? link.dataset.inbox : "/admin/");
    return true;
  }

  function tell(words) {
    said.textContent = "";
    setTimeout(() => { said.textContent = words; }, 50);
  }

  function list() {
    dialog ??= made();
    dialog.querySelector("input").checked = isOn();
    if (!dialog.open) dialog.showModal();
    return true;
  }

  function made() {
    const box = document.createElement("dialog");
    box.className = "o-keys";
    box.setAttribute("aria-labelledby", "o-keys-title");
    const title = document.createElement("h2");
    title.id = "o-keys-title";
    title.textContent = "Keys";
    const table = document.createElement("dl");
    for (const [key, what] of KEYS) {
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
    check.addEventListener("change", () => store(check.checked));
    label.append(check, " Use these keys (? always works)");
    const note = document.createElement("p");
    note.textContent = "No single key decides anything.";
    const form = document.createElement("form");
    form.method = "dialog";
    const close = document.createElement("button");
    close.className = "o-button";
    close.textContent = "Close";
    form.append(close);
    box.append(title, table, note, label, form);
    (document.querySelector(".o-page") || document.body).append(box);
    return box;
  }

  const ACTIONS = {
    j: () => move(1),
    k: () => move(-1),
    x: tick,
    a: () => button("approve"),
    r: () => button("reject"),
    e: edit,
    n: () => go("#notes"),
    "/": () => go("#q"),
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.repeat && event.key !== "j" && event.key !== "k") return;
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
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

  const page = document.querySelector(".o-page");
  if (page) {
    const hint = document.createElement("p");
    hint.className = "o-hint";
    const open = document.createElement("button");
    open.type = "button";
    open.textContent = "Keys";
    open.addEventListener("click", list);
    hint.append(open, " for the inbox and decisions: press ? at any time.");
    page.append(hint);
  }
})();
