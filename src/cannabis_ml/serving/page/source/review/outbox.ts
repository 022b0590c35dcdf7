// Opinions, and opinions taken back, wait here until the service has them on disk. They go one after
// the other, in order, with the same key however often they are sent.

import { detailOf, headersOf } from "../shared/address";
import { FEEDBACK } from "../shared/feedback_queue";
import type { Caller } from "../shared/protocol";

export interface Opinion {
  readonly head: string;
  readonly verdict: "confirmed" | "corrected" | "unsure" | "none_of_these";
  readonly label?: string | string[];
}

/** `POST /v2/feedback`. */
export interface Submission {
  readonly key: string;
  readonly person: string;
  readonly at: string;
  readonly photo_id: string;
  readonly seen_answer: boolean;
  readonly answered?: {
    readonly bundle_id: string;
    readonly tier: string;
    readonly heads: Record<string, { label: string | string[] | null; confidence?: number }>;
  };
  readonly opinions: readonly Opinion[];
}

interface Tell {
  readonly kind: "tell";
  readonly submission: Submission;
  /** Whether the service may have it: it was sent, and no reply came. */
  readonly tried: boolean;
}

interface TakeBack {
  readonly kind: "take_back";
  readonly key: string;
  readonly person: string;
  readonly photo_id: string;
}

type Letter = Tell | TakeBack;

const KEPT = "review.outbox";
const LATER = new Set([401, 403, 408, 425, 429, 500, 502, 503, 504]);
const WAITS_S = [1, 2, 4, 8, 15, 30];

export class Outbox {
  private isSending = false;
  private failures = 0;
  private timer = 0;

  /**
   * @param caller Who sends.
   * @param changed Called when something was sent, failed or was refused (with the reason).
   */
  constructor(
    private readonly caller: () => Caller,
    private readonly changed: (refused: string | null) => void,
  ) {
    addEventListener("online", () => this.send());
    // Another tab of this page has sent something, or added to it.
    addEventListener("storage", (event) => {
      if (event.key === KEPT) this.changed(null);
    });
  }

  get size(): number {
    return read().length;
  }

  /** Whether the last attempt got no reply. */
  get isStuck(): boolean {
    return this.failures > 0;
  }

  /** Photos with an opinion that the service may not know yet. */
  get photos(): Set<string> {
    const told = new Set<string>();
    for (const each of read()) {
      if (each.kind === "tell") told.add(each.submission.photo_id);
      else told.delete(each.photo_id);
    }
    return told;
  }

  add(submission: Submission): void {
    change((letters) => [...letters, { kind: "tell", submission, tried: false }]);
    this.send();
  }

  /** Take an opinion back: before it is sent, or by telling the service. */
  takeBack(key: string, photo: string): void {
    change((letters) => {
      const found = letters.find((each) => each.kind === "tell" && each.submission.key === key);
      if (found?.kind === "tell" && !found.tried) return letters.filter((each) => each !== found);
      return [...letters, { kind: "take_back", key, person: this.caller().person, photo_id: photo }];
    });
    this.send();
  }

  /** Send what waits; again later where the service cannot be reached. */
  send(): void {
    clearTimeout(this.timer);
    if (this.isSending || !this.size) return;
    this.isSending = true;
    void this.inTurn().finally(() => {
      this.isSending = false;
      if (this.size) {
        const wait = this.failures ? WAITS_S[Math.min(this.failures, WAITS_S.length) - 1] ?? 30 : 0;
        this.timer = window.setTimeout(() => this.send(), 1000 * wait);
      }
    });
  }

  /** One tab at a time, so that the order stays. */
  private async inTurn(): Promise<void> {
    const { locks } = navigator;
    if (locks) await locks.request("review", () => this.sendFirst());
    else await this.sendFirst();
  }

  private async sendFirst(): Promise<void> {
    const [first] = read();
    if (!first) return;
    if (first.kind === "tell") {
      change((letters) => letters.map((each) => (isSame(each, first) ? { ...first, tried: true } : each)));
    }
    const refused = await post(first, this.caller());
    if (refused === "later") {
      this.failures++;
      this.changed(null);
      return;
    }
    this.failures = 0;
    change((letters) => letters.filter((each) => !isSame(each, first)));
    this.changed(refused);
  }
}

const keyOf = (letter: Letter): string =>
  letter.kind === "tell" ? letter.submission.key : letter.key;

const isSame = (one: Letter, other: Letter): boolean =>
  one.kind === other.kind && keyOf(one) === keyOf(other);

/** null: it is on disk; "later"; or why the service refuses it. */
async function post(letter: Letter, caller: Caller): Promise<string | null> {
  const headers: Record<string, string> = { ...headersOf(caller), "content-type": "application/json" };
  const request: [string, RequestInit] =
    letter.kind === "tell"
      ? [FEEDBACK, { method: "POST", headers, body: JSON.stringify(letter.submission) }]
      : [
          `${FEEDBACK}/${encodeURIComponent(letter.key)}?person=${encodeURIComponent(letter.person)}`,
          { method: "DELETE", headers: headersOf(caller) },
        ];
  try {
    const [path, options] = request;
    const response = await fetch(path, { ...options, signal: AbortSignal.timeout(20_000) });
    if (response.ok || (letter.kind === "take_back" && response.status === 404)) return null;
    if (LATER.has(response.status)) return "later";
    return await detailOf(response);
  } catch {
    return "later";
  }
}

function read(): Letter[] {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "[]") as Letter[];
  } catch {
    return [];
  }
}

/** Several tabs may have this page open: what is kept is read anew each time. */
function change(how: (letters: Letter[]) => Letter[]): void {
  localStorage.setItem(KEPT, JSON.stringify(how(read())));
}
