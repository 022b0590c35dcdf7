// The service worker: what makes the page work without a network, and how a new page arrives.

import type { Caller } from "../shared/protocol";

interface WithSync extends ServiceWorkerRegistration {
  readonly sync?: { register(tag: string): Promise<void> };
}

export class Updates {
  /** Whether the page and the bundle are kept for use without a network. */
  isKept = false;
  private registration: WithSync | undefined;
  private started = false;

  /** @param changed Called when something is to be shown. */
  constructor(private readonly changed: () => void) {
    if (!navigator.serviceWorker) return;
    this.isKept = navigator.serviceWorker.controller !== null;
    let wasControlled = this.isKept;
    navigator.serviceWorker.addEventListener("controllerchange", () => {
      // The first one takes a page that is as new as itself; any other brings a new page.
      if (wasControlled) location.reload();
      wasControlled = true;
      this.isKept = true;
      this.changed();
    });
  }

  get isWaiting(): boolean {
    return Boolean(this.registration?.waiting && navigator.serviceWorker.controller);
  }

  /** Keep the page; browsers look for a new one by themselves at every visit. */
  start(caller: Caller): void {
    if (this.started || !navigator.serviceWorker) return;
    this.started = true;
    navigator.serviceWorker
      .register(`/sw.js?person=${encodeURIComponent(caller.person)}`, { updateViaCache: "none" })
      .then((registration) => {
        this.registration = registration;
        registration.addEventListener("updatefound", () => this.follow(registration.installing));
        this.follow(registration.installing);
        this.found();
      })
      .catch((error) => console.warn("The page cannot be kept for use without a network:", error));
  }

  /** Look for a new page now. */
  async look(): Promise<void> {
    await this.registration?.update().catch(() => undefined);
  }

  /** Change to the page that waits. */
  take(): void {
    this.registration?.waiting?.postMessage("take over");
  }

  /** Have the browser send what waits once there is a network, also with the page closed. */
  async sendLater(): Promise<void> {
    await this.registration?.sync?.register("feedback").catch(() => undefined);
  }

  private follow(worker: ServiceWorker | null): void {
    worker?.addEventListener("statechange", () => {
      // It could not fetch everything: the next call of `start` tries again.
      if (worker.state === "redundant" && !this.registration?.active) this.started = false;
      this.found();
    });
  }

  private found(): void {
    // Before the first photo of a visit nothing is lost by changing at once.
    if (this.isWaiting && !location.hash.startsWith("#/photo/")) this.take();
    this.changed();
  }
}
