/* One decision after the other without loading a page: the next request is fetched while the present
   one is read, and takes its place. Without this script links and forms do the same, page by page. */
"use strict";
(() => {
  const ARTICLE = "article.o-page";
  const FRESH = 60_000;
  const DONE = { approve: "Approved", reject: "Rejected", request_changes: "Changes requested", delegate: "Delegated" };
  const HELD = ["approve", "reject"];
  const site = document.title.split("|").at(-1).trim();
  let ahead = null;
  let opening = 0;

  const current = () => document.querySelector(ARTICLE);
  const queueOf = (article) => article.querySelector(".o-position");
  const isDecision = (path) => path.endsWith("/change/");
  // A link within the page (to the content, to a row) leaves it as it is.
  let shownAt = address(location);

  function address(url) { return url.pathname + url.search; }

  // Fetching pages

  async function fetchPage(url, purpose) {
    const decided = votes.decided();
    const answer = await fetch(url, {
      headers: { "X-Flow": purpose, "X-Flow-Decided": votes.underWay().join(",") },
      redirect: "manual", cache: "no-store", credentials: "same-origin",
    });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return { ...parse(await answer.text()), url, decided };
  }

  function parse(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    return { article: document.adoptNode(page.querySelector(ARTICLE)), title: page.title };
  }

  function lookAhead() {
    const url = linkTo("next");
    if (!url || ahead?.url === url) return;
    ahead = { url, at: Date.now(), page: fetchPage(url, "ahead").catch(() => null) };
  }

  async function take(url) {
    const ready = ahead?.url === url && Date.now() - ahead.at < FRESH ? await ahead.page : null;
    ahead = null;
    // The time that a policy requires begins when somebody looks.
    if (ready && !ready.article.querySelector("[data-look-left]")) return ready;
    return fetchPage(url, "open");
  }

  // Showing them

  async function open(url, how) {
    const turn = ++opening;
    try {
      const page = await take(url);
      if (turn === opening) show(page, how);
    } catch {
      location.assign(url);
    }
  }

  function show(page, how = {}) {
    const { article } = page;
    const { push = true, restored = false } = how;
    if (page.decided) correctPlace(article, page.decided);
    if (pane) return pane.show(page, how);
    current().replaceWith(article);
    document.title = page.title;
    // What is fetched has no frame: its heading is the title without the site's name.
    document.querySelector(".o-here").textContent = page.title.split("|").slice(0, -1).join("|").trim();
    if (push) history.pushState(null, "", page.url);
    shownAt = address(location);
    document.dispatchEvent(new CustomEvent("o-article", { detail: { article, restored } }));
    // What is to be mended has the focus, as on a page that the browser loads.
    const field = article.querySelector("[aria-invalid=true]");
    if (field && !restored) {
      field.focus();
    } else {
      focusOn(article.querySelector("[role=alert]") ?? article.querySelector(".o-title") ?? article);
      window.scrollTo(0, 0);
    }
    // The title is read out since it has the focus.
    const place = article.querySelector(".o-place")?.textContent.trim();
    if (place && !restored) votes.tell(`Request ${place}`);
    lookAhead();
  }

  /* A page that was fetched ahead counts what has been decided since. */
  function correctPlace(article, before) {
    const late = [...votes.decided()].filter((id) => !before.has(id)).length;
    for (const part of article.querySelectorAll("[data-position], [data-count]")) {
      const number = Number(part.textContent);
      if (number > late) part.textContent = number - late;
    }
    const previous = queueOf(article)?.querySelector("a[rel=prev]");
    if (previous && isDecided(previous.pathname)) previous.remove();
  }

  function focusOn(element) {
    element.tabIndex = -1;
    element.focus({ preventScroll: true });
  }

  const titleOf = (article) => article.querySelector(".o-title").textContent.trim();
  const isDecided = (path) => [...votes.decided()].some((id) => path.includes(id));

  function linkTo(rel, article = current()) {
    const link = article && queueOf(article)?.querySelector(`a[rel=${rel}]`);
    return link && !isDecided(link.pathname) ? link.pathname + link.search : "";
  }

  /* To the next request, else to the one before, else there is none. */
  async function advance() {
    if (pane) return pane.advance();
    const url = linkTo("next") || linkTo("prev");
    if (url) return open(url);
    const { inbox } = current().dataset;
    // Others may have come since this page was loaded.
    const again = await fetchPage(location.href, "ahead").catch(() => null);
    const found = again && (linkTo("next", again.article) || linkTo("prev", again.article));
    return found ? open(found) : showAllClear(inbox);
  }

  function showAllClear(inbox) {
    const article = document.createElement("article");
    article.className = "o-page";
    article.dataset.inbox = inbox;
    const box = document.createElement("div");
    box.className = "o-empty";
    const title = document.createElement("h2");
    title.className = "o-title";
    title.textContent = "All clear.";
    const back = document.createElement("a");
    back.className = "o-link";
    back.href = inbox;
    back.dataset.home = "";
    back.textContent = "Back to the inbox";
    box.append(title, back);
    article.append(box);
    show({ article, title: `All clear | ${site}` }, { push: false });
  }

  // Deciding

  function decide(form, button) {
    const article = form.closest(ARTICLE);
    const vote = build(form, button, article);
    const seconds = Number(queueOf(article).dataset.undo);
    if (seconds && mayBeHeld(form, button)) {
      const page = { article, url: vote.page, title: document.title };
      votes.hold(vote, seconds, () => show(page, { restored: true }));
      advance();
    } else if (queueOf(article).dataset.confirm.split(" ").includes(button.value) && !isIncomplete(form, button)) {
      askToConfirm(article, button, () => sendNow(vote, form, button));
    } else {
      sendNow(vote, form, button);
    }
  }

  function build(form, button, article) {
    const page = article.dataset.address ?? shownAt;
    const fields = new URLSearchParams(new FormData(form, button));
    fields.delete("csrfmiddlewaretoken");
    return {
      id: queueOf(article).dataset.approval,
      url: new URL(form.getAttribute("action") || page, location.href).href,
      page,
      body: fields.toString(),
      words: `${DONE[button.value]}: ${titleOf(article)}`.replace(/\.$/, ""),
      draft: form.dataset.draft,
      owner: votes.owner,
      at: Date.now(),
    };
  }

  /* What the server would refuse is sent at once, so that the page is still there to say so. */
  function mayBeHeld(form, button) {
    if (!HELD.includes(button.value) || isIncomplete(form, button)) return false;
    return [...form.querySelectorAll("input[type=checkbox]")].every((box) => box.checked || button.value !== "approve");
  }

  /* Without what the page says is required: nobody is asked to confirm what would be refused. */
  function isIncomplete(form, button) {
    const { notes, confirmed, typed } = form.elements;
    const needsComment = queueOf(form.closest(ARTICLE)).dataset.commentFor.split(" ");
    if (needsComment.includes(button.value)) return !notes?.value.trim();
    if (button.value !== "approve") return false;
    return (confirmed && !confirmed.checked) || (typed && !typed.value.trim());
  }

  async function sendNow(vote, form, button) {
    const buttons = [...form.querySelectorAll("button")].filter((each) => !each.disabled);
    const busy = (on) => buttons.forEach((each) => { each.disabled = on; });
    busy(true);
    try {
      const answer = await votes.post(vote, true);
      if (answer.type === "opaqueredirect" || answer.status >= 500) throw new Error(answer.type);
      const given = await votes.read(answer);
      if (given.proof) return location.assign(given.proof);
      if (!given.message) return show({ ...parse(given.html), url: vote.page }, { push: false });
      votes.settle(vote, given.message);
      await advance();
    } catch {
      // Whatever happened, the form as it is without a script leads to a page that says so.
      busy(false);
      form.dataset.plain = "";
      form.action = vote.url;
      form.requestSubmit(button);
    }
  }

  /* High risk: nothing is held back, so the click is not the last word. Enter alone goes back. */
  function askToConfirm(article, button, goAhead) {
    const dialog = document.createElement("dialog");
    dialog.className = "o-confirm";
    dialog.setAttribute("aria-labelledby", "o-confirm-title");
    const title = document.createElement("h2");
    title.id = "o-confirm-title";
    title.textContent = `${button.textContent.trim()} this high-risk request?`;
    const what = document.createElement("p");
    what.className = "o-words";
    what.textContent = titleOf(article);
    const facts = article.querySelector(".o-summary .o-facts")?.cloneNode(true) ?? "";
    const form = document.createElement("form");
    form.method = "dialog";
    form.className = "o-buttons";
    const cancel = document.createElement("button");
    cancel.className = "o-button";
    cancel.value = "cancel";
    cancel.autofocus = true;
    cancel.textContent = "Cancel";
    const yes = document.createElement("button");
    yes.className = button.className;
    yes.value = "yes";
    yes.textContent = button.textContent;
    form.append(cancel, yes);
    dialog.append(title, what, facts, form);
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "yes") goAhead();
      else button.focus();
    });
    dialog.showModal();
  }

  // What others did to the request that is shown

  function reportNews({ article, news, closed, voted }) {
    if (!news || !article.isConnected) return;
    // What the page says itself is no news.
    if ((voted ? "voted" : closed ? "" : "changes") in queueOf(article).dataset) return;
    const before = article.querySelector(".o-news");
    // The words count the time, which alone is no news.
    if (before?.dataset.closed === `${closed}`) return;
    const notice = document.createElement("p");
    notice.className = "o-problem o-news";
    notice.setAttribute("role", "alert");
    notice.dataset.closed = closed;
    const link = document.createElement("a");
    link.className = "o-link";
    link.href = article.dataset.address ?? shownAt;
    link.textContent = "Show it as it is now";
    notice.append(`${news} `, link);
    before?.remove();
    article.querySelector(".o-head").after(notice);
    const selector = closed ? "button[name=decision]" : "button[name=decision][value=approve]";
    for (const button of article.querySelectorAll(selector)) disable(button);
  }

  /* By a copy, which no countdown enables again. */
  function disable(button) {
    const copy = button.cloneNode(true);
    copy.disabled = true;
    button.replaceWith(copy);
  }

  // Beside the inbox: the request of the row that j and k move to

  function buildPane(list) {
    const box = document.createElement("aside");
    box.className = "o-pane";
    box.setAttribute("aria-label", "Preview");
    box.hidden = true;
    const split = document.createElement("div");
    split.className = "o-split";
    const form = list.closest("form") ?? list;
    form.replaceWith(split);
    split.append(form, box);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "o-preview";
    button.textContent = "Preview";
    const rows = () => [...list.querySelectorAll("tr[data-key]:not([hidden])")];
    const rowOf = (key) => list.querySelector(`tr[data-key="${key}"]`);
    let turn = 0;

    function mark(row) {
      for (const each of rows()) each.removeAttribute("aria-current");
      row.setAttribute("aria-current", "true");
    }

    async function preview(row) {
      const link = row.querySelector(".o-row-link");
      mark(row);
      const mine = ++turn;
      const page = await fetchPage(link.pathname + link.search, "open").catch(() => null);
      if (mine !== turn) return;
      if (page) show(page);
      else location.assign(link.href);
    }

    function showIn(page, { restored = false } = {}) {
      const { article } = page;
      article.dataset.address = page.url;
      const open = document.createElement("a");
      open.className = "o-link o-open";
      open.href = page.url;
      open.textContent = "Open the page";
      article.querySelector(".o-open")?.remove();
      queueOf(article)?.append(open);
      box.replaceChildren(article);
      box.scrollTop = 0;
      box.hidden = false;
      split.classList.add("o-beside");
      if (restored) reveal(queueOf(article).dataset.approval);
      document.dispatchEvent(new CustomEvent("o-article", { detail: { article, restored } }));
      article.querySelector("[role=alert]")?.scrollIntoView({ block: "nearest" });
      if (!restored) article.querySelector("[aria-invalid=true]")?.focus();
    }

    function reveal(key) {
      const row = rowOf(key);
      if (!row) return;
      row.hidden = false;
      mark(row);
      row.querySelector(".o-row-link").focus();
    }

    /* What was decided leaves the list at once; the row after it is next. */
    function next() {
      const all = rows();
      const place = all.findIndex((row) => isDecided(row.dataset.key));
      for (const row of all) row.hidden = isDecided(row.dataset.key);
      const left = rows();
      const row = left[Math.min(Math.max(place, 0), left.length - 1)];
      if (!row) return close();
      row.querySelector(".o-row-link").focus();
      return preview(row);
    }

    function close() {
      box.replaceChildren();
      box.hidden = true;
      split.classList.remove("o-beside");
    }

    document.addEventListener("o-row", ({ detail }) => wide.matches && preview(detail));
    document.addEventListener("o-unsent", ({ detail }) => { const row = rowOf(detail.id); if (row) row.hidden = false; });
    button.addEventListener("click", (event) => preview(event.target.closest("tr")));
    list.addEventListener("mouseover", (event) => {
      const row = event.target.closest("tr[data-key]");
      if (row && wide.matches && !row.contains(button)) row.querySelector(".o-row-link").parentElement.append(button);
    });
    return { show: showIn, advance: next };
  }

  const wide = matchMedia("(min-width: 1100px)");
  const list = document.getElementById("inbox");
  const pane = list && document.getElementById("inbox-list")?.dataset.tab === "waiting" ? buildPane(list) : null;

  // Listening

  document.addEventListener("o-looked", ({ detail }) => reportNews(detail));

  document.addEventListener("submit", (event) => {
    const { target: form, submitter: button } = event;
    if (event.defaultPrevented || "plain" in form.dataset || button?.name !== "decision" || !(button.value in DONE)) return;
    if (!form.closest(ARTICLE) || !queueOf(form.closest(ARTICLE))) return;
    event.preventDefault();
    decide(form, button);
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(".o-position a[rel], a[data-home], .o-crumbs a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (link.rel) open(link.pathname + link.search);
    // The inbox is to list what is left.
    else votes.flush().then(() => location.assign(link.href));
  });

  window.addEventListener("popstate", () => {
    if (address(location) === shownAt) return;
    if (isDecision(location.pathname) && current()) open(address(location), { push: false });
    else location.reload();
  });

  // The frame stays as it is, but its way back leads to where the list goes on.
  document.addEventListener("o-article", ({ detail: { article } }) => {
    const back = document.querySelector(".o-crumbs a");
    if (back) back.href = article.dataset.inbox;
  });

  if (current()) window.addEventListener("load", () => setTimeout(lookAhead));
})();
