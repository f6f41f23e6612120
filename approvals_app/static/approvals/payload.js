// A box that searches a payload: what does not match is set aside, what does is opened.
for (const [index, place] of document.querySelectorAll("[data-search]").entries()) {
  const rows = [...place.querySelectorAll("dl > div, li, tbody > tr")];
  if (rows.length < 12) continue;
  const label = document.createElement("label");
  label.className = "o-search";
  label.textContent = "Search in it ";
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

// What misleads is found one after the other, wherever it is folded away.
for (const button of document.querySelectorAll(".o-next")) {
  const marks = [...document.querySelectorAll(".o-title mark, .o-main mark")];
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
