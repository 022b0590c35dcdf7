// Photos worth a person's time, one after the other: what to show, and what keys and buttons do.

import { onceLetGo, replace } from "../app/dom";
import { language, setLanguage } from "../app/language";
import type { Head } from "../core/wire";
import { callerOf, keepKey, randomId } from "../shared/identity";
import type { Caller } from "../shared/protocol";
import { placeOf, pressed } from "./keys";
import { Outbox } from "./outbox";
import { Pictures } from "./pictures";
import { queue, ReviewError, type Fault } from "./service";
import { allowed, asked, choose, itemOf, submissionOf, type Choice, type Item } from "./session";
import { t } from "./texts";
import { draw, inWords, type Shown } from "./view";

const AT_A_TIME = 30;
const MOST = 200;
const AHEAD = 2;
const FEW = 5;
const AGAIN_MS = 3000;

export class Review {
  heads: readonly Head[] = [];
  names: Readonly<Record<string, Record<string, string>>> = {};
  readonly items: Item[] = [];
  at = 0;
  /** Name of the head that is asked. */
  active = "";
  /** Classes that are ticked of a multilabel head, before they are decided. */
  ticked = new Set<string>();
  fault: Fault | null = null;
  keyWasWrong = false;
  isLooking = true;
  refused: string | null = null;
  url: string | null = null;
  readonly outbox: Outbox;

  private caller: Caller = { person: "", key: null };
  private readonly pictures = new Pictures(() => this.caller);
  /** What was saved, for undo. */
  private readonly done: Item[] = [];
  private waitingThen = 0;
  private judgedSince = 0;
  private isFetching = false;

  constructor(private readonly root: HTMLElement) {
    this.outbox = new Outbox(
      () => this.caller,
      (refused) => {
        if (refused) this.refused = refused;
        this.draw();
      },
    );
  }

  async start(): Promise<void> {
    setLanguage(language());
    this.caller = await callerOf();
    document.addEventListener("keydown", (event) => this.onKey(event));
    for (const name of ["online", "offline"]) addEventListener(name, () => this.draw());
    this.draw();
    this.outbox.send();
    await this.look();
  }

  get item(): Item | null {
    return this.items[this.at] ?? null;
  }

  get count(): number {
    return this.items.filter(({ state }) => state === "saved").length;
  }

  get waiting(): number {
    return Math.max(0, this.waitingThen - this.judgedSince);
  }

  get skipped(): number {
    return this.items.filter(({ state }) => state === "skipped").length;
  }

  get head(): Head | null {
    return this.heads.find(({ name }) => name === this.active) ?? null;
  }

  get canUndo(): boolean {
    return this.done.length > 0 || Boolean(this.item && this.item.state !== "saved" && this.item.choices.size);
  }

  /** Ask for photos; those that are known stay. */
  async look(): Promise<void> {
    if (this.isFetching) return;
    this.isFetching = this.isLooking = true;
    this.draw();
    try {
      const told = this.outbox.photos;
      const open = this.items.filter(({ state }) => state !== "saved" && state !== "gone").length;
      const page = await queue(this.caller, Math.min(MOST, AT_A_TIME + told.size + open));
      this.fault = null;
      this.heads = page.heads;
      this.names = page.names;
      const known = new Set(this.items.map(({ photo }) => photo.photo_id));
      const isNew = page.photos.filter(({ photo_id }) => !known.has(photo_id) && !told.has(photo_id));
      this.items.push(...isNew.map(itemOf));
      this.waitingThen = page.waiting - page.photos.filter(({ photo_id }) => told.has(photo_id)).length;
      this.judgedSince = 0;
      this.show(this.at);
    } catch (error) {
      this.fault = error instanceof ReviewError ? error.fault : "away";
      this.keyWasWrong = this.fault === "key" && this.caller.key !== null;
      if (this.fault === "away" || this.fault === "gone") setTimeout(() => void this.look(), AGAIN_MS);
    } finally {
      this.isFetching = this.isLooking = false;
      this.draw();
    }
  }

  async enterKey(key: string): Promise<void> {
    await keepKey(key);
    this.caller = await callerOf();
    this.fault = null;
    this.outbox.send();
    await this.look();
  }

  speak(tag: string): void {
    setLanguage(tag);
    this.draw();
  }

  /** Show a photo, fetch those after it. */
  show(at: number): void {
    this.at = Math.max(0, Math.min(at, this.items.length));
    const { item } = this;
    this.url = null;
    if (item) {
      this.ask(asked(this.heads, item.choices)[0] ?? null);
      void this.picture(item);
      for (const { photo } of this.items.slice(this.at + 1, this.at + 1 + AHEAD)) {
        this.pictures.get(photo.photo_id).catch(() => undefined);
      }
    }
    if (this.items.length - this.at < FEW && this.items.length && !this.fault && this.hasMore()) {
      void this.look();
    }
    this.draw();
  }

  ask(head: Head | null): void {
    this.active = head?.name ?? "";
    const made = head ? this.item?.choices.get(head.name) : undefined;
    this.ticked = new Set(made?.kind === "classes" ? made.names : []);
  }

  /** A class of the head that is asked: chosen, or ticked where several can be there. */
  pick(name: string): void {
    const { head } = this;
    if (!head) return;
    if (head.kind !== "multilabel") return this.decide({ kind: "classes", names: [name] });
    if (!this.ticked.delete(name)) this.ticked.add(name);
    this.draw();
  }

  /** Answer the head that is asked, and go on. */
  decide(choice: Choice): void {
    const { item, head } = this;
    if (!item || !head) return;
    choose(item, this.heads, head, choice);
    this.goOn();
  }

  /** Leave the head that is asked as it is, or as it is ticked. */
  confirm(): void {
    if (this.head?.kind === "multilabel") this.decide({ kind: "classes", names: [...this.ticked] });
    else this.goOn();
  }

  /** What the model answers becomes what the person answers. */
  agree(): void {
    const { item } = this;
    if (!item?.seen || !item.photo.suggestion) return;
    for (const head of this.heads) {
      const label = item.photo.suggestion.heads[head.name]?.label;
      if (label === undefined || label === null) continue;
      const names = Array.isArray(label) ? label : [label];
      const open = allowed(head, item.choices);
      if (!names.every((name) => open.includes(name))) continue;
      choose(item, this.heads, head, { kind: "classes", names });
    }
    this.goOn(true);
  }

  reveal(): void {
    if (!this.item?.photo.suggestion) return;
    this.item.seen = true;
    this.draw();
  }

  skip(): void {
    const { item } = this;
    if (!item) return;
    if (item.state === "open") {
      item.state = "skipped";
      this.announce(t("skipped"));
    }
    this.show(this.at + 1);
  }

  undo(): void {
    const { item } = this;
    if (item && item.state !== "saved" && item.choices.size) {
      item.choices = new Map();
      this.ask(asked(this.heads, item.choices)[0] ?? null);
      return this.draw();
    }
    const last = this.done.pop();
    const key = last?.keys.pop();
    if (!last || !key) return;
    this.outbox.takeBack(key, last.photo.photo_id);
    if (!last.keys.length) {
      last.state = "open";
      this.judgedSince--;
    }
    last.choices = new Map();
    this.announce(t("undone"));
    this.show(this.items.indexOf(last));
  }

  again(): void {
    for (const item of this.items) if (item.state === "skipped") item.state = "open";
    this.show(this.items.findIndex(({ state }) => state === "open"));
  }

  dismiss(): void {
    this.refused = null;
    this.draw();
  }

  /** The next head without an answer; the photo is saved after the last one. */
  private goOn(anyOpen = false): void {
    const { item, head } = this;
    if (!item) return;
    const open = asked(this.heads, item.choices);
    const place = head ? open.findIndex(({ name }) => name === head.name) : -1;
    const rest = anyOpen ? open : open.slice(place + 1);
    const next = rest.find(({ name }) => !item.choices.has(name));
    if (next) {
      this.ask(next);
      this.draw();
      document.querySelector<HTMLElement>("#question h2")?.focus();
    } else {
      this.save(item);
    }
  }

  private save(item: Item): void {
    const who = { key: randomId(), person: this.caller.person };
    const submission = submissionOf(item, this.heads, who);
    if (!submission) return this.skip();
    this.outbox.add(submission);
    if (item.state !== "saved") this.judgedSince++;
    item.state = "saved";
    item.keys.push(who.key);
    this.done.push(item);
    this.announce(t("saved", { answer: inWords(this, item) }));
    this.show(this.at + 1);
  }

  private hasMore(): boolean {
    const here = this.items.filter(({ state }) => state === "open" || state === "skipped").length;
    return this.waiting > here;
  }

  private async picture(item: Item): Promise<void> {
    try {
      const url = await this.pictures.get(item.photo.photo_id);
      if (this.item !== item) return;
      this.url = url;
    } catch (error) {
      if (error instanceof ReviewError && error.fault === "gone") {
        item.state = "gone";
        this.announce(t("gone"));
        if (this.item === item) return this.show(this.at + 1);
      } else if (this.item === item) {
        this.fault = error instanceof ReviewError ? error.fault : "away";
        this.keyWasWrong = this.fault === "key";
      }
    }
    this.draw();
  }

  private onKey(event: KeyboardEvent): void {
    const key = pressed(event);
    if (key === null || event.repeat || this.fault) return;
    const { item, head } = this;
    const place = placeOf(key);
    if (key === "u") this.undo();
    else if (key === "ArrowLeft") this.show(this.at - 1);
    else if (!item) return;
    else if (key === "ArrowRight") this.item?.state === "open" ? this.skip() : this.show(this.at + 1);
    else if (key === "ArrowUp" || key === "ArrowDown") this.step(key === "ArrowUp" ? -1 : 1);
    else if (key === "s") this.skip();
    else if (key === "n") this.decide({ kind: "unsure" });
    else if (key === "0") this.decide({ kind: "none" });
    else if (key === "a") this.agree();
    else if (key === "h") this.reveal();
    else if (key === "Enter") this.confirm();
    else if (place !== null && head) {
      const name = allowed(head, item.choices)[place];
      if (name === undefined) return;
      this.pick(name);
    } else return;
    event.preventDefault();
  }

  private step(by: number): void {
    const { item } = this;
    if (!item) return;
    const open = asked(this.heads, item.choices);
    const place = open.findIndex(({ name }) => name === this.active) + by;
    this.ask(open[Math.max(0, Math.min(place, open.length - 1))] ?? null);
    this.draw();
  }

  private said = "";

  private announce(text: string): void {
    this.said = text;
    const status = this.root.querySelector("[role=status].said-last");
    if (status) status.textContent = text;
  }

  draw(): void {
    onceLetGo(this.drawNow);
  }

  private readonly drawNow = (): void => {
    document.title = t("title");
    const parts: Shown = draw(this, this.said);
    for (const [name, children] of Object.entries(parts)) {
      const part = this.root.querySelector(`[data-part=${name}]`);
      if (part) replace(part, ...children);
    }
  };
}

const root = document.querySelector<HTMLElement>("#app");
if (root) {
  root.innerHTML =
    '<a class="skip" href="#main" data-part="skip"></a><header class="top" data-part="top"></header>' +
    '<main id="main" tabindex="-1" class="review" data-part="main"></main><nav class="bottom" data-part="bottom"></nav>' +
    '<p class="hidden said-last" role="status"></p>';
  void new Review(root).start();
}
