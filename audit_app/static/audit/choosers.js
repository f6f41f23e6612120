// Django's two lists to choose from explain their icons by labels on elements that may have none.
// They are made when the page is loaded, by whoever listens before us or after us.
window.addEventListener("load", () => setTimeout(() => {
  for (const icon of document.querySelectorAll(".help-tooltip[aria-label]")) icon.setAttribute("role", "img");
}));
