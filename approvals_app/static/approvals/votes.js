/* Votes on their way. Each is held back for some seconds, in which it can be undone, and then sent.
   Until the server has answered it is kept in this tab, so that a closed window loses none: what is
   left over is sent by the next page of ours. The server takes the same vote twice for one. */
"use strict";
const votes = (() => {
  const OURS = document.currentScript.dataset;
  const PREFIX = "orchestrator.vote.";
  const LATE = 3600_000;
  const RETRIES = [2_000, 5_000, 15_000, 60_000];
  const held = [];
  const underWay = new Set();
  const decided = new Set();
  const locks = new Map();

  // What is kept in this tab

  function keep(vote) {
    try { sessionStorage.setItem(PREFIX + vote.id, JSON.stringify(vote)); } catch { /* it is sent at the latest when the page is left */ }
  }
  function forget(vote) {
    try { sessionStorage.removeItem(PREFIX + vote.id); } catch { /* it was not kept */ }
    underWay.delete(vote.id);
    locks.get(vote.id)?.();
    locks.delete(vote.id);
  }
  function listKept() {
    try {
      return Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX)).map((name) => JSON.parse(sessionStorage.getItem(name)));
    } catch { return []; }
  }

  /* A duplicated tab has a copy of what is kept: whichever page holds the lock sends it. */
  function claim(vote) {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((resolve) => {
      navigator.locks.request(PREFIX + vote.id, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        return lock && new Promise((release) => locks.set(vote.id, release));
      }).catch(() => resolve(true));
    });
  }

  // Holding back and undoing

  function hold(vote, seconds, comeBack) {
    keep(vote);
    claim(vote);
    note(vote);
    const entry = { vote, comeBack, ends: Date.now() + seconds * 1000 };
    entry.timer = setTimeout(() => release(entry), seconds * 1000);
    held.push(entry);
    showHeld();
  }
  function drop(entry) {
    clearTimeout(entry.timer);
    held.splice(held.indexOf(entry), 1);
    showHeld();
  }
  function release(entry) {
    drop(entry);
    return send(entry.vote);
  }
  /* Undo the newest vote that has not been sent; false if there is none. */
  function undo() {
    const entry = held.at(-1);
    if (!entry) return false;
    drop(entry);
    forget(entry.vote);
    decided.delete(entry.vote.id);
    entry.comeBack();
    tell("Undone. Nothing was sent.");
    return true;
  }
  const flush = () => Promise.all([...held].map((entry) => release(entry)));
  function note(vote) {
    underWay.add(vote.id);
    decided.add(vote.id);
  }

  // Sending

  // The newest form's token: signing in again, in another tab too, changes it.
  const token = () => document.querySelector("article input[name=csrfmiddlewaretoken]")?.value || OURS.csrf;

  /* It arrives even if the page is left meanwhile. */
  async function post(vote) {
    const headers = { "Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": token(), "X-Flow": "send" };
    const request = { method: "POST", body: vote.body, headers, redirect: "manual", credentials: "same-origin", cache: "no-store" };
    // Browsers keep at most 64 KiB alive.
    return fetch(vote.url, { ...request, keepalive: true }).catch(() => fetch(vote.url, request));
  }

  async function send(vote, { tries = 0 } = {}) {
    let answer;
    try { answer = await post(vote); } catch { return sendAgain(vote, tries); }
    if (answer.status >= 500 || answer.status === 429) return sendAgain(vote, tries);
    if (answer.type === "opaqueredirect") {
      return keepNotice(vote, `You were signed out. Not sent: ${vote.words}.`, "Sign in to send it", signInUrl());
    }
    const given = await read(answer);
    if (given.message) return settle(vote, given.message);
    if (answer.status === 403 && !given.refusal) {
      return keepNotice(vote, `This page is too old. Not sent: ${vote.words}.`, "Reload to send it", location.href);
    }
    forget(vote);
    decided.delete(vote.id);
    document.dispatchEvent(new CustomEvent("o-unsent", { detail: vote }));
    if (given.proof) return keepNotice(vote, `Not sent: ${vote.words}.`, "Confirm it’s you", given.proof);
    keepNotice(vote, `Not recorded: ${vote.words}. ${given.refusal || "It is no longer there."}`, "Open it", vote.page);
  }

  /* The server's answer: a message, the address of a proof, or a page with the refusal. */
  async function read(answer) {
    if (answer.headers.get("Content-Type")?.startsWith("application/json")) return answer.json();
    const html = await answer.text();
    const page = new DOMParser().parseFromString(html, "text/html");
    return { html, refusal: page.querySelector("article [role=alert]")?.textContent.trim() };
  }

  function sendAgain(vote, tries) {
    keepNotice(vote, `Not sent yet: ${vote.words}. Retrying.`);
    setTimeout(() => send(vote, { tries: tries + 1 }), RETRIES[Math.min(tries, RETRIES.length - 1)]);
  }

  /* The server has it. */
  function settle(vote, message) {
    note(vote);
    forget(vote);
    removeNotice(vote);
    document.dispatchEvent(new CustomEvent("o-sent", { detail: vote }));
    if (!held.length) showMessage(message);
  }

  const signInUrl = () => `${OURS.login}?next=${encodeURIComponent(location.pathname + location.search)}`;

  async function resume(vote) {
    if (vote.owner !== OURS.user) return forget(vote);
    if (!(await claim(vote))) return;
    if (Date.now() - vote.at < LATE) {
      note(vote);
      send(vote);
    } else {
      forget(vote);
      keepNotice(vote, `Not sent, and by now too old: ${vote.words}.`, "Open it", vote.page);
    }
  }

  // What the reader is told

  const stack = document.createElement("div");
  stack.className = "o-toasts";
  stack.setAttribute("role", "region");
  stack.setAttribute("aria-label", "Your decisions");
  const notices = document.createElement("div");
  notices.setAttribute("role", "status");
  const toast = document.createElement("div");
  toast.className = "o-toast";
  // Read out when its words change, but not the seconds that are counted beside them.
  const words = document.createElement("span");
  words.className = "o-toast-words";
  words.setAttribute("role", "status");
  const actions = document.createElement("span");
  toast.append(words, actions);
  const said = document.createElement("div");
  said.className = "o-hidden";
  said.setAttribute("role", "status");
  said.setAttribute("aria-atomic", "false");
  stack.append(notices, toast);
  document.body.append(stack, said);
  let ticking = 0;

  function tell(words) {
    const line = document.createElement("p");
    line.textContent = words;
    said.append(line);
    setTimeout(() => line.remove(), 10_000);
  }

  function showToast(content, ...buttons) {
    clearInterval(ticking);
    words.replaceChildren(...content);
    actions.replaceChildren(...buttons);
  }
  const hideToast = () => showToast([]);

  function showHeld() {
    const entry = held.at(-1);
    if (!entry) return hideToast();
    const how = document.createElement("span");
    how.className = "o-hidden";
    how.textContent = " Press z to undo.";
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", "z");
    const left = document.createElement("span");
    left.setAttribute("aria-hidden", "true");
    button.append("Undo", left);
    button.addEventListener("click", undo);
    showToast([`${entry.vote.words}.`, how], button);
    const tick = () => { left.textContent = ` (${Math.max(1, Math.ceil((entry.ends - Date.now()) / 1000))} s)`; };
    tick();
    ticking = setInterval(tick, 1000);
  }

  /* What became of a vote, in the server's words, which it has escaped. */
  function showMessage(html) {
    const message = document.createElement("template");
    message.innerHTML = html;
    showToast([message.content], dismissal(hideToast));
  }

  function keepNotice(vote, words, link = "", url = "") {
    removeNotice(vote);
    const notice = document.createElement("p");
    notice.className = "o-toast o-toast-problem";
    notice.dataset.vote = vote.id;
    const text = document.createElement("span");
    text.className = "o-toast-words";
    text.textContent = `${words} `;
    if (link) {
      const anchor = document.createElement("a");
      anchor.className = "o-link";
      anchor.href = url;
      anchor.textContent = link;
      text.append(anchor);
    }
    notice.append(text, dismissal(() => notice.remove()));
    notices.append(notice);
  }
  function removeNotice(vote) {
    for (const notice of [...notices.children]) if (notice.dataset.vote === vote.id) notice.remove();
  }
  function dismissal(close) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Close";
    button.addEventListener("click", close);
    return button;
  }

  // Whoever leaves the page means what they decided.
  window.addEventListener("pagehide", flush);
  document.addEventListener("visibilitychange", () => document.hidden && flush());
  listKept().forEach(resume);

  return {
    owner: OURS.user,
    hold, undo, flush, post, read, settle, tell,
    canUndo: () => held.length > 0,
    /* The ids of what was decided in this tab, and of those whose votes the server may not have. */
    decided: () => new Set(decided),
    underWay: () => [...underWay],
  };
})();
