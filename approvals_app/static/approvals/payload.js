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
