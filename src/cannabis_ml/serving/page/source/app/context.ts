// What every view is given.

import { shownName } from "../core/index";
import type { BundleAbout } from "../shared/protocol";
import type { Engine } from "./engine";
import { language } from "./language";
import type { Photo } from "./photos";
import type { Opinion } from "../shared/feedback_queue";

export interface Context {
  readonly engine: Engine;
  /** Whether the browser believes that there is a network. */
  readonly online: boolean;
  /** Whether the page answers without a network. */
  readonly isKept: boolean;
  readonly consent: boolean;
  choose(camera: boolean): void;
  say(photo: Photo, opinion: Opinion): void;
  unsay(photo: Photo, head: string): void;
  setConsent(consent: boolean): void;
  /** Which language model explains answers; null where none does. */
  readonly explainer: string | null;
  heat(photo: Photo): void;
  explain(photo: Photo): void;
  askAgain(photo: Photo): void;
  forgetPhoto(photo: Photo): void;
  forgetAll(): void;
  enterKey(key: string): void;
  restart(): void;
}

/** A class or head as people read it. */
export function nameOf(about: BundleAbout | null, name: string): string {
  return about ? shownName(about.taxonomy, name, language()) : name.replaceAll("_", " ");
}
