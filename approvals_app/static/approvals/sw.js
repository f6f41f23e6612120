// Shows notifications that the server pushes, and opens the page of what was touched. It answers no
// request, keeps nothing and decides nothing. Served at /admin/sw.js, for its scope.
"use strict";
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const { title, body, path } = event.data.json();
  event.waitUntil(self.registration.showNotification(title, { body, tag: path, renotify: true, data: path }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = new URL(event.notification.data, self.location.origin);
  event.waitUntil((async () => {
    const open = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const same = open.find((each) => new URL(each.url).pathname === url.pathname);
    return same ? same.focus() : self.clients.openWindow(url.href);
  })());
});
