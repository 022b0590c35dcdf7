// Reads what numpy.savez writes: a zip of .npy files that is not compressed.

import { BundleError } from "./types";

export interface NpyArray {
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array;
}

const END_OF_CENTRAL_DIRECTORY = 0x06054b50;
const CENTRAL_ENTRY = 0x02014b50;
const END_BYTES = 22;
const MOST_COMMENT = 0xffff;

/** The arrays of a file by name; only float32 and uint8, which unknown scores are made of. */
export function readNpz(file: ArrayBuffer): Map<string, NpyArray> {
  try {
    return readEntries(new DataView(file));
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(`The .npz file ends early or is damaged (${String(error)}).`);
  }
}

function readEntries(view: DataView): Map<string, NpyArray> {
  const end = endOfCentralDirectory(view);
  const found = new Map<string, NpyArray>();
  let at = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    if (view.getUint32(at, true) !== CENTRAL_ENTRY) throw new BundleError("No entry of a zip.");
    if (view.getUint16(at + 10, true) !== 0) throw new BundleError("The .npz is compressed.");
    const size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    const name = ascii(view, at + 46, nameLength);
    const local = view.getUint32(at + 42, true);
    // The local header has an extra field of its own.
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    found.set(name.replace(/\.npy$/, ""), readNpy(view, start, size));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return found;
}

function endOfCentralDirectory(view: DataView): number {
  const last = view.byteLength - END_BYTES;
  for (let at = last; at >= Math.max(0, last - MOST_COMMENT); at--) {
    if (view.getUint32(at, true) === END_OF_CENTRAL_DIRECTORY) return at;
  }
  throw new BundleError("This is not a zip file.");
}

function readNpy(view: DataView, start: number, size: number): NpyArray {
  if (ascii(view, start + 1, 5) !== "NUMPY") throw new BundleError("This is not a .npy array.");
  const isFirst = view.getUint8(start + 6) === 1;
  const length = isFirst ? view.getUint16(start + 8, true) : view.getUint32(start + 8, true);
  const from = start + (isFirst ? 10 : 12);
  const header = ascii(view, from, length);
  const kind = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? "";
  const sides = shape.split(",").map((side) => side.trim()).filter(Boolean).map(Number);
  const bytes = view.buffer.slice(view.byteOffset + from + length, view.byteOffset + start + size);
  const data = arrayOf(kind, bytes as ArrayBuffer);
  if (data.length !== sides.reduce((product, side) => product * side, 1)) {
    throw new BundleError(`An array of (${shape}) holds ${data.length} numbers.`);
  }
  const byColumns = /'fortran_order':\s*True/.test(header);
  return { shape: sides, data: byColumns ? byRows(data, sides) : data };
}

/** A matrix that lies column by column, row by row. */
function byRows(data: Float32Array | Uint8Array, sides: readonly number[]): Float32Array {
  if (sides.length > 2) throw new BundleError("An array of many axes lies by columns.");
  const [rows, columns] = [sides[0], sides[1] ?? 1];
  const found = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) found[i * columns + j] = data[j * rows + i];
  }
  return found;
}

function arrayOf(kind: string | undefined, bytes: ArrayBuffer): Float32Array | Uint8Array {
  if (kind === "<f4") return new Float32Array(bytes);
  if (kind === "|u1") return new Uint8Array(bytes);
  throw new BundleError(`Arrays of '${kind}' are not read here.`);
}

function ascii(view: DataView, at: number, length: number): string {
  let text = "";
  for (let i = 0; i < length; i++) text += String.fromCharCode(view.getUint8(at + i));
  return text;
}
