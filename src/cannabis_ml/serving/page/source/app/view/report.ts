// The answer for one photo.

import type { HeadJSON } from "../../core/wire";
import { type Context, nameOf } from "../context";
import { h, icon, type Child } from "../dom";
import { duration, t } from "../language";
import { lastAnswer, photos, pictureOf, smallPictureOf, type Answered, type Photo } from "../photos";
import { consent, feedback } from "./feedback";
import { answerOf, attributes, possibilities, verdict } from "./head";

export function report(context: Context, photo: Photo): Child[] {
  return [
    h("h1.hidden", { tabindex: "-1", id: "answer" }, `${t("report.title")}: ${photo.name}`),
    strip(context, photo),
    h("div.report", {}, picture(context, photo), h("div.answers", {}, ...answers(context, photo))),
  ];
}

/** The photos of today's session and before, to go from one to the next. */
function strip(context: Context, current: Photo): Child {
  const near = photos().slice(0, 12);
  if (near.length < 2) return null;
  return h(
    "nav.strip",
    { "aria-label": t("history.title") },
    ...near.map((photo) => {
      const url = smallPictureOf(photo);
      const said = summary(context, photo);
      return h(
        "a",
        {
          href: `#/photo/${photo.id}`,
          "aria-current": photo === current && "page",
          "aria-label": `${photo.name}: ${said}`,
          "data-key": `strip ${photo.id}`,
        },
        url ? h("img", { src: url, alt: "" }) : h("span.no-picture", {}, icon("images")),
      );
    }),
  );
}

/** The answer in a few words. */
export function summary(context: Context, photo: Photo): string {
  const answered = lastAnswer(photo);
  if (photo.fault && !answered) return t("report.no_answer");
  if (!answered) return t("report.waiting");
  return mainAnswer(context, answered);
}

function mainAnswer(context: Context, answered: Answered): string {
  const main = mainHead(context, answered);
  return main ? answerOf(context.engine.about, main[1]) : answered.report.summary;
}

function mainHead(context: Context, { report }: Answered): [string, HeadJSON] | undefined {
  const heads = Object.entries(report.heads);
  return heads.find(([name]) => name === context.engine.about?.routingHead) ?? heads[0];
}

function picture(context: Context, photo: Photo): Child {
  const url = pictureOf(photo);
  if (!url) return null;
  const canDraw = photo.file !== undefined && lastAnswer(photo) !== undefined;
  const frame = frameOf(photo.heatMap ?? url, photo.heatMap === undefined);
  const alt = photo.heatMap ? t("report.heat_text") : t("report.photo", { name: photo.name });
  frame.querySelector("img")?.setAttribute("alt", alt);
  return h(
    "figure.picture",
    {},
    frame,
    photo.heatMap ? h("figcaption", {}, t("report.heat_text")) : null,
    canDraw
      ? h(
          "button.heat",
          { type: "button", "data-key": "heat", onclick: () => context.heat(photo) },
          icon("sparkle"),
          t(photo.heatMap ? "report.heat_off" : "report.heat"),
        )
      : null,
  );
}

let lastFrame: { readonly src: string; readonly frame: HTMLElement } | undefined;

/** The same element as long as it shows the same picture: large photos are decoded once. */
function frameOf(src: string, isPhoto: boolean): HTMLElement {
  if (lastFrame?.src !== src) {
    const shown = h("img", { src }) as HTMLImageElement;
    const frame = h("div.frame", {}, shown);
    if (isPhoto) shown.addEventListener("load", () => showSquare(frame, shown));
    lastFrame = { src, frame };
  }
  return lastFrame.frame;
}

/** Darken what the model does not see: it is given the largest centred square. */
function showSquare(frame: HTMLElement, shown: HTMLImageElement): void {
  const { naturalWidth: width, naturalHeight: height } = shown;
  const side = Math.min(width, height);
  frame.style.setProperty("--ratio", String(width / height));
  frame.style.setProperty("--across", `${(50 * (width - side)) / width}%`);
  frame.style.setProperty("--down", `${(50 * (height - side)) / height}%`);
  if (Math.max(width, height) > 1.05 * side) frame.title = t("report.square");
}

function answers(context: Context, photo: Photo): Child[] {
  const answered = lastAnswer(photo);
  if (!answered) return [noAnswer(context, photo)];
  const { about } = context.engine;
  const { report: found } = answered;
  const main = mainHead(context, answered);
  const heads = Object.entries(found.heads);
  const others = heads.filter(([name]) => name !== main?.[0]);
  return [
    ...banners(context, photo, answered),
    main ? headCard(context, photo, main, true) : null,
    explanation(context, photo),
    consent(context),
    ...others.map((each) => headCard(context, photo, each, false)),
    h("p.source.note", {}, icon(answered.where), source(answered)),
    found.notes.length
      ? h(
          "details.notes",
          { "data-key": "notes" },
          h("summary", {}, t("report.notes")),
          ...found.notes.map((note) => h("p.note", {}, note)),
        )
      : null,
    about === null ? null : h("p.actions", {}, forget(context, photo)),
  ];
}

/** What a language model makes of it, behind a button: the photo goes to it. */
function explanation(context: Context, photo: Photo): Child {
  const { explainer } = context;
  if (photo.explained?.state === "there") {
    const { text, treatments, model } = photo.explained.explanation;
    return h(
      "section.card.explained",
      { "aria-label": t("report.explained") },
      h("p", {}, text),
      ...treatments.map((one) =>
        h("p", {}, one.wording, h("span.note", {}, ` (${one.source}, ${one.date})`)),
      ),
      h("p.note", {}, t("report.explained_by", { model })),
    );
  }
  if (explainer === null || photo.file === undefined) return null;
  const isAsking = photo.explained !== undefined;
  return h(
    "div.explain",
    {},
    h(
      "button",
      {
        type: "button",
        "data-key": "explain",
        disabled: isAsking,
        onclick: () => context.explain(photo),
      },
      icon("question"),
      t(isAsking ? "report.explain_asking" : "report.explain"),
    ),
    h("p.note", {}, t("report.explain_note", { model: explainer })),
  );
}

function headCard(
  context: Context,
  photo: Photo,
  [name, head]: [string, HeadJSON],
  main: boolean,
): HTMLElement {
  const { about } = context.engine;
  const spec = about?.taxonomy.heads.find((each) => each.name === name);
  const level = head.recommendation.level ?? "none";
  const body =
    head.kind === "multilabel"
      ? attributes(about, name, head)
      : [...verdict(about, name, head, main), possibilities(about, name, head)];
  return h(
    `section.card.head-card.${level}${main ? ".main" : ""}`,
    { "aria-label": nameOf(about, name) },
    ...body,
    spec ? feedback(context, photo, spec, head) : null,
  );
}

function banners(context: Context, photo: Photo, answered: Answered): Child[] {
  const { report: found } = answered;
  const retake = h(
    "button",
    { type: "button", "data-key": "retake", onclick: () => context.choose(true) },
    icon("camera"),
    t("report.retake"),
  );
  return [
    changed(context, photo, answered),
    asking(context, photo),
    found.unknown?.is_unknown
      ? h("div.banner.unknown", {}, h("h2", {}, icon("question"), t("report.unknown")), h("p", {}, found.unknown.text))
      : null,
    found.photo_faults.length
      ? h(
          "div.banner.fault",
          {},
          ...found.photo_faults.map((fault) => h("p", {}, icon("warning"), fault.text)),
          retake,
        )
      : null,
  ];
}

/** A better answer replaced the first one. */
function changed(context: Context, photo: Photo, answered: Answered): Child {
  const before = photo.answers[photo.answers.length - 2];
  if (answered.where !== "server" || !before || answered.report.unknown?.is_unknown) return null;
  const [now, then] = [mainAnswer(context, answered), mainAnswer(context, before)];
  const newer = context.engine.about && answered.bundle !== context.engine.about.id;
  return h(
    "div.banner.better",
    {},
    h(
      "p",
      {},
      icon("server"),
      now === then ? t("report.confirmed", { now }) : t("report.better", { now, before: then }),
    ),
    newer ? h("p", {}, t("report.newer")) : null,
  );
}

function asking(context: Context, photo: Photo): Child {
  const { asking: state } = photo;
  if (!state) return null;
  const again = photo.file
    ? h(
        "button",
        { type: "button", "data-key": "ask-again", onclick: () => context.askAgain(photo) },
        t("report.ask_again"),
      )
    : null;
  const line = (text: string, busy: boolean, ...more: Child[]): HTMLElement =>
    h(`div.banner.asking${busy ? ".busy" : ""}`, {}, h("p", {}, icon("server"), text), ...more);
  switch (state.state) {
    case "asking":
      return line(t(photo.answers.length ? "report.asking" : "report.sending"), true);
    case "busy":
      return line(t("report.server_busy", { seconds: Math.round(state.seconds) }), true);
    case "away":
      return line(t("report.server_away"), false, again);
    case "failed":
      return line(t("report.server_failed", { detail: state.detail }), false, again);
  }
}

function noAnswer(context: Context, photo: Photo): Child {
  if (photo.fault) {
    return h(
      "div.banner.fault",
      { role: "alert" },
      h("h2", {}, icon("warning"), t("report.no_photo")),
      h("p", {}, t("report.no_photo_how", { detail: photo.fault.detail })),
      h("p.actions", {}, forget(context, photo)),
    );
  }
  if (photo.asking) return asking(context, photo);
  if (!photo.file) return h("p", {}, t("report.gone"));
  return h("div.banner.asking.busy", {}, h("p", {}, icon("device"), t("report.waiting")));
}

function source({ where, report: found, milliseconds }: Answered): string {
  const values = { tier: found.tier ?? "?", time: duration(milliseconds) };
  return t(where === "device" ? "report.on_device" : "report.by_server", values);
}

function forget(context: Context, photo: Photo): HTMLElement {
  return h(
    "button.link",
    { type: "button", "data-key": "forget", onclick: () => context.forgetPhoto(photo) },
    icon("trash"),
    t("history.delete_one"),
  );
}
