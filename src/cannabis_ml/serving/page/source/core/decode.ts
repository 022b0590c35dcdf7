// Mirrors cannabis_ml/photos/decode.py with the browser's own decoders; the only file of the core
// that needs a browser. It runs in windows and workers alike.

import { isLying, storedRegion, turned, webpWithoutExif } from "./orientation";
import { PhotoBuilder } from "./photo";
import type { Region } from "./resize";
import { PhotoError, type Photo, type Pixels } from "./types";

/** Pixels as they are in the file: neither the screen's colors nor alpha change them. */
const AS_STORED: ImageBitmapOptions = {
  imageOrientation: "from-image",
  premultiplyAlpha: "none",
  colorSpaceConversion: "none",
};

/** Rows at once: 12 megapixels would need a canvas of 48 MB, which iOS refuses. */
const STRIP = 256;

/** Width x height above which a photo is refused, as by `photos.decode.MAX_PIXELS`. */
const MOST_PIXELS = 200_000_000;

/**
 * Decode a photo to what models and checks need of it, upright and on white.
 *
 * @param sides Of the squares that models see.
 * @throws PhotoError where the browser finds no photo in it.
 */
export async function decodePhoto(blob: Blob, sides: Iterable<number>): Promise<Photo> {
  const { file, orientation } = await untouched(blob);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, AS_STORED);
  } catch (error) {
    throw new PhotoError(`The file is no photo that this browser reads (${String(error)}).`);
  }
  try {
    return readStrips(bitmap, orientation, sides);
  } finally {
    bitmap.close();
  }
}

/** The file as the browser may turn it, and the orientation that is left to apply. */
async function untouched(blob: Blob): Promise<{ file: Blob; orientation: number }> {
  const start = new Uint8Array(await blob.slice(0, 12).arrayBuffer());
  const isWebp = webpWithoutExif(start) !== null;
  const found = isWebp ? webpWithoutExif(new Uint8Array(await blob.arrayBuffer())) : null;
  if (!found || found.orientation === 1) return { file: blob, orientation: 1 };
  const file = new Blob([found.bytes as Uint8Array<ArrayBuffer>], { type: "image/webp" });
  return { file, orientation: found.orientation };
}

function readStrips(bitmap: ImageBitmap, orientation: number, sides: Iterable<number>): Photo {
  if (bitmap.width * bitmap.height > MOST_PIXELS) {
    throw new PhotoError(`The photo has ${bitmap.width} x ${bitmap.height} pixels: too many.`);
  }
  const lying = isLying(orientation);
  const width = lying ? bitmap.height : bitmap.width;
  const height = lying ? bitmap.width : bitmap.height;
  const builder = new PhotoBuilder({ width, height }, sides);
  const read = reader(bitmap, storedRegion(orientation, bitmap, 0, Math.min(STRIP, height)));
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    builder.push(turned(orientation, read(storedRegion(orientation, bitmap, top, rows))), top);
  }
  return builder.result();
}

/** Reads regions that are no larger than the first, with one canvas. */
function reader(bitmap: ImageBitmap, first: Region): (region: Region) => Pixels {
  const context = contextOf(first.width, first.height);
  context.imageSmoothingEnabled = false;
  return ({ left, top, width, height }) => {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    return { width, height, channels: 4, data };
  };
}

function contextOf(width: number, height: number): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(width, height).getContext("2d", {
    alpha: false,
    willReadFrequently: true,
  });
  if (!context) throw new PhotoError("This browser gives no canvas to read photos with.");
  return context;
}
