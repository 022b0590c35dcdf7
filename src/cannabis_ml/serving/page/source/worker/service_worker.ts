// Keeps the page and one bundle for use without a network. The cache is named by both; a new one is
// filled before it replaces the old one, so that page, models and golden answers change together.
//
// The server writes `self.BUNDLE`, the bundle's id, before this script: it changes with either.

import {
  BUNDLE_NOW,
  FETCHED,
  headersOf,
  modelPath,
  packedPath,
  packedTierPath,
} from "../shared/address";
import { record, send, waiting } from "../shared/feedback_queue";
import { callerOf } from "../shared/identity";
import type { PackedBundle } from "../shared/packed";
import { runtimeVariant } from "../shared/relaxed_simd";

declare const self: ServiceWorkerGlobalScope & { BUNDLE: string };
declare const PAGE_VERSION: string;
declare const PAGE_FILES: readonly string[];
declare const LITERT_FOLDER: string;

const PREFIX = "page-";
const CACHE = `${PREFIX}${PAGE_VERSION}-${self.BUNDLE.slice(0, 16)}`;
const SHELL = "/";

self.addEventListener("install", (event) => event.waitUntil(fill()));

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        const isOld = name.startsWith(PREFIX) ? name !== CACHE : name === FETCHED;
        if (isOld) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("message", ({ data }) => {
  if (data === "take over") void self.skipWaiting();
});

// Browsers that know this event have it once there is a network, also with the page closed.
self.addEventListener("sync" as "message", (event) => event.waitUntil(sendFeedback()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (request.mode === "navigate" && url.pathname === "/") {
    event.respondWith(kept(SHELL, request));
  } else if (isKept(url.pathname)) {
    event.respondWith(kept(url.pathname, request));
  }
});

const isKept = (path: string): boolean =>
  path === BUNDLE_NOW ||
  path.startsWith("/assets/") ||
  path.startsWith(`/v2/bundles/${self.BUNDLE}/`) ||
  path === "/manifest.webmanifest";

async function kept(path: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(path)) ?? fetch(request);
}

async function sendFeedback(): Promise<void> {
  const done = await send();
  await record(done);
  for (const client of await self.clients.matchAll()) client.postMessage(done);
  // Rejected, the browser tries again later.
  if ((await waiting()).some((each) => each.notBefore <= Date.now())) throw new Error("Not yet.");
}

async function fill(): Promise<void> {
  const caller = await callerOf();
  const headers = headersOf(caller);
  const cache = await caches.open(CACHE);
  const runtime = `${LITERT_FOLDER}${runtimeVariant()}`;
  const files = PAGE_FILES.filter((path) => path !== "/index.html" && path !== "/page.json");
  await cache.addAll([
    new Request(SHELL, { cache: "no-cache" }),
    ...files,
    `${runtime}.js`,
    `${runtime}.wasm`,
  ]);

  const now = await fetch(BUNDLE_NOW, { headers, cache: "no-store" });
  const about = (await now.clone().json()) as { id: string };
  // Bundles were exchanged meanwhile: the next look for updates finds the new one.
  if (about.id !== self.BUNDLE) throw new Error("Another bundle is served by now.");
  const packed = await fetched(packedPath(self.BUNDLE), headers);
  const { tiers } = (await packed.clone().json()) as PackedBundle;
  await cache.put(packedPath(self.BUNDLE), packed);
  const [, ...larger] = tiers;
  for (const path of [
    ...tiers.map((tier) => modelPath(self.BUNDLE, tier)),
    ...larger.map((tier) => packedTierPath(self.BUNDLE, tier)),
  ]) {
    await cache.put(path, await fetched(path, headers));
  }
  await cache.put(BUNDLE_NOW, now);
}

/** From where the page put it, or from the service. */
async function fetched(path: string, headers: Record<string, string>): Promise<Response> {
  const there = await caches.match(path, { cacheName: FETCHED });
  if (there) return there;
  const response = await fetch(path, { headers });
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  return response;
}
