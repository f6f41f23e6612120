// Times that go on counting: <time data-live> as the filters left, due and ago draw it
// (templatetags/approvals.py). At zero a deadline says data-passed and sends "o-due-passed".
"use strict";
(() => {
  const SECONDS_SHOWN = 120; // below this, every second counts
  const AMBER = 0.25;
  const RED = 0.1;
  const passed = new WeakSet();
  let timer;

  // By how many seconds the server's clock is ahead of the browser's, which may be wrong.
  const sent = performance.getEntriesByType("navigation")[0]?.serverTiming?.find((each) => each.name === "now");
  const ahead = sent ? sent.duration - Date.now() / 1000 : 0;

  function join(large, unit, small, smaller) {
    return small ? `${large} ${unit} ${small} ${smaller}` : `${large} ${unit}`;
  }
  // The same words as audit_app/base/times.py.
  function formatLength(seconds) {
    const [minutes, hours, days] = [60, 3600, 86400].map((size) => Math.floor(seconds / size));
    if (days) return join(days, "d", hours % 24, "h");
    if (hours) return join(hours, "h", minutes % 60, "min");
    if (seconds >= SECONDS_SHOWN) return `${minutes} min`;
    return minutes ? join(minutes, "min", seconds % 60, "s") : `${seconds} s`;
  }

  const write = (time, words) => { if (time.textContent !== words) time.textContent = words; };

  // Each returns the seconds until its words change; Infinity once they don't.
  function countUp(time, now) {
    const since = Math.max(0, Math.floor(now - Date.parse(time.dateTime) / 1000));
    write(time, since < 60 ? "just now" : `${formatLength(since)} ago`);
    return 60 - (since % 60);
  }
  function countDown(time, now) {
    const due = Date.parse(time.dateTime) / 1000;
    const left = Math.ceil(due - now);
    if (left <= 0) {
      if (!passed.has(time)) {
        passed.add(time);
        write(time, time.dataset.passed);
        time.classList.remove("o-soon");
        time.classList.add("o-urgent");
        time.dispatchEvent(new CustomEvent("o-due-passed", { bubbles: true }));
      }
      return Infinity;
    }
    write(time, time.dataset.live.replace("{}", formatLength(left)));
    if (time.dataset.from) {
      const share = (due - now) / (due - Date.parse(time.dataset.from) / 1000);
      time.classList.toggle("o-urgent", share <= RED);
      time.classList.toggle("o-soon", share > RED && share <= AMBER);
    }
    return left <= SECONDS_SHOWN ? 1 : Math.min(60, (left % 60) + 1);
  }

  function tick() {
    clearTimeout(timer);
    const times = [...document.querySelectorAll("time[data-live]")];
    const now = Date.now() / 1000 + ahead;
    const pauses = times.map((time) => (time.dataset.live === "ago" ? countUp : countDown)(time, now));
    timer = setTimeout(tick, Math.min(20, ...pauses) * 1000);
  }

  // For the next page: until a person chooses a time zone, the server tells them their browser's.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = `time_zone=${encodeURIComponent(zone)}; path=/admin/; max-age=31536000; SameSite=Lax`;

  document.addEventListener("DOMContentLoaded", tick);
  for (const swapped of ["htmx:afterSettle", "o-article"]) document.addEventListener(swapped, tick);
  document.addEventListener("visibilitychange", tick); // timers of a hidden page are slowed down
  addEventListener("pageshow", (event) => { if (event.persisted) tick(); });
})();
