// Photos on screen and the next ones, fetched ahead.

import type { Caller } from "../shared/protocol";
import { photo, ReviewError } from "./service";

const AGAIN_MS = 2000;
const KEPT = 8;

export class Pictures {
  private readonly urls = new Map<string, Promise<string>>();

  constructor(private readonly caller: () => Caller) {}

  /** Address of a photo for an <img>; asks until there is a connection. */
  get(id: string): Promise<string> {
    let found = this.urls.get(id);
    if (!found) {
      found = this.load(id);
      this.urls.set(id, found);
      found.catch(() => this.urls.delete(id));
      this.forgetOldest();
    }
    return found;
  }

  private async load(id: string): Promise<string> {
    for (;;) {
      try {
        return URL.createObjectURL(await photo(id, this.caller()));
      } catch (error) {
        if (!(error instanceof ReviewError) || error.fault !== "away") throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  private forgetOldest(): void {
    for (const [id, url] of this.urls) {
      if (this.urls.size <= KEPT) return;
      this.urls.delete(id);
      void url.then(URL.revokeObjectURL, () => undefined);
    }
  }
}
