// The admin's pages are hidden until Alpine has begun, and by then the browser has given up on
// autofocus.
document.addEventListener("alpine:initialized", () => {
  requestAnimationFrame(() => document.querySelector("[autofocus]")?.focus());
});
