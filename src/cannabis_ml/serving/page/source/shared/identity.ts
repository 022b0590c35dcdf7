// The pseudonym of this device, and the API key that somebody typed in.

import { get, put, remove } from "./database";
import type { Caller } from "./protocol";

/** A random text of 128 bits; `crypto.randomUUID` is only there over https. */
export function randomId(): string {
  return hexadecimal(crypto.getRandomValues(new Uint8Array(16)));
}

/** Two digits a byte. */
export function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Who asks: a pseudonym that is drawn at the first visit, and kept. */
export async function callerOf(): Promise<Caller> {
  let person = await get<string>("settings", "person");
  if (!person) {
    person = `p-${randomId()}`;
    await put("settings", person, "person");
  }
  return { person, key: (await get<string>("settings", "key")) ?? null };
}

export const keepKey = (key: string): Promise<void> => put("settings", key, "key");

/** Draw another pseudonym. */
export const forget = (): Promise<void> => remove("settings", "person");
