// Lets a browser decode files that Python wrote: `await decoded(file, sides)`.

import { decodePhoto } from "CORE/decode";
import type { Pixels } from "CORE/types";

interface Found {
  width: number;
  height: number;
  inputs: string[];
  small: { width: number; height: number; data: string };
  milliseconds: number;
}

function textOf(bytes: Uint8Array | Uint8ClampedArray): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
}

async function decoded(file: string, sides: number[]): Promise<Found | string> {
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  const start = performance.now();
  try {
    const photo = await decodePhoto(new Blob([bytes]), sides);
    const { data, ...small }: Pixels = photo.small;
    return {
      width: photo.width,
      height: photo.height,
      inputs: sides.map((side) => textOf(photo.inputs.get(side) as Uint8Array)),
      small: { ...small, data: textOf(data) },
      milliseconds: performance.now() - start,
    };
  } catch (error) {
    return String(error);
  }
}

Object.assign(globalThis, { decoded });
