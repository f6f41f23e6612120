// The form of a policy: says what it does while it is filled in, adds rows, and withdraws the
// button that activates once the simulated policy is not the one in the form any more.
const form = document.getElementById("policy-form");
const sentence = form?.querySelector("[data-sentence]");
const PAUSE = 300;
let timer, latest = 0;

async function describe() {
  const turn = ++latest;
  const answer = await fetch(form.dataset.describe, { method: "POST", body: new FormData(form) });
  if (!answer.ok || turn !== latest) return;
  const draft = await answer.json();
  sentence.textContent = draft.sentence || draft.problem;
  sentence.classList.toggle("o-warns", draft.warns);
  sentence.classList.toggle("o-unfinished", !draft.sentence);
  sentence.hidden = false;
}

function changed(event) {
  if (event.target.name === "days") return;
  for (const each of document.querySelectorAll("[data-activate]")) each.hidden = true;
  for (const each of document.querySelectorAll("[data-outdated]")) each.hidden = false;
  if (!form.dataset.describe) return;
  clearTimeout(timer);
  timer = setTimeout(() => describe().catch(() => {}), PAUSE);
}

form?.addEventListener("input", changed);
form?.addEventListener("change", changed);
for (const button of document.querySelectorAll("[data-add-row]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const row = button.previousElementSibling.cloneNode(true);
    for (const input of row.querySelectorAll("input")) input.value = "";
    button.before(row);
    row.querySelector("input").focus();
  });
}
