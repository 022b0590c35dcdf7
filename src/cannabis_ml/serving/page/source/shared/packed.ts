// The bundle's small files, as the service packs them into one JSON object.

import type { ReadFile } from "../core/types";

export interface PackedBundle {
  readonly id: string;
  /** Tiers that run in a browser, smallest first. */
  readonly tiers: readonly string[];
  /** By path, UTF-8. */
  readonly texts: Readonly<Record<string, string>>;
  /** By path, base64. */
  readonly files: Readonly<Record<string, string>>;
}

/** Reads files out of packed bundles; more of them may be added later. */
export function readerOf(packs: readonly PackedBundle[]): ReadFile {
  return async (path) => {
    for (const { texts, files } of packs) {
      const text = texts[path];
      if (text !== undefined) return new TextEncoder().encode(text).buffer as ArrayBuffer;
      const encoded = files[path];
      if (encoded !== undefined) return bytesOf(encoded).buffer as ArrayBuffer;
    }
    throw new Error(`The packed bundle has no ${path}.`);
  };
}

function bytesOf(base64: string): Uint8Array {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}
