// Answered photos: in memory while the page is open, and without the photo itself on the device.

import type { PhotoReport } from "../core/wire";
import { settled, type Said, type Sent } from "../shared/feedback_queue";
import type { Fault } from "../shared/protocol";
import { all, clear, put, remove } from "../shared/database";
import { hexadecimal } from "../shared/identity";
import type { Explanation } from "./server";

export interface Answered {
  readonly report: PhotoReport;
  readonly where: "device" | "server";
  readonly milliseconds: number;
  /** Id of the bundle that answered. */
  readonly bundle: string;
}

/** What goes on at the server. */
export type Asking =
  | { readonly state: "asking" }
  | { readonly state: "away" }
  | { readonly state: "busy"; readonly seconds: number }
  | { readonly state: "failed"; readonly detail: string };

/** What a language model makes of the answer. */
export type Explaining =
  | { readonly state: "asking" }
  | { readonly state: "there"; readonly explanation: Explanation };

export interface Photo {
  readonly id: string;
  readonly at: number;
  readonly name: string;
  /** SHA-256 of the file; null where the browser computes none. */
  photoId: string | null;
  /** A small JPEG. */
  thumbnail: Blob | null;
  /** The first answer first; the last one is shown. */
  answers: Answered[];
  fault: { readonly fault: Fault; readonly detail: string } | null;
  /** By head. */
  said: Record<string, Said>;

  // Gone when the page is closed:
  file?: File;
  /** What the largest tier sees, where it should be asked. */
  input?: Blob | null;
  /** Missing where the server was not asked, or has answered. */
  asking?: Asking;
  url?: string;
  small?: string;
  heatMap?: string;
  explained?: Explaining;
}

const KEPT = 200;
const shown: Photo[] = [];

/** Newest first. */
export const photos = (): readonly Photo[] => shown;
export const photoOf = (id: string): Photo | undefined => shown.find((each) => each.id === id);
export const lastAnswer = (photo: Photo): Answered | undefined =>
  photo.answers[photo.answers.length - 1];

export async function load(): Promise<void> {
  const kept = await all<Photo>("photos");
  kept.sort((a, b) => b.at - a.at);
  shown.push(...kept);
}

/** Show what became of submissions. */
export function settle(done: readonly Sent[]): void {
  for (const photo of shown) photo.said = settled(photo.said, done) ?? photo.said;
}

/** Submissions that no one waits for any more were sent: the page was closed before it noted so. */
export function settleAllBut(waiting: ReadonlySet<string>): void {
  const keys = shown.flatMap((photo) => Object.values(photo.said));
  const lost = keys.filter((each) => each.state === "waiting" && !waiting.has(each.key));
  settle(lost.map(({ key }) => ({ key, state: "sent" })));
}

export function add(photo: Photo): void {
  shown.unshift(photo);
}

/** Keep what is to be kept; the oldest goes where there are too many. */
export async function save(photo: Photo): Promise<void> {
  if (!shown.includes(photo)) return;
  const { id, at, name, photoId, thumbnail, answers, fault, said } = photo;
  await put("photos", { id, at, name, photoId, thumbnail, answers, fault, said });
  for (const old of shown.splice(KEPT)) await remove("photos", old.id);
}

export async function forgetPhoto(photo: Photo): Promise<void> {
  release(photo);
  shown.splice(shown.indexOf(photo), 1);
  await remove("photos", photo.id);
}

export async function forgetAll(): Promise<void> {
  shown.forEach(release);
  shown.length = 0;
  await clear("photos");
}

/** Address of the picture: the photo itself as long as it is there, then the small one. */
export function pictureOf(photo: Photo): string | null {
  const picture = photo.file && photo.fault?.fault !== "no_photo" ? photo.file : photo.thumbnail;
  if (!photo.url && picture) photo.url = URL.createObjectURL(picture);
  return photo.url ?? null;
}

/** Address of the small picture, for lists: a dozen whole photos would take a phone's memory. */
export function smallPictureOf(photo: Photo): string | null {
  if (!photo.small && photo.thumbnail) photo.small = URL.createObjectURL(photo.thumbnail);
  return photo.small ?? null;
}

function release(photo: Photo): void {
  for (const url of [photo.url, photo.small, photo.heatMap]) if (url) URL.revokeObjectURL(url);
}

const THUMBNAIL = 320;

/** A JPEG of at most 320 pixels a side; null where the browser gives none. */
export async function thumbnailOf(file: Blob): Promise<Blob | null> {
  try {
    const whole = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, THUMBNAIL / Math.max(whole.width, whole.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(whole.width * scale));
    canvas.height = Math.max(1, Math.round(whole.height * scale));
    canvas.getContext("2d")?.drawImage(whole, 0, 0, canvas.width, canvas.height);
    whole.close();
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
  } catch {
    return null;
  }
}

/** SHA-256 of a file, hexadecimal; null over plain http, where browsers compute none. */
export async function hashOf(file: Blob): Promise<string | null> {
  if (!crypto.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return hexadecimal(new Uint8Array(digest));
}
