/* Keeps the inbox up to date while it is open, and says who else looks at a decision.
   Without it both are as they were when the page was loaded. */
"use strict";
(() => {
  const EVERY = 5000;
  const LATEST = 30000;
  const STILL_HERE = 30000;
  const TITLE = document.title.replace(/^\(\S+\)\s*/, "");
  const byId = (id) => document.getElementById(id);

  const inbox = byId("inbox");
  if (inbox) keepUpToDate();
  const looking = document.querySelector("[data-looking]");
  if (looking) sayThatWeLook();

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
      const at = fresh.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
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
    const body = shown.querySelector("tbody");
    if (body && after.size) {
      merge(body, before, after);
      around(shown, fresh);
    } else if (body || after.size) {
      const held = shown.contains(document.activeElement);
      shown.replaceWith(fresh);
      if (held) focusOn(fresh);
    }
    if (fresh.dataset.tab === "waiting") announce(come, gone);
  }

  /* Rows stay the elements they are: what is ticked stays ticked, and the focus where it is. */
  function merge(body, before, after) {
    const held = document.activeElement?.closest?.("tr[data-key]");
    const lost = held && before.has(held.dataset.key) && !after.has(held.dataset.key);
    const place = lost ? [...body.rows].indexOf(held) : -1;
    for (const [key, row] of before) if (!after.has(key)) row.remove();
    let next = body.firstElementChild;
    for (const [key, row] of after) {
      const known = before.get(key);
      if (known) refresh(known, row);
      if (known && known === next) next = next.nextElementSibling;
      else if (!known || known !== held) body.insertBefore(known || mark(row), next);
    }
    if (lost) focusOn(body.rows[Math.min(place, body.rows.length - 1)]);
  }

  function refresh(row, as) {
    [...as.cells].forEach((cell, index) => {
      const old = row.cells[index];
      if (!old || old.querySelector("input")) return;
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

  function sayThatWeLook() {
    async function ask() {
      if (document.hidden) return;
      try {
        const answer = await fetch(looking.dataset.looking, {
          redirect: "manual", cache: "no-store", credentials: "same-origin",
        });
        if (!answer.ok) return;
        const names = (await answer.json()).looking;
        const verb = names.length === 1 ? "is" : "are";
        say(looking, names.length ? `${names.join(", ")} ${verb} also looking at this.` : "");
      } catch {
        /* Who looks is a courtesy; the decision does not depend on it. */
      }
    }
    document.addEventListener("visibilitychange", ask);
    setInterval(ask, STILL_HERE);
    ask();
  }
})();
