// The bundle's small files, as the service packs them into one JSON object.

import type { ReadFile } from "../core/types";

export interface PackedBundle {
  readonly id: string;
  /** By path, UTF-8. */
  readonly texts: Readonly<Record<string, string>>;
  /** By path, base64. */
  readonly files: Readonly<Record<string, string>>;
}

/** Reads files out of a packed bundle. */
export function readerOf(packed: PackedBundle): ReadFile {
  return async (path) => {
    const text = packed.texts[path];
    if (text !== undefined) return new TextEncoder().encode(text).buffer as ArrayBuffer;
    const encoded = packed.files[path];
    if (encoded === undefined) throw new Error(`The packed bundle has no ${path}.`);
    return bytesOf(encoded).buffer as ArrayBuffer;
  };
}

function bytesOf(base64: string): Uint8Array {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}
