/* Keeps the inbox up to date while it is open, and says who else looks at a decision.
   Without it both are as they were when the page was loaded. */
"use strict";
(() => {
  const EVERY = 5000;
  const LATEST = 30000;
  const TITLE = document.title.replace(/^\(\S+\)\s*/, "");
  const byId = (id) => document.getElementById(id);

  const inbox = byId("inbox");
  if (inbox) {
    inbox.classList.add("o-live");
    keepUpToDate();
    select();
    filterAtOnce();
  }
  let looking = document.querySelector("[data-looking]");
  sayThatWeLook();

  function keepUpToDate() {
    let tag = "";
    let timer = 0;
    let wait = EVERY;
    let fresh = new Date();
    let running = false;
    let over = false;

    const later = () => {
      clearTimeout(timer);
      if (!over && !document.hidden) timer = setTimeout(ask, wait);
    };

    async function ask() {
      if (running || over || document.hidden) return;
      running = true;
      clearTimeout(timer);
      try {
        const headers = tag ? { "If-None-Match": tag } : {};
        const answer = await fetch(inbox.dataset.source, {
          headers, redirect: "manual", cache: "no-store", credentials: "same-origin",
        });
        if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
          over = true;
          signedOut();
        } else if (answer.status === 304) {
          upToDate();
        } else if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const list = page.getElementById("inbox-list");
          if (!list) throw new Error("no list");
          tag = answer.headers.get("ETag") || "";
          show(list);
          upToDate();
        } else {
          stale();
        }
      } catch {
        stale();
      }
      running = false;
      later();
    }

    function upToDate() {
      fresh = new Date();
      wait = EVERY;
      say(byId("inbox-stale"), "");
    }

    function stale() {
      wait = Math.min(wait * 2, LATEST);
      const at = fresh.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
      say(byId("inbox-stale"), `Offline since ${at}. Retrying.`);
    }

    function signedOut() {
      const link = document.createElement("a");
      link.className = "o-link";
      link.href = inbox.dataset.signIn + encodeURIComponent(location.search);
      link.textContent = "Sign in again";
      byId("inbox-stale").replaceChildren("You were signed out; this list no longer updates. ", link);
    }

    document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
    window.addEventListener("online", ask);
    document.addEventListener("o-sent", ask);
    window.addEventListener("offline", stale);
    window.addEventListener("pageshow", (event) => {
      document.querySelectorAll(".o-busy").forEach((busy) => busy.classList.remove("o-busy"));
      inbox.removeAttribute("aria-busy");
      if (event.persisted) ask();
    });
    document.querySelector(".o-filters")?.addEventListener("submit", () => {
      inbox.classList.add("o-busy");
      inbox.setAttribute("aria-busy", "true");
    });
    later();
    // Going to a fragment takes the focus away, so wait until the browser is there.
    window.addEventListener("load", () => setTimeout(comeBack));
  }

  /* After a decision, to where it was made. */
  function comeBack() {
    const row = location.hash.startsWith("#row-") && byId(location.hash.slice(1));
    if (!row) return;
    focusOn(row);
    row.scrollIntoView({ block: "center" });
  }

  function say(place, words) {
    if (place && place.textContent !== words) place.textContent = words;
  }

  const rowsOf = (list) => new Map([...list.querySelectorAll("tr[data-key]")].map((row) => [row.dataset.key, row]));

  function show(fresh) {
    const shown = byId("inbox-list");
    const before = rowsOf(shown);
    const after = rowsOf(fresh);
    const come = [...after.keys()].filter((key) => !before.has(key)).length;
    const gone = [...before.keys()].filter((key) => !after.has(key)).length;
    const waiting = fresh.dataset.waiting;
    document.title = waiting ? `(${waiting}) ${TITLE}` : TITLE;
    if (before.size && after.size) {
      merge(shown, fresh, before);
      around(shown, fresh);
    } else if (before.size || after.size) {
      const held = shown.contains(document.activeElement);
      shown.replaceWith(fresh);
      if (held) focusOn(fresh);
    }
    inbox.dispatchEvent(new Event("refreshed"));
    if (fresh.dataset.tab === "waiting") announce(come, gone);
  }

  /* Rows stay the elements they are: what is ticked stays ticked, and the focus where it is. */
  function merge(shown, fresh, before) {
    const after = rowsOf(fresh);
    const held = document.activeElement?.closest?.("tr[data-key]");
    const lost = held && before.has(held.dataset.key) && !after.has(held.dataset.key);
    const place = lost ? [...before.values()].indexOf(held) : -1;
    for (const [key, row] of before) if (!after.has(key)) row.remove();
    const table = shown.querySelector("table");
    const bodies = new Map([...table.tBodies].map((body) => [body.dataset.group, body]));
    let last = table.tHead;
    for (const to of fresh.querySelector("table").tBodies) {
      const body = bodies.get(to.dataset.group) || to.cloneNode(false);
      bodies.delete(to.dataset.group);
      if (last.nextElementSibling !== body) last.after(body);
      fill(body, to, before, held);
      last = body;
    }
    bodies.forEach((body) => body.remove());
    if (lost) focusOn([...rowsOf(shown).values()][Math.min(place, after.size - 1)]);
  }

  function fill(body, to, before, held) {
    const title = to.querySelector(".o-group");
    const old = body.querySelector(".o-group");
    if (title && !old) body.prepend(title.cloneNode(true));
    else if (title && old.textContent !== title.textContent) retitle(old, title);
    let next = [...body.rows].find((row) => row.dataset.key);
    for (const row of [...to.rows].filter((each) => each.dataset.key)) {
      const known = before.get(row.dataset.key);
      if (known) refresh(known, row);
      if (known && known === next) next = next.nextElementSibling;
      else if (!known || known !== held || known.parentElement !== body) body.insertBefore(known || mark(row), next || null);
    }
  }

  /* What a reader unfolded stays so. */
  function retitle(old, title) {
    const open = old.querySelector("details")?.open;
    old.innerHTML = title.innerHTML;
    const details = old.querySelector("details");
    if (details && open) details.open = true;
  }

  function refresh(row, as) {
    [...as.cells].forEach((cell, index) => {
      const old = row.cells[index];
      if (!old || old.querySelector("input:checked")) return;
      if (old.contains(document.activeElement)) return;
      if (old.innerHTML !== cell.innerHTML) old.innerHTML = cell.innerHTML;
    });
  }

  function around(shown, fresh) {
    for (const part of [".o-pages"]) {
      const [old, now] = [shown.querySelector(part), fresh.querySelector(part)];
      if (old && now && old.innerHTML !== now.innerHTML && !old.contains(document.activeElement)) old.replaceWith(now);
      else if (!old && now) shown.append(now);
      else if (old && !now && !old.contains(document.activeElement)) old.remove();
    }
  }

  function mark(row) {
    row.classList.add("o-fresh");
    return row;
  }

  function focusOn(place) {
    const target = place.querySelector(".o-row-link, a[href]");
    if (target) return target.focus({ preventScroll: true });
    place.tabIndex = -1;
    place.focus({ preventScroll: true });
  }

  function announce(come, gone) {
    const words = [];
    if (come) words.push(`${come} new`);
    if (gone) words.push(`${gone} no longer waiting`);
    if (words.length) {
      const news = byId("inbox-news");
      news.textContent = "";
      setTimeout(() => say(news, words.join(", ")), 50);
    }
  }

  /* A bar tells how many are selected and what they amount to. */
  function select() {
    const bar = byId("inbox-selection");
    if (!bar) return;
    const boxes = () => [...inbox.querySelectorAll("tbody .o-pick input:not(:disabled)")].filter((box) => box.getClientRects().length);
    const all = () => inbox.querySelector(".o-pick-all");
    let last = null;

    function update() {
      const every = boxes();
      const chosen = every.filter((box) => box.checked);
      const head = all();
      if (head) {
        head.hidden = false;
        head.disabled = every.length === 0;
        head.checked = every.length > 0 && chosen.length === every.length;
        head.indeterminate = chosen.length > 0 && chosen.length < every.length;
      }
      bar.hidden = chosen.length === 0;
      say(bar.querySelector(".o-selected"), chosen.length ? [`${chosen.length} selected`, ...sums(chosen)].join(", ") : "");
      say(bar.querySelector("button:not([type])"), `Review ${chosen.length}`);
    }

    inbox.addEventListener("click", (event) => {
      const box = event.target.closest?.("tbody .o-pick input");
      if (!box) return;
      const every = boxes();
      const [from, to] = [every.indexOf(last), every.indexOf(box)];
      if (event.shiftKey && from >= 0) {
        for (const each of every.slice(Math.min(from, to), Math.max(from, to) + 1)) each.checked = box.checked;
      }
      last = box;
    });
    inbox.addEventListener("change", (event) => {
      if (event.target === all()) for (const box of boxes()) box.checked = event.target.checked;
      update();
    });
    inbox.addEventListener("refreshed", update);
    window.addEventListener("pageshow", update);
    bar.querySelector(".o-clear").addEventListener("click", () => {
      for (const box of boxes()) box.checked = false;
      update();
      (last || all())?.focus();
    });
    update();
  }

  /* By currency, in the smallest unit that any of them has. */
  function sums(chosen) {
    const found = new Map();
    let without = 0;
    for (const { number, currency } of chosen.map((box) => box.dataset)) {
      if (!number) { without += 1; continue; }
      const digits = (number.split(".")[1] || "").length;
      const before = found.get(currency) || { units: 0n, digits: 0 };
      const width = Math.max(before.digits, digits);
      const scaled = (units, from) => units * 10n ** BigInt(width - from);
      found.set(currency, { units: scaled(before.units, before.digits) + scaled(BigInt(number.replace(".", "")), digits), digits: width });
    }
    const words = [...found].map(([currency, { units, digits }]) => `${written(units, digits)} ${currency}`);
    if (found.size && without) words.push(`${without} without an amount`);
    return words;
  }

  function written(units, digits) {
    const sign = units < 0n ? "-" : "";
    const text = String(units < 0n ? -units : units).padStart(digits + 1, "0");
    const whole = text.slice(0, text.length - digits).replace(/\B(?=(\d{3})+$)/g, ",");
    return sign + whole + (digits ? `.${text.slice(-digits)}` : "");
  }

  function filterAtOnce() {
    const form = document.querySelector(".o-filters");
    const fields = form?.querySelector(".o-narrows");
    if (!fields) return;
    fields.querySelector("button").hidden = true;
    fields.addEventListener("change", () => form.requestSubmit());
  }

  function sayThatWeLook() {
    async function ask() {
      if (document.hidden || !looking) return;
      const place = looking;
      try {
        const answer = await fetch(place.dataset.looking, {
          redirect: "manual", cache: "no-store", credentials: "same-origin",
        });
        if (!answer.ok || place !== looking) return;
        const news = await answer.json();
        const names = news.looking;
        const verb = names.length === 1 ? "is" : "are";
        say(place, names.length ? `${names.join(", ")} ${verb} also looking at this.` : "");
        document.dispatchEvent(new CustomEvent("o-looked", { detail: { ...news, article: place.closest("article") } }));
      } catch {
        /* Who looks is a courtesy; the decision does not depend on it. */
      }
    }
    document.addEventListener("o-article", ({ detail }) => {
      looking = detail.article.querySelector("[data-looking]");
      ask();
    });
    document.addEventListener("visibilitychange", ask);
    setInterval(ask, EVERY);
    ask();
  }
})();
