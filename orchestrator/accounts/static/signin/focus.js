// The admin's pages are hidden until Alpine has begun, and by then the browser has given up on
// autofocus. Alpine may have begun before this is read: the page's load comes after both.
const focus = () => {
  if (document.activeElement === document.body) document.querySelector("[autofocus]")?.focus();
};
document.addEventListener("alpine:initialized", () => requestAnimationFrame(focus));
window.addEventListener("load", () => setTimeout(focus));
