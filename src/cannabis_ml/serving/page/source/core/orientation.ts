// Mirrors the turning of cannabis_ml/photos/decode.py. Browsers turn JPEG and others by their EXIF
// orientation; of WebP none does, and one that did would turn twice: it gets the file without EXIF.

import type { Pixels } from "./types";
import type { Region, Size } from "./resize";

const UPRIGHT = 1;
const ORIENTATION_TAG = 0x0112;
const SHORT = 3;
/** Bit of the VP8X header that tells of an EXIF chunk. */
const HAS_EXIF = 0x08;

export interface TurnedFile {
  readonly bytes: Uint8Array;
  /** EXIF orientation that nobody applies to `bytes`, 1 to 8. */
  readonly orientation: number;
}

/** A WebP file without its EXIF block, and that block's orientation; null for other files. */
export function webpWithoutExif(file: Uint8Array): TurnedFile | null {
  if (text(file, 0, 4) !== "RIFF" || text(file, 8, 4) !== "WEBP") return null;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const bytes = file.slice();
  let orientation = UPRIGHT;
  for (let at = 12; at + 8 <= file.length; ) {
    const name = text(file, at, 4);
    const size = view.getUint32(at + 4, true);
    if (name === "VP8X" && at + 8 < file.length) bytes[at + 8] &= ~HAS_EXIF;
    if (name === "EXIF") {
      orientation = orientationOf(file.subarray(at + 8, at + 8 + size));
      bytes.set([0x78, 0x78, 0x78, 0x78], at); // a chunk that readers pass over
    }
    at += 8 + size + (size % 2);
  }
  return { bytes, orientation };
}

/** Of an EXIF block; 1 where it is broken or has none. */
function orientationOf(block: Uint8Array): number {
  const from = text(block, 0, 6) === "Exif\0\0" ? 6 : 0;
  const view = new DataView(block.buffer, block.byteOffset + from, block.length - from);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let i = view.getUint16(directory, little); i > 0; i--) {
      const entry = directory + 2 + 12 * (i - 1);
      if (view.getUint16(entry, little) !== ORIENTATION_TAG) continue;
      if (view.getUint16(entry + 2, little) !== SHORT) return UPRIGHT;
      const found = view.getUint16(entry + 8, little);
      return found >= 1 && found <= 8 ? found : UPRIGHT;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // pixels may be sound beside a broken block
  }
  return UPRIGHT;
}

/** Whether width and height change places. */
export function isLying(orientation: number): boolean {
  return orientation >= 5;
}

/** Where in the stored photo rows `top` to `top + height` of the upright one come from. */
export function storedRegion(orientation: number, stored: Size, top: number, height: number): Region {
  const { width, height: rows } = stored;
  switch (orientation) {
    case 3:
    case 4:
      return { left: 0, top: rows - top - height, width, height };
    case 5:
    case 6:
      return { left: top, top: 0, width: height, height: rows };
    case 7:
    case 8:
      return { left: width - top - height, top: 0, width: height, height: rows };
    default:
      return { left: 0, top, width, height };
  }
}

/** Rows of the upright photo, from the pixels of their `storedRegion`. */
export function turned(orientation: number, stored: Pixels): Pixels {
  if (orientation === UPRIGHT) return stored;
  const { channels, data } = stored;
  const lying = isLying(orientation);
  const width = lying ? stored.height : stored.width;
  const height = lying ? stored.width : stored.height;
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const found = new Uint8Array(width * height * channels);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = lying ? y : x;
      const row = lying ? x : y;
      const left = fromRight ? stored.width - 1 - column : column;
      const top = fromBottom ? stored.height - 1 - row : row;
      const from = (top * stored.width + left) * channels;
      for (let c = 0; c < channels; c++) found[to++] = data[from + c];
    }
  }
  return { width, height, channels, data: found };
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
