// LiteRT.js with one thread: more threads do not pay for networks of this size, and would need the
// page to be isolated from all others.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import type { RawOutputs, RunModel } from "../core/types";
import { runtimeVariant } from "../shared/relaxed_simd";

declare const LITERT_FOLDER: string;

/** Load the runtime, once. */
export async function openRuntime(): Promise<void> {
  const own = self as unknown as { Module?: { locateFile(name: string): string } };
  // Else the .wasm is looked for beside the worker's own file.
  own.Module = { locateFile: (name) => LITERT_FOLDER + name };
  // The graphics processor is not asked for: its answers differ by more than the tolerance.
  Object.defineProperty(self.navigator, "gpu", { value: undefined, configurable: true });
  await quietly(() => loadLiteRt(`${LITERT_FOLDER}${runtimeVariant()}.js`));
}

/**
 * Open a model file.
 *
 * @param data A TFLite file that takes uint8 (1, S, S, 3).
 */
export async function openModel(data: Uint8Array): Promise<RunModel> {
  const model = await quietly(() =>
    loadAndCompile(data, { accelerator: "wasm", cpuOptions: { numThreads: 1 } }),
  );
  const [taken] = model.getInputDetails();
  if (!taken) throw new Error("The model takes no input.");
  const shape = Array.from(taken.shape);
  return async (input: Uint8Array): Promise<RawOutputs> => {
    const tensor = new Tensor(input as Uint8Array<ArrayBuffer>, shape);
    try {
      const found = await model.run({ [taken.name]: tensor });
      const outputs: Record<string, Float32Array> = {};
      for (const [name, output] of Object.entries(found)) {
        const values = await output.data();
        output.delete();
        if (!(values instanceof Float32Array)) throw new Error(`'${name}' is not float32.`);
        outputs[name] = values.slice();
      }
      return outputs;
    } finally {
      tensor.delete();
    }
  };
}

/** The runtime logs what it does as errors and warnings, which nobody can act on. */
async function quietly<T>(work: () => Promise<T>): Promise<T> {
  const { error, warn } = console;
  console.error = console.warn = () => {};
  try {
    return await work();
  } finally {
    console.error = error;
    console.warn = warn;
  }
}
