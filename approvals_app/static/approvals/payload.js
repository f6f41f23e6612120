// A box that searches a payload: what does not match is set aside, what does is opened.
function addSearch(page) {
  for (const [index, place] of page.querySelectorAll("[data-search]").entries()) {
    const rows = [...place.querySelectorAll("dl > div, li, tbody > tr")];
    if (rows.length < 12) continue;
    const label = document.createElement("label");
    label.className = "o-search";
    label.textContent = "Find a field ";
    const box = document.createElement("input");
    box.type = "search";
    box.id = `search-${index}`;
    label.append(box);
    const said = document.createElement("span");
    said.className = "o-quiet";
    said.setAttribute("role", "status");
    const closed = [...place.querySelectorAll("details:not([open])")];
    box.addEventListener("input", () => {
      const words = box.value.trim().toLowerCase();
      let found = 0;
      for (const row of rows) {
        const matches = !words || row.textContent.toLowerCase().includes(words);
        row.hidden = !matches;
        if (words && matches && !row.querySelector("dl, ol, table")) found += 1;
      }
      for (const part of closed) part.open = Boolean(words) && part.textContent.toLowerCase().includes(words);
      said.textContent = words ? ` ${found} found` : "";
    });
    place.before(label, said);
  }
}

// What misleads is found one after the other, wherever it is folded away.
function findMarks(page) {
  for (const button of page.querySelectorAll(".o-next")) {
    const marks = [...page.querySelectorAll(".o-title mark, .o-main mark")];
    let next = 0;
    button.hidden = marks.length === 0;
    button.addEventListener("click", () => {
      const mark = marks[next];
      next = (next + 1) % marks.length;
      for (let part = mark.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
      mark.tabIndex = -1;
      mark.focus({ preventScroll: true });
      mark.scrollIntoView({ block: "center" });
    });
  }
}

// Addresses in a payload are text. Those of hosts that the operator lists become links; others can be
// copied, or opened once their real host has been read. The buttons stand below the text, not in it.
function addUrlActions(page) {
  const MOST_URLS = 200;
  const readUrl = (place) => {
    if (place.querySelector("mark")) return null; // a hidden character is part of it
    try {
      const url = new URL(place.textContent.replace(/[.,;:!?)\]}]+$/, ""));
      return ["http:", "https:"].includes(url.protocol) ? url : null;
    } catch {
      return null;
    }
  };
  const addAction = (place, words, name, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "o-url-act";
    button.textContent = words;
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => act(button));
    place.append(button);
  };
  const places = [...page.querySelectorAll(".o-main .o-url")].filter((place) => !place.closest("a, button, label, summary"));
  for (const place of places.slice(0, MOST_URLS)) {
    const url = readUrl(place);
    if (!url) continue;
    if (place.classList.contains("o-url-known")) {
      const link = document.createElement("a");
      link.className = "o-link";
      link.href = url.href;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      link.append(...place.childNodes);
      place.append(link);
      continue;
    }
    const block = place.closest("pre") ?? place.closest("dd, td, li, p, div");
    let list = block.matches("pre") ? block.nextElementSibling : block.lastElementChild;
    if (!list?.matches(".o-url-acts")) {
      list = document.createElement("span");
      list.className = "o-url-acts";
      if (block.matches("pre")) block.after(list);
      else block.append(list);
    }
    if ([...list.children].some((each) => each.title === url.href)) continue;
    const actions = document.createElement("span");
    actions.title = url.href;
    actions.textContent = `${url.host} `;
    list.append(actions);
    if (navigator.clipboard) {
      addAction(actions, "Copy", `Copy the link to ${url.host}`, async (button) => {
        await navigator.clipboard.writeText(url.href);
        button.textContent = "Copied";
        button.removeAttribute("aria-label");
      });
    }
    addAction(actions, "Open…", `Open the link to ${url.host}`, () => {
      if (confirm(`This opens ${url.host}, in a new tab:\n\n${url.href}`)) window.open(url.href, "_blank", "noopener,noreferrer");
    });
  }
}

for (const prepare of [addSearch, findMarks, addUrlActions]) {
  prepare(document);
  document.addEventListener("o-article", ({ detail }) => detail.restored || prepare(detail.article));
}
