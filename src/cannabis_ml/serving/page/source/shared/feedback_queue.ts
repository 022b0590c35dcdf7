// What people say of answers waits here until the service has it on disk, and is sent once: the
// service knows a submission by its key, however often it comes.

import { all, update } from "./database";
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
  /** The service may have it: taking it back is a request of its own. */
  readonly attempted?: boolean;
  readonly takenBack?: boolean;
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

/** Nothing where it was taken back meanwhile. */
export async function enqueue(waiting: Waiting): Promise<void> {
  await update<Waiting>("queue", waiting.key, (found) => found ?? waiting);
}

/** Before it was sent, it never is; afterwards the service is asked to forget it. */
export async function takeBack(waiting: Waiting): Promise<void> {
  await update<Waiting>("queue", waiting.key, (found) =>
    found && !found.attempted
      ? undefined
      : { ...(found ?? waiting), photo: null, notBefore: 0, attempted: true, takenBack: true },
  );
}

export const waiting = (): Promise<Waiting[]> => all<Waiting>("queue");

/**
 * Send what waits, oldest first; one page or worker at a time.
 *
 * @param afterOthers - Wait for a page or worker that is sending, where that may miss something.
 * @returns What the service took or refused. Empty where there is no network.
 */
export async function send(afterOthers = false): Promise<Sent[]> {
  if (!navigator.locks) return sendAll();
  return navigator.locks.request("feedback", { ifAvailable: !afterOthers }, async (lock) =>
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

type Kept = { readonly id: string; readonly said: Record<string, Said> };

/** Keep with the photos on the device what became of submissions. */
export async function record(done: readonly Sent[]): Promise<void> {
  if (done.length === 0) return;
  for (const { id, said } of await all<Kept>("photos")) {
    if (!settled(said, done)) continue;
    // It may have been deleted meanwhile, or more may have been said of it.
    await update<Kept>(
      "photos",
      id,
      (found) => found && { ...found, said: settled(found.said, done) ?? found.said },
    );
  }
}

async function sendAll(): Promise<Sent[]> {
  const done: Sent[] = [];
  const due = (await waiting()).filter((each) => each.notBefore <= Date.now());
  due.sort((a, b) => a.submission.at.localeCompare(b.submission.at));
  for (const each of due) {
    const found = await sendOne(each.key);
    if (found === "wait") break;
    if (found === "skip") continue; // each has the time of its opinion: the order does not matter
    if (found !== "taken back") done.push(found);
  }
  return done;
}

type Outcome = Sent | "taken back" | "skip" | "wait";

/** "skip": this one later; "wait": all of them. */
async function sendOne(key: string): Promise<Outcome> {
  // It may have been taken back meanwhile, or may be while it is sent.
  const each = await update<Waiting>("queue", key, (found) => found && { ...found, attempted: true });
  if (!each) return "taken back";
  const outcome = each.takenBack ? "taken back" : await post(each);
  if (outcome === "skip" || outcome === "wait") return outcome;
  const left = await update<Waiting>("queue", key, (found) => (found?.takenBack ? found : undefined));
  return left ? withdraw(left.submission) : outcome;
}

async function post({ key, submission, photo }: Waiting): Promise<Outcome> {
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
  const response = await ask(FEEDBACK, { method: "POST", headers, body });
  if (typeof response === "string") return response;
  if (response.ok) return { key, state: "sent" };
  return { key, state: "refused", detail: await detailOf(response) };
}

/** Have the service forget what it may have; that it has nothing is as good. */
async function withdraw({ key, person }: Submission): Promise<Outcome> {
  const path = `${FEEDBACK}/${encodeURIComponent(key)}?person=${encodeURIComponent(person)}`;
  const response = await ask(path, { method: "DELETE", headers: headersOf(await callerOf()) });
  if (typeof response === "string") return response;
  await update<Waiting>("queue", key, () => undefined);
  return "taken back";
}

async function ask(path: string, request: RequestInit): Promise<Response | "skip" | "wait"> {
  try {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const response = await fetch(path, { ...request, signal });
    if (!LATER.has(response.status)) return response;
    return LATER_ALONE.has(response.status) ? "skip" : "wait";
  } catch (error) {
    return error instanceof DOMException && error.name === "TimeoutError" ? "skip" : "wait";
  }
}
