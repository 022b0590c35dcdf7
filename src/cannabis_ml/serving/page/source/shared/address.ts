// Where the page finds what it reads of the service.

import type { Caller } from "./protocol";

export const KEY_HEADER = "x-api-key";
export const PERSON_HEADER = "x-person";

/** Cache of what the page fetched before its service worker was there. */
export const FETCHED = "fetched";

export const BUNDLE_NOW = "/v2/bundle";
export const packedPath = (bundle: string): string => `/v2/bundles/${bundle}/page`;
export const modelPath = (bundle: string, tier: string): string =>
  `/v2/bundles/${bundle}/tiers/${encodeURIComponent(tier)}`;
export const packedTierPath = (bundle: string, tier: string): string =>
  `${modelPath(bundle, tier)}/page`;

/** Headers that say who asks. */
export function headersOf(caller: Caller): Record<string, string> {
  const headers: Record<string, string> = { [PERSON_HEADER]: caller.person };
  if (caller.key) headers[KEY_HEADER] = caller.key;
  return headers;
}

/** Why the service refused, in its own words. */
export async function detailOf(response: Response): Promise<string> {
  const problem = (await response.json().catch(() => ({}))) as { detail?: string };
  return problem.detail ?? `status ${response.status}`;
}
