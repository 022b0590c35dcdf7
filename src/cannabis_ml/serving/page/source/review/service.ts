// What the review page asks of the service: the queue and its photos.

import { headersOf } from "../shared/address";
import type { Caller } from "../shared/protocol";
import type { Head } from "../core/wire";

export interface SuggestedHead {
  readonly label: string | string[] | null;
  readonly confidence: number | null;
}

export interface Suggestion {
  readonly bundle_id: string;
  readonly tier: string;
  readonly heads: Readonly<Record<string, SuggestedHead>>;
}

export interface QueuePhoto {
  readonly photo_id: string;
  readonly kind: string;
  readonly reason: string;
  /** Accuracy is measured by it: neither reason nor suggestion are shown unasked. */
  readonly blind: boolean;
  readonly suggestion: Suggestion | null;
}

export interface QueuePage {
  readonly waiting: number;
  readonly heads: readonly Head[];
  readonly names: Readonly<Record<string, Record<string, string>>>;
  readonly photos: readonly QueuePhoto[];
}

/** `key`: another key is needed; `store`: there is none; `gone`: not up; `away`: try again. */
export type Fault = "key" | "store" | "gone" | "away";

export class ReviewError extends Error {
  constructor(readonly fault: Fault) {
    super(fault);
  }
}

const DEADLINE_MS = 20_000;
const WITHOUT_STORE_S = 600;

export async function queue(caller: Caller, limit: number): Promise<QueuePage> {
  const person = encodeURIComponent(caller.person);
  return (await get(`/v2/queue?person=${person}&limit=${limit}`, caller)).json() as Promise<QueuePage>;
}

export async function photo(id: string, caller: Caller): Promise<Blob> {
  const side = Math.min(2048, Math.max(640, Math.ceil(devicePixelRatio * Math.max(innerWidth, innerHeight) * 0.7)));
  return (await get(`/v2/photos/${id}?side=${side}`, caller)).blob();
}

async function get(path: string, caller: Caller): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      headers: headersOf(caller),
      cache: "no-store",
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  } catch {
    throw new ReviewError("away");
  }
  if (response.ok) return response;
  if (response.status === 401 || response.status === 403) throw new ReviewError("key");
  if (response.status === 404 || response.status === 422) throw new ReviewError("gone");
  // Where no store is set up, the service asks to come again after an hour.
  const after = Number(response.headers.get("retry-after"));
  throw new ReviewError(response.status === 503 && after > WITHOUT_STORE_S ? "store" : "away");
}
