// What people say of answers waits here until the service has it on disk, and is sent once: the
// service knows a submission by its key, however often it comes.

import { all, get, put, remove } from "./database";
import { detailOf, headersOf } from "./address";
import { callerOf } from "./identity";

export const FEEDBACK = "/v2/feedback";

export type Verdict = "confirmed" | "corrected" | "unsure" | "none_of_these" | "proposed";

export interface Opinion {
  readonly head: string;
  readonly verdict: Verdict;
  readonly label?: string | string[];
}

/** `POST /v2/feedback`, without the photo. */
export interface Submission {
  readonly key: string;
  readonly person: string;
  readonly at: string;
  readonly consent: boolean;
  readonly photo_id?: string;
  readonly seen_answer: true;
  readonly answered: {
    readonly bundle_id: string;
    readonly tier?: string;
    readonly heads: Record<
      string,
      { label: string | string[] | null; confidence?: number; probs?: Record<string, number> }
    >;
  };
  readonly opinions: readonly Opinion[];
  readonly metadata: Record<string, string>;
}

export interface Waiting {
  readonly key: string;
  readonly submission: Submission;
  /** Sent along: with consent, and where no hash can be computed. */
  readonly photo: Blob | null;
  /** In milliseconds since 1970: until then it can be taken back. */
  readonly notBefore: number;
}

/** What became of a submission. */
export type Sent =
  | { readonly key: string; readonly state: "sent" }
  | { readonly key: string; readonly state: "refused"; readonly detail: string };

/** What a person said of one head, as it is kept with the photo. */
export interface Said {
  readonly key: string;
  readonly verdict: Verdict;
  readonly label: string | string[] | null;
  readonly state: "waiting" | "sent" | "refused";
  readonly detail: string;
}

/** Later is better than never for these; all others will be refused again. */
const LATER = new Set([401, 408, 425, 429, 500, 502, 503, 504]);
/** Of these, what may be due to this submission alone, such as a photo too large for the network. */
const LATER_ALONE = new Set([408, 500, 502, 504]);

/** The service gives a body less time: what takes longer hangs, and would hold up all others. */
const DEADLINE_MS = 60_000;

export const enqueue = (waiting: Waiting): Promise<void> => put("queue", waiting);
export const takeBack = (key: string): Promise<void> => remove("queue", key);
export const waiting = (): Promise<Waiting[]> => all<Waiting>("queue");

/**
 * Send what waits, oldest first; one page or worker at a time.
 *
 * @returns What the service took or refused. Empty where there is no network.
 */
export async function send(): Promise<Sent[]> {
  if (!navigator.locks) return sendAll();
  return navigator.locks.request("feedback", { ifAvailable: true }, async (lock) =>
    lock ? sendAll() : [],
  );
}

/** What was said of a photo, after submissions were sent or refused; null where none is of it. */
export function settled(
  said: Readonly<Record<string, Said>>,
  done: readonly Sent[],
): Record<string, Said> | null {
  let changed = false;
  const found: Record<string, Said> = {};
  for (const [head, each] of Object.entries(said)) {
    const sent = done.find(({ key }) => key === each.key);
    changed ||= sent !== undefined;
    const detail = sent?.state === "refused" ? sent.detail : "";
    found[head] = sent ? { ...each, state: sent.state, detail } : each;
  }
  return changed ? found : null;
}

/** Keep with the photos on the device what became of submissions. */
export async function record(done: readonly Sent[]): Promise<void> {
  if (done.length === 0) return;
  for (const photo of await all<{ said: Record<string, Said> }>("photos")) {
    const said = settled(photo.said, done);
    if (said) await put("photos", { ...photo, said });
  }
}

async function sendAll(): Promise<Sent[]> {
  const done: Sent[] = [];
  const due = (await waiting()).filter((each) => each.notBefore <= Date.now());
  due.sort((a, b) => a.submission.at.localeCompare(b.submission.at));
  for (const each of due) {
    const found = await sendOne(each);
    if (found === "wait") break;
    if (found === "skip") continue; // each has the time of its opinion: the order does not matter
    await remove("queue", each.key);
    done.push(found);
  }
  return done;
}

/** "skip": this one later; "wait": all of them. */
async function sendOne({ key, submission, photo }: Waiting): Promise<Sent | "skip" | "wait"> {
  // It may have been taken back meanwhile.
  if (!(await get("queue", key))) return { key, state: "refused", detail: "" };
  const headers = headersOf(await callerOf());
  let body: BodyInit;
  if (photo) {
    const form = new FormData();
    form.append("feedback", JSON.stringify(submission));
    form.append("photo", photo, "photo");
    body = form;
  } else {
    headers["content-type"] = "application/json";
    body = JSON.stringify(submission);
  }
  try {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const response = await fetch(FEEDBACK, { method: "POST", headers, body, signal });
    if (response.ok) return { key, state: "sent" };
    if (LATER.has(response.status)) return LATER_ALONE.has(response.status) ? "skip" : "wait";
    return { key, state: "refused", detail: await detailOf(response) };
  } catch (error) {
    return error instanceof DOMException && error.name === "TimeoutError" ? "skip" : "wait";
  }
}
