// "Tell me on this device": asks the browser for its permission and for a subscription, and posts
// that as the form does.
"use strict";
(() => {
  const form = document.querySelector("form[data-push-key]");
  if (!form) return;
  const button = form.querySelector("button");
  const said = form.querySelector("[role=status]");
  const say = (words) => { said.textContent = words; };

  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    say("This browser can't show notifications. On an iPhone or iPad, add this site to the home screen first.");
    return;
  }
  const scope = new URL("./", new URL(form.dataset.pushWorker, location.href)).pathname;

  const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
  const isSame = (one, other) => one && new Uint8Array(one).join() === other.join();

  async function digest(text) {
    const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return [...new Uint8Array(bytes)].map((each) => each.toString(16).padStart(2, "0")).join("");
  }

  // A device that is listed needs no button: it is said to be this one.
  async function findThisDevice() {
    const registration = await navigator.serviceWorker.getRegistration(scope);
    const subscription = await registration?.pushManager.getSubscription();
    if (!subscription) return null;
    return document.querySelector(`[data-endpoint="${await digest(subscription.endpoint)}"]`);
  }

  async function subscribe() {
    if (await Notification.requestPermission() !== "granted") {
      say("This browser blocks notifications of this site. Allow them in its settings, then try again.");
      return;
    }
    const registration = await navigator.serviceWorker.register(form.dataset.pushWorker, { scope });
    await navigator.serviceWorker.ready;
    const key = decode(form.dataset.pushKey);
    const former = await registration.pushManager.getSubscription();
    if (former && !isSame(former.options.applicationServerKey, key)) await former.unsubscribe();
    const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    form.elements.subscription.value = JSON.stringify(subscription);
    form.submit();
  }

  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await subscribe();
    } catch {
      say("The browser's push service could not be reached. Try again later.");
    }
    button.disabled = false;
  });

  (async () => {
    const device = await findThisDevice().catch(() => null);
    if (device) device.append(" (this device)");
    else button.hidden = false;
  })();
})();
