// What a report says of one head: the answer, how sure it is, and what else it may be.

import type { AttributeJSON, HeadJSON } from "../../core/wire";
import type { BundleAbout } from "../../shared/protocol";
import { nameOf } from "../context";
import { h, icon, type Child, type Icon } from "../dom";
import { percent, t, type TextKey } from "../language";

const MARKS: Readonly<Record<string, Icon>> = {
  reliable: "check",
  likely: "check",
  retake: "warning",
  unreliable: "warning",
  unknown: "question",
  unsure: "question",
};

/** The answer in words. */
export function answerOf(about: BundleAbout | null, head: HeadJSON): string {
  if (head.backed_off) return t("report.unsure");
  if (typeof head.answer === "string") return nameOf(about, head.answer);
  if (Array.isArray(head.answer)) {
    return head.answer.length
      ? head.answer.map((name) => nameOf(about, name)).join(", ")
      : t("report.nothing");
  }
  return t("report.none");
}

/** The answer and the advice. */
export function verdict(about: BundleAbout | null, name: string, head: HeadJSON, main: boolean): Child[] {
  const level = head.recommendation.level;
  const answer = answerOf(about, head);
  const guess = head.backed_off && typeof head.best_guess === "string" ? head.best_guess : null;
  // Of a photo unlike all that the model knows the page says so once, above.
  if (level === "unknown") {
    return [
      h("p.head-name", {}, nameOf(about, name)),
      h(main ? "h2.answer-name.unlike" : "h3.answer-name.unlike", {}, t("report.unlike", { name: answer })),
    ];
  }
  return [
    h("p.head-name", {}, nameOf(about, name)),
    h(main ? "h2.answer-name" : "h3.answer-name", {}, answer),
    guess ? h("p.guess", {}, t("report.guess", { name: nameOf(about, guess) })) : null,
    level
      ? h(
          `p.level.${level}`,
          {},
          h("span.level-mark", {}, icon(MARKS[level] ?? "question"), t(`level.${level}` as TextKey)),
        )
      : null,
    head.confidence === null ? null : sure(head),
    advice(head),
  ];
}

function advice(head: HeadJSON): Child {
  const { level, text } = head.recommendation;
  if (level === "unknown" || head.attributes?.some((each) => each.level === "unknown")) return null;
  // The first sentence stands in the mark already.
  const mark = level ? `${t(`level.${level}` as TextKey)}.` : "";
  const rest = text?.startsWith(mark) ? text.slice(mark.length).trim() : text;
  return rest ? h("p.advice", {}, rest) : null;
}

/** Confidence as a number and on a scale, with the band around it. */
function sure(head: HeadJSON): HTMLElement {
  const shown = percent(head.confidence ?? 0);
  const band = head.band;
  const label = band
    ? t("report.scale", { percent: shown, low: percent(band.low), high: percent(band.high) })
    : t("report.scale_bare", { percent: shown });
  return h(
    "div.sure",
    {},
    h(
      "p.sure-number",
      {},
      t(head.is_calibrated ? "report.sure" : "report.score", { percent: shown }),
    ),
    scale(head.confidence ?? 0, band, label),
    band?.text ? h("p.note", {}, band.text) : null,
  );
}

function scale(value: number, band: { low: number; high: number } | null, label: string): HTMLElement {
  const svg = svgOf("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "scale" });
  svg.append(svgOf("rect", { x: 0, y: 1, width: 100, height: 4, rx: 2, class: "scale-all" }));
  if (band) {
    const width = Math.max(1, 100 * (band.high - band.low));
    svg.append(svgOf("rect", { x: 100 * band.low, y: 1, width, height: 4, class: "scale-band" }));
  }
  const at = Math.min(98.8, Math.max(0, 100 * value - 0.6));
  svg.append(svgOf("rect", { x: at, y: 0, width: 1.2, height: 6, class: "scale-at" }));
  return h("div", { role: "img", "aria-label": label }, svg);
}

function svgOf(name: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

/** All classes with their probabilities, and what the set and the neighbours are. */
export function possibilities(about: BundleAbout | null, name: string, head: HeadJSON): HTMLElement {
  const classes = Object.keys(head.probs);
  const ordered =
    head.kind === "ordinal"
      ? classes
      : classes.sort((a, b) => (head.probs[b] as number) - (head.probs[a] as number));
  const answer = typeof head.best_guess === "string" ? nameOf(about, head.best_guess) : "";
  return h(
    "details.possibilities",
    { "data-key": `possibilities ${name}` },
    h("summary", {}, t("report.details")),
    h("ul.bars", {}, ...ordered.map((each) => bar(about, each, head))),
    head.or_better === null
      ? null
      : h("p.note", {}, t("report.or_better", { answer, percent: percent(head.or_better) })),
    head.within_one === null
      ? null
      : h("p.note", {}, t("report.within_one", { percent: percent(head.within_one) })),
    head.possible ? h("p.note", {}, head.possible.text) : null,
    head.raw_confidence === null || !head.is_calibrated
      ? null
      : h("p.note", {}, t("report.raw", { percent: percent(head.raw_confidence) })),
  );
}

function bar(about: BundleAbout | null, name: string, head: HeadJSON): HTMLElement {
  const share = head.probs[name] as number;
  const chosen = name === head.best_guess;
  const svg = svgOf("svg", {
    viewBox: "0 0 100 4",
    preserveAspectRatio: "none",
    class: "bar",
    "aria-hidden": "true",
  });
  svg.append(svgOf("rect", { width: 100, height: 4, class: "scale-all" }));
  svg.append(svgOf("rect", { width: 100 * share, height: 4, class: "bar-share" }));
  return h(
    chosen ? "li.chosen" : "li",
    {},
    h("span.bar-name", {}, nameOf(about, name)),
    svg,
    h("span.bar-number", {}, percent(share)),
  );
}

/** Attributes of a multilabel head: there, doubtful, not there. */
export function attributes(about: BundleAbout | null, name: string, head: HeadJSON): Child[] {
  const found = head.attributes ?? [];
  const group = (state: AttributeJSON["state"], key: TextKey): Child => {
    const these = found
      .filter((each) => each.state === state)
      .sort((a, b) => b.probability - a.probability);
    if (these.length === 0) return state === "present" ? [h("h4", {}, t(key)), h("p.note", {}, t("report.nothing"))] : null;
    return [
      h("h4", {}, t(key)),
      h(
        `ul.attributes.${state}`,
        {},
        ...these.map((each) =>
          h(
            "li",
            {},
            nameOf(about, each.name),
            h("span.attribute-number", {}, percent(state === "absent" ? each.confidence : each.probability)),
          ),
        ),
      ),
    ];
  };
  return [
    h("p.head-name", {}, nameOf(about, name)),
    ...[group("present", "report.present"), group("unsure", "report.doubtful"), group("absent", "report.absent")],
    advice(head),
  ];
}
