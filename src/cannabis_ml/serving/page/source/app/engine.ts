// From a chosen file to an answer: the device first, the server where that is not sure enough.

import type { BundleAbout, Caller, Fault, FromWorker, ToWorker } from "../shared/protocol";
import type { GoldenReport } from "../core/wire";
import { get, put } from "../shared/database";
import { randomId } from "../shared/identity";
import { language } from "./language";
import * as kept from "./photos";
import type { Photo } from "./photos";
import { analyze, ServerError } from "./server";

declare const WORKER_URL: string;

export type DeviceState =
  | { readonly state: "opening" }
  | { readonly state: "loading"; readonly share: number }
  | { readonly state: "checking" }
  | { readonly state: "ready" }
  | { readonly state: "failed"; readonly fault: Fault; readonly detail: string };

const TRIES = 3;
const LONGEST_WAIT_S = 10;
/** Files that the server may be able to read where the browser cannot. */
const PICTURE = /\.(avif|bmp|gif|heic|heif|jpe?g|jxl|png|tiff?|webp)$/i;

export class Engine {
  about: BundleAbout | null = null;
  device: DeviceState = { state: "opening" };
  reports: GoldenReport[] = [];
  /** Whether all that this device runs was fetched. */
  isComplete = false;
  /** Tiers that answer here. */
  open: string[] = [];
  private worker: Worker | undefined;

  /**
   * @param caller Who asks.
   * @param changed Called when something is to be shown, with the photo that it is about.
   * @param newer Called when the service answers from another bundle than the page's.
   */
  constructor(
    readonly caller: Caller,
    private readonly changed: (photo?: Photo) => void,
    private readonly newer: () => void,
  ) {}

  async start(): Promise<void> {
    this.worker?.terminate();
    this.device = { state: "opening" };
    this.worker = new Worker(WORKER_URL);
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => void this.told(data);
    this.worker.onerror = (event) => {
      this.fail("internal", event.message || "The worker ended.");
    };
    const checked = (await get<string>("settings", "checked")) ?? null;
    this.tell({ kind: "start", caller: this.caller, checked });
    this.changed();
  }

  /** Answer for a file; returns what will hold the answer. */
  answer(file: File): Photo {
    const photo: Photo = {
      id: randomId(),
      at: Date.now(),
      name: file.name || "photo",
      photoId: null,
      thumbnail: null,
      answers: [],
      fault: null,
      said: {},
      file,
    };
    kept.add(photo);
    this.answerAgain(photo);
    void this.describe(photo, file);
    return photo;
  }

  /** Answer for a photo that is still there, in the language that is set by now. */
  answerAgain(photo: Photo): void {
    if (!photo.file) return;
    photo.answers = [];
    photo.fault = null;
    photo.asking = undefined;
    const { id, file, name } = photo;
    this.tell({ kind: "answer", id, file, name, language: language() });
  }

  /** Ask the server for what is on the device, or for the photo itself. */
  async askServer(photo: Photo, input: Blob): Promise<void> {
    for (let tries = 1; ; tries++) {
      photo.asking = { state: "asking" };
      this.changed(photo);
      try {
        const found = await analyze(input, language(), this.caller);
        const bundle = found.bundle ?? this.about?.id ?? "";
        photo.asking = undefined;
        photo.fault = null;
        // The checks of the photo need more pixels than the model's input has.
        const seen = photo.answers[0]?.report.photo_faults;
        const report = seen ? { ...found.report, photo_faults: seen } : found.report;
        const { milliseconds } = found;
        photo.answers = [...photo.answers, { report, where: "server", milliseconds, bundle }];
        if (this.about && bundle !== this.about.id) this.newer();
        break;
      } catch (error) {
        const fault = error instanceof ServerError ? error : null;
        if (fault?.fault === "busy" && tries < TRIES) {
          const seconds = Math.min(LONGEST_WAIT_S, fault.retryAfter ?? 2 ** tries);
          photo.asking = { state: "busy", seconds };
          this.changed(photo);
          await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
          continue;
        }
        if (fault?.fault === "refused" && photo.answers.length === 0) {
          photo.asking = undefined;
          photo.fault = { fault: "no_photo", detail: fault.message };
        } else {
          const detail = error instanceof Error ? error.message : String(error);
          photo.asking = fault?.fault === "away" ? { state: "away" } : { state: "failed", detail };
        }
        break;
      }
    }
    this.changed(photo);
    await kept.save(photo);
  }

  /** Ask again for photos that the server could not be asked about. */
  retry(): void {
    for (const photo of kept.photos()) {
      if (photo.asking?.state === "away" && photo.file) void this.askServer(photo, inputOf(photo));
    }
  }

  private async describe(photo: Photo, file: File): Promise<void> {
    const [photoId, thumbnail] = await Promise.all([
      kept.hashOf(file).catch(() => null),
      kept.thumbnailOf(file),
    ]);
    photo.photoId = photoId;
    photo.thumbnail = thumbnail;
    await kept.save(photo);
    this.changed();
  }

  /** Answers that the device gave before it was found to compute otherwise than it should. */
  private takeBack(): void {
    for (const photo of kept.photos()) {
      if (!photo.file || !photo.answers.some((each) => each.where === "device")) continue;
      photo.answers = [];
      void this.askServer(photo, photo.file);
    }
  }

  private tell(message: ToWorker): void {
    this.worker?.postMessage(message);
  }

  private fail(fault: Fault, detail: string): void {
    this.device = { state: "failed", fault, detail };
    this.open = [];
    this.changed();
  }

  private async told(message: FromWorker): Promise<void> {
    switch (message.kind) {
      case "bundle":
        this.about = message.about;
        break;
      case "loading":
        this.device =
          message.share < 1 ? { state: "loading", share: message.share } : { state: "checking" };
        break;
      case "ready":
        if (this.device.state !== "failed") {
          this.device = { state: "ready" };
          this.open = (this.about?.onDevice ?? []).slice(0, 1);
        }
        break;
      case "checked":
        this.reports = message.reports;
        await put("settings", message.passed ? message.holdsFor : "", "checked");
        if (!message.passed) {
          this.fail("disagrees", "");
          this.takeBack();
          return;
        }
        break;
      case "opened":
        this.reports = [...this.reports, message.report];
        this.open = [...this.open, message.tier];
        break;
      case "complete":
        this.isComplete = true;
        break;
      case "failed":
        return this.fail(message.fault, message.detail);
      case "report":
        return this.reported(message);
      case "refused":
        return this.refused(message);
    }
    this.changed();
  }

  private async reported(message: FromWorker & { kind: "report" }): Promise<void> {
    const photo = kept.photoOf(message.id);
    if (!photo) return;
    const { report, milliseconds } = message;
    const bundle = this.about?.id ?? "";
    photo.answers = [...photo.answers, { report, where: "device", milliseconds, bundle }];
    if (!message.input) {
      this.changed(photo);
      await kept.save(photo);
    } else {
      photo.input = message.input;
      await this.askServer(photo, message.input);
    }
  }

  private async refused(message: FromWorker & { kind: "refused" }): Promise<void> {
    const photo = kept.photoOf(message.id);
    if (!photo?.file) return;
    photo.input = message.input;
    const isPicture = photo.file.type.startsWith("image/") || PICTURE.test(photo.name);
    if (message.fault === "no_photo" && !isPicture) {
      photo.fault = { fault: "no_photo", detail: "" };
      this.changed(photo);
      return;
    }
    await this.askServer(photo, inputOf(photo));
  }
}

export function inputOf(photo: Photo): Blob {
  const found = photo.input ?? photo.file;
  if (!found) throw new Error(`The photo ${photo.id} is not there any more.`);
  return found;
}
