// A yes that the policy wants somebody to look for first: the button counts down, and the server
// holds it to the time whatever the page does.
function countDown(page) {
  for (const button of page.querySelectorAll("button[data-look-left]")) {
    const words = button.textContent;
    const ready = performance.now() + Number(button.dataset.lookLeft) * 1000;
    const tick = () => {
      const left = Math.ceil((ready - performance.now()) / 1000);
      button.disabled = left > 0;
      button.textContent = left > 0 ? `${words} (${left})` : words;
      if (left > 0) setTimeout(tick, 250);
      else if (button.isConnected) document.getElementById("look-left").textContent = "You can approve now.";
    };
    document.getElementById("look-left").setAttribute("role", "status");
    tick();
  }
}
countDown(document);
document.addEventListener("o-article", ({ detail }) => detail.restored || countDown(detail.article));
