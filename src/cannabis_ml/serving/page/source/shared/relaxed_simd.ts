// Which variant of the runtime this browser runs.

/** A module of one function, with i8x16.relaxed_swizzle: the probe of LiteRT.js itself. */
const PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253,
  15, 65, 2, 253, 15, 253, 128, 2, 11,
]);

/** File of the runtime, without its suffix. */
export function runtimeVariant(): string {
  return WebAssembly.validate(PROBE) ? "litert_wasm_internal" : "litert_wasm_compat_internal";
}
