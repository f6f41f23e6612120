// Asks the browser for a passkey: to register one, to sign in, and to sign a vote. A form says which
// by data-passkey; its answer goes into the form's hidden field, and the form is sent as always.
"use strict";
(() => {
  const VERBS = ["approve", "reject", "request_changes"];
  /* What a form held when it was signed: a later change of it is signed anew. */
  const signed = new WeakMap();

  const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
  const encode = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const decodeIds = (list) => (list ?? []).map((each) => ({ ...each, id: decode(each.id) }));

  class Problem extends Error {}

  async function create(options) {
    const publicKey = {
      ...options,
      challenge: decode(options.challenge),
      user: { ...options.user, id: decode(options.user.id) },
      excludeCredentials: decodeIds(options.excludeCredentials),
    };
    const { id, response } = await navigator.credentials.create({ publicKey });
    return {
      credential_id: id,
      attestation_object: encode(response.attestationObject),
      client_data_json: encode(response.clientDataJSON),
      transports: response.getTransports?.() ?? [],
    };
  }

  async function get(options) {
    const publicKey = { ...options, challenge: decode(options.challenge), allowCredentials: decodeIds(options.allowCredentials) };
    const { id, response } = await navigator.credentials.get({ publicKey });
    return {
      credential_id: id,
      authenticator_data: encode(response.authenticatorData),
      client_data_json: encode(response.clientDataJSON),
      signature: encode(response.signature),
    };
  }

  /* The options of a ceremony; null where the server would refuse the form without it as well. */
  async function fetchOptions(form, body) {
    const headers = { "Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
    let answer;
    try {
      answer = await fetch(form.dataset.passkeyOptions, { method: "POST", body, headers, redirect: "manual", credentials: "same-origin", cache: "no-store" });
    } catch {
      throw new Problem("The server could not be reached. Try again.");
    }
    // Signed out, too many requests, a page too old: sending the form tells it.
    if (!answer.headers.get("Content-Type")?.startsWith("application/json")) return null;
    const given = await answer.json();
    if (given.problem) throw new Problem(given.problem);
    return given.options ?? null;
  }

  function explain(error, isNew) {
    if (error instanceof Problem) return error.message;
    switch (error.name) {
      case "NotAllowedError": return isNew ? "No passkey was made: it was cancelled or took too long." : "The passkey was not used: it was cancelled, took too long or is not on this device.";
      case "InvalidStateError": return "This device has a passkey of yours already.";
      case "SecurityError": return "The browser does not use passkeys at this address.";
      default: return "The browser could not use the passkey.";
    }
  }

  function say(form, words, isProblem = false) {
    const place = form.querySelector("[data-passkey-status]");
    place.classList.toggle("o-problem", isProblem);
    // The same words again would not be read out.
    place.textContent = "";
    setTimeout(() => {
      place.textContent = words;
      if (isProblem) place.scrollIntoView({ block: "center" });
    });
  }

  /* Ask for the passkey, and send the form with what it answers. */
  async function ask(form, button, body) {
    const isNew = form.dataset.passkey === "create";
    const buttons = [...form.querySelectorAll("button")].filter((each) => !each.disabled);
    const setBusy = (busy) => buttons.forEach((each) => { each.disabled = busy; });
    setBusy(true);
    try {
      if (!window.PublicKeyCredential) throw new Problem("This browser can't use passkeys.");
      const options = await fetchOptions(form, body);
      if (options) {
        say(form, "Waiting for your passkey…");
        form.elements.assertion.value = JSON.stringify(await (isNew ? create : get)(options));
      }
      say(form, "");
    } catch (error) {
      const nothing = form.dataset.passkey === "vote" ? " Nothing was decided." : "";
      say(form, explain(error, isNew) + nothing, true);
      setBusy(false);
      button.focus({ preventScroll: true });
      return;
    }
    setBusy(false);
    signed.set(form, body);
    form.requestSubmit(button);
  }

  // On the window, so that this comes before whatever else sends forms.
  window.addEventListener("submit", (event) => {
    const { target: form, submitter: button } = event;
    const what = form.dataset?.passkey;
    if (event.defaultPrevented || !what || !button || (what === "vote" && !VERBS.includes(button.value))) return;
    const fields = new URLSearchParams(new FormData(form, button));
    fields.delete("csrfmiddlewaretoken");
    fields.delete("assertion");
    const body = fields.toString();
    if (signed.get(form) === body) {
      // Only once: the next attempt is another ceremony.
      signed.delete(form);
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    form.elements.assertion.value = "";
    ask(form, button, body);
  }, true);
})();
