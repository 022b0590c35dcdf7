// Puts the page together: views by the address' hash, photos by every way in, feedback out.

import { callerOf, forget, keepKey, randomId } from "../shared/identity";
import { clear, get, put } from "../shared/database";
import * as queue from "../shared/feedback_queue";
import type { Opinion, Said, Sent, Submission, Waiting } from "../shared/feedback_queue";
import type { Context } from "./context";
import { h, icon, onceLetGo, replace, type Child, type Icon } from "./dom";
import { Engine, inputOf } from "./engine";
import { language, languages, percent, setLanguage, t } from "./language";
import * as kept from "./photos";
import type { Photo } from "./photos";
import { explain, explainer, heatMap } from "./server";
import { Updates } from "./updates";
import { about, history } from "./view/history";
import { home } from "./view/home";
import { report, summary } from "./view/report";

declare const PAGE_VERSION: string;

/** So long a tap can be taken back before it is sent. */
const SECOND_THOUGHTS_MS = 4_000;
const EVERY_MS = 60_000;

class App implements Context {
  engine!: Engine;
  online = navigator.onLine;
  consent = false;
  explainer: string | null = null;
  waiting = 0;
  private readonly updates = new Updates(() => this.render());
  private readonly main = h("main", { id: "main" });
  private readonly skip = h("a.skip", {
    href: "#main",
    onclick: (event: MouseEvent) => {
      event.preventDefault();
      this.main.querySelector<HTMLElement>("h1")?.focus();
    },
  });
  private readonly top = h("header.top");
  private readonly bottom = h("nav.bottom");
  private readonly live = h("p.hidden", { role: "status", "aria-live": "polite", id: "live" });
  private announced = "";
  private toDraw = false;

  get isKept(): boolean {
    return this.updates.isKept;
  }

  async start(root: Element): Promise<void> {
    setLanguage(language());
    document.documentElement.classList.toggle("touch", navigator.maxTouchPoints > 0);
    root.append(this.skip, this.top, this.main, this.bottom, this.live);
    this.listen();
    await kept.load();
    kept.settleAllBut(new Set((await queue.waiting()).map(({ key }) => key)));
    this.consent = (await get<boolean>("settings", "consent")) ?? false;
    await this.open();
    this.render();
    void this.send();
    setInterval(() => {
      void this.send();
      this.keep();
    }, EVERY_MS);
  }

  private async open(): Promise<void> {
    this.engine = new Engine(
      await callerOf(),
      (photo) => this.changed(photo),
      () => void this.updates.look(),
    );
    void explainer(this.engine.caller).then((model) => {
      this.explainer = model;
      this.render();
    });
    await this.engine.start();
  }

  // Ways in

  choose(camera: boolean): void {
    const field = h("input", {
      type: "file",
      accept: "image/*",
      multiple: !camera,
      capture: camera && "environment",
    }) as HTMLInputElement;
    field.addEventListener("change", () => this.take(Array.from(field.files ?? [])));
    field.click();
  }

  take(files: readonly File[]): void {
    const made = files.map((file) => this.engine.answer(file));
    const first = made[0];
    if (first) location.hash = `#/photo/${first.id}`;
  }

  private listen(): void {
    addEventListener("hashchange", () => {
      this.draw();
      this.main.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
      scrollTo({ top: 0 });
    });
    addEventListener("online", () => this.network(true));
    addEventListener("offline", () => this.network(false));
    addEventListener("visibilitychange", () => void this.send());
    navigator.serviceWorker?.addEventListener("message", ({ data }: MessageEvent<Sent[]>) => {
      void this.settle(data);
    });
    addEventListener("paste", (event) => {
      const files = Array.from(event.clipboardData?.files ?? []);
      if (files.length) this.take(files);
    });
    addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dragging");
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dragging");
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dragging");
      this.take(Array.from(event.dataTransfer?.files ?? []));
    });
  }

  private network(online: boolean): void {
    this.online = online;
    this.render();
    if (!online) return;
    void this.send();
    this.engine.retry();
    if (this.engine.device.state === "failed" && this.engine.device.fault === "network") this.restart();
  }

  // What views do

  restart(): void {
    void this.engine.start();
  }

  enterKey(key: string): void {
    void (async () => {
      await keepKey(key);
      await this.open();
    })();
  }

  askAgain(photo: Photo): void {
    void this.engine.askServer(photo, inputOf(photo));
  }

  setConsent(consent: boolean): void {
    this.consent = consent;
    void put("settings", consent, "consent");
  }

  heat(photo: Photo): void {
    if (photo.heatMap) {
      URL.revokeObjectURL(photo.heatMap);
      photo.heatMap = undefined;
      this.render();
      return;
    }
    if (!photo.file) return;
    this.announce(t("report.heat_loading"));
    heatMap(photo.file, this.engine.caller)
      .then((picture) => {
        photo.heatMap = URL.createObjectURL(picture);
        this.announce(t("report.heat_text"));
      })
      .catch((error: Error) => this.toast(t("report.heat_failed", { detail: error.message })))
      .finally(() => this.render());
  }

  explain(photo: Photo): void {
    if (!photo.file || photo.explained) return;
    photo.explained = { state: "asking" };
    this.announce(t("report.explain_asking"));
    this.render();
    explain(photo.file, language(), this.engine.caller)
      .then((explanation) => {
        photo.explained = { state: "there", explanation };
        this.announce(explanation.text);
      })
      .catch((error: Error) => {
        photo.explained = undefined;
        this.toast(t("report.explain_failed", { detail: error.message }));
      })
      .finally(() => this.render());
  }

  say(photo: Photo, opinion: Opinion): void {
    const key = randomId();
    const said: Said = {
      key,
      verdict: opinion.verdict,
      label: opinion.label ?? null,
      state: "waiting",
      detail: "",
    };
    photo.said = { ...photo.said, [opinion.head]: said };
    this.render();
    void (async () => {
      await kept.save(photo);
      await queue.enqueue(this.waitingOf(photo, opinion, key));
      await this.count();
      setTimeout(() => void this.send(), SECOND_THOUGHTS_MS + 50);
    })();
  }

  unsay(photo: Photo, head: string): void {
    const said = photo.said[head];
    if (!said) return;
    photo.said = Object.fromEntries(Object.entries(photo.said).filter(([name]) => name !== head));
    this.render();
    void (async () => {
      const label = said.label === null ? {} : { label: said.label };
      const opinion = { head, verdict: said.verdict, ...label };
      await queue.takeBack(this.waitingOf(photo, opinion, said.key));
      await kept.save(photo);
      await this.send(true);
    })();
  }

  forgetPhoto(photo: Photo): void {
    void (async () => {
      await kept.forgetPhoto(photo);
      location.hash = kept.photos().length ? "#/history" : "#/";
      this.render();
    })();
  }

  forgetAll(): void {
    void (async () => {
      await kept.forgetAll();
      await clear("queue");
      await forget();
      await this.count();
      await this.open();
      this.announce(t("history.deleted"));
      location.hash = "#/";
      this.render();
    })();
  }

  private waitingOf(photo: Photo, opinion: Opinion, key: string): Waiting {
    const answered = kept.lastAnswer(photo);
    if (!answered) throw new Error("There is no answer to speak of.");
    const { report: found } = answered;
    // Without a hash the photo itself names the photo; its pixels are kept with consent alone.
    const sendPhoto = this.consent || photo.photoId === null;
    const file = sendPhoto ? (photo.file ?? null) : null;
    const submission: Submission = {
      key,
      person: this.engine.caller.person,
      at: new Date().toISOString(),
      consent: this.consent && file !== null,
      ...(file ? {} : { photo_id: photo.photoId ?? "" }),
      seen_answer: true,
      answered: {
        bundle_id: answered.bundle,
        ...(found.tier ? { tier: found.tier } : {}),
        heads: Object.fromEntries(
          Object.entries(found.heads).map(([name, head]) => [
            name,
            {
              label: head.answer,
              ...(head.confidence === null ? {} : { confidence: head.confidence }),
              probs: head.probs,
            },
          ]),
        ),
      },
      opinions: [opinion],
      metadata: { page_version: PAGE_VERSION },
    };
    return { key, submission, photo: file, notBefore: Date.now() + SECOND_THOUGHTS_MS };
  }

  private async send(afterOthers = false): Promise<void> {
    const done = await queue.send(afterOthers);
    await queue.record(done);
    await this.settle(done);
  }

  private async settle(done: readonly Sent[]): Promise<void> {
    kept.settle(done);
    await this.count();
  }

  private async count(): Promise<void> {
    this.waiting = (await queue.waiting()).length;
    if (this.waiting) await this.updates.sendLater();
    this.render();
  }

  // Showing

  private changed(photo?: Photo): void {
    this.keep();
    if (photo && photo === this.current()) {
      const head = kept.lastAnswer(photo)?.report.heads[this.engine.about?.routingHead ?? ""];
      const sure = head?.confidence ? `, ${t("report.sure", { percent: percent(head.confidence) })}` : "";
      this.announce(`${t("report.title")}: ${summary(this, photo)}${sure}`);
    }
    this.render();
  }

  /** Keep the page for use without a network, once it has all, so that nothing is fetched twice. */
  private keep(): void {
    const { device, isComplete } = this.engine;
    if (device.state === "ready" && isComplete) this.updates.start(this.engine.caller);
  }

  private current(): Photo | undefined {
    const [, view, id] = location.hash.split("/");
    return view === "photo" && id ? kept.photoOf(id) : undefined;
  }

  /** Draw the page before the browser paints again, once for all that changed. */
  render(): void {
    if (this.toDraw) return;
    this.toDraw = true;
    requestAnimationFrame(() => onceLetGo(this.draw));
  }

  private readonly draw = (): void => {
    this.toDraw = false;
    if (!this.engine) return;
    this.skip.textContent = t("skip");
    replace(this.top, ...this.header());
    replace(this.main, ...this.view());
    this.bottom.setAttribute("aria-label", t("nav.label"));
    replace(this.bottom, ...this.buttons());
  };

  private view(): Child[] {
    const view = location.hash.split("/")[1] ?? "";
    const photo = this.current();
    document.title = this.engine.about?.name ?? "cannabis_ml";
    if (photo) return report(this, photo);
    if (view === "photo") return [h("h1", { tabindex: "-1" }, t("report.gone"))];
    if (view === "history") return history(this, this.waiting);
    if (view === "about") return about(this);
    return home(this);
  }

  private header(): Child[] {
    const choice = h(
      "select",
      {
        id: "language",
        "data-key": "language",
        "aria-label": t("nav.language"),
        onchange: () => this.speak((choice as HTMLSelectElement).value),
      },
      ...languages().map(([tag, name]) =>
        h("option", { value: tag, selected: tag === language(), lang: tag }, name),
      ),
    );
    return [
      h("a.brand", { href: "#/", "data-key": "brand" }, h("span.leaf", { "aria-hidden": "true" }), h("span.brand-name", {}, this.engine.about?.name ?? "cannabis_ml")),
      this.online ? null : h("span.offline", {}, t("state.offline")),
      choice,
      this.updates.isWaiting
        ? h(
            "p.update",
            { role: "status" },
            t("state.update"),
            h("button", { type: "button", "data-key": "update", onclick: () => this.updates.take() }, t("state.update_now")),
          )
        : null,
    ];
  }

  private buttons(): Child[] {
    const view = location.hash.split("/")[1] ?? "";
    const link = (href: string, name: string, mark: Icon, text: string): HTMLElement =>
      h("a", { href, "aria-current": view === name && "page", "data-key": `nav ${name}` }, icon(mark), h("span", {}, text));
    return [
      link("#/history", "history", "history", t("nav.history")),
      h(
        "button.choose",
        { type: "button", "data-key": "choose", onclick: () => this.choose(false) },
        icon("images"),
        h("span", {}, t("nav.choose")),
      ),
      h(
        "button.take.touch-only",
        { type: "button", "data-key": "take", onclick: () => this.choose(true) },
        icon("camera"),
        h("span", {}, t("nav.take")),
      ),
      link("#/about", "about", "info", t("nav.about")),
    ];
  }

  /** Another language, also of the report on screen where the photo is still there. */
  private speak(tag: string): void {
    setLanguage(tag);
    const photo = this.current();
    if (photo?.file) this.engine.answerAgain(photo);
    this.render();
  }

  private announce(text: string): void {
    if (text === this.announced) return;
    this.announced = text;
    this.live.textContent = text;
  }

  private toast(text: string): void {
    const shown = h("div.toast", { role: "alert" }, text);
    document.body.append(shown);
    setTimeout(() => shown.remove(), 8_000);
  }
}

const root = document.getElementById("app");
if (root) void new App().start(root);
