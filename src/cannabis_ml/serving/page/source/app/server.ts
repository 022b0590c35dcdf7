// What the page asks of the service: a report by the largest tier, a heat map, an explanation.

import type { PhotoReport } from "../core/wire";
import { detailOf, headersOf } from "../shared/address";
import type { Caller } from "../shared/protocol";

const DEADLINE_MS = 30_000;

export type ServerFault = "away" | "busy" | "key" | "refused";

export class ServerError extends Error {
  /**
   * @param retryAfter Seconds until it may be asked again; null where nobody knows.
   */
  constructor(
    readonly fault: ServerFault,
    detail: string,
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }
}

export interface ServerReport {
  readonly report: PhotoReport;
  readonly milliseconds: number;
  /** Which bundle answered; null where the service does not tell. */
  readonly bundle: string | null;
}

/** Ask for a report by the largest tier. */
export async function analyze(photo: Blob, language: string, caller: Caller): Promise<ServerReport> {
  const began = performance.now();
  const response = await post(`/v2/analyze?language=${language}`, photo, caller);
  const report = (await response.json()) as PhotoReport;
  return {
    report,
    milliseconds: performance.now() - began,
    bundle: response.headers.get("x-bundle"),
  };
}

/** Ask for a picture of what the answer rests on. */
export async function heatMap(photo: Blob, caller: Caller): Promise<Blob> {
  return (await post("/v2/heat-map", photo, caller)).blob();
}

/** What a language model makes of a report, in plain words. */
export interface Explanation {
  readonly text: string;
  readonly treatments: readonly {
    readonly rule: string;
    readonly wording: string;
    readonly source: string;
    readonly date: string;
  }[];
  /** Which language model wrote it. */
  readonly model: string;
}

/** Which language model explains answers here; null where none does, or nobody knows. */
export async function explainer(caller: Caller): Promise<string | null> {
  try {
    const response = await fetch("/v2/explain", { headers: headersOf(caller) });
    if (!response.ok) return null;
    const found = (await response.json()) as { available: boolean; model: string | null };
    return found.available ? found.model : null;
  } catch {
    return null; // without a network
  }
}

/** Have an answer explained: the photo goes to the language model, without its metadata. */
export async function explain(photo: Blob, language: string, caller: Caller): Promise<Explanation> {
  const response = await post(`/v2/explain?language=${language}`, photo, caller);
  return (await response.json()) as Explanation;
}

async function post(path: string, photo: Blob, caller: Caller): Promise<Response> {
  const type = photo.type.startsWith("image/") ? photo.type : "application/octet-stream";
  let response: Response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { ...headersOf(caller), "content-type": type },
      body: photo,
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  } catch (error) {
    throw new ServerError("away", error instanceof Error ? error.message : String(error));
  }
  if (response.ok) return response;
  const detail = await detailOf(response);
  const after = Number(response.headers.get("retry-after")) || null;
  if (response.status === 401) throw new ServerError("key", detail);
  if ([408, 429, 500, 502, 503, 504].includes(response.status)) {
    throw new ServerError("busy", detail, after);
  }
  throw new ServerError("refused", detail);
}
