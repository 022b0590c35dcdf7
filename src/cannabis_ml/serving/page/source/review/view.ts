// Draws the review page: the photo, the question, and what a thumb needs below.

import { h, icon, type Child, type Icon } from "../app/dom";
import { language, languages, percent } from "../app/language";
import { shownName } from "../core/index";
import type { Head } from "../core/wire";
import { areOn, keyOf, turn } from "./keys";
import type { Review } from "./main";
import { allowed, asked, type Choice, type Item } from "./session";
import { reasonOf, t, type TextKey } from "./texts";

export type Shown = Readonly<Record<"skip" | "top" | "main" | "bottom", readonly Child[]>>;

/** Children of each part of the page. */
export function draw(review: Review, said: string): Shown {
  const { item } = review;
  const isAsking = item !== null && review.fault !== "key" && review.fault !== "store";
  return {
    skip: [t("skip_link")],
    top: top(review),
    main: [
      h("h1.hidden", {}, t("title")),
      refused(review),
      isAsking ? card(review, item, said) : instead(review),
    ],
    bottom: isAsking ? buttons(review, item) : item === null && review.canUndo ? [undo(review)] : [],
  };
}

/** A class or head as people read it. */
const nameOf = (review: Review, name: string): string =>
  shownName({ heads: [...review.heads], names: review.names }, name, language());

/** What was answered of a photo. */
export function inWords(review: Review, item: Item): string {
  const told = asked(review.heads, item.choices).flatMap((head) => {
    const choice = item.choices.get(head.name);
    return choice ? [answer(review, choice)] : [];
  });
  return told.join(", ");
}

function answer(review: Review, choice: Choice): string {
  if (choice.kind === "unsure") return t("unsure");
  if (choice.kind === "none") return t("none_of_these");
  return choice.names.map((name) => nameOf(review, name)).join(", ") || t("none_there");
}

function top(review: Review): Child[] {
  const { outbox } = review;
  const isOffline = !navigator.onLine || outbox.isStuck || review.fault === "away";
  return [
    h(
      "a.brand",
      { href: "/", "data-key": "brand", title: t("home") },
      h("span.leaf", { "aria-hidden": "true" }),
      h("span.brand-name", {}, t("title")),
    ),
    isOffline ? h("span.offline", {}, t("offline")) : null,
    isOffline && outbox.size ? h("span.note.unsent", {}, t("unsent", { count: outbox.size })) : null,
    h(
      "select",
      {
        "aria-label": t("language"),
        "data-key": "language",
        onchange: (event: Event) => review.speak((event.target as HTMLSelectElement).value),
      },
      ...languages().map(([tag, name]) =>
        h("option", { value: tag, selected: tag === language(), lang: tag }, name),
      ),
    ),
  ];
}

function refused(review: Review): Child {
  if (!review.refused) return null;
  return h(
    "div.banner.fault",
    { role: "alert" },
    h("p", {}, icon("warning"), h("span", {}, t("refused", { detail: review.refused }))),
    h("button", { type: "button", onclick: () => review.dismiss() }, t("dismiss")),
  );
}

function card(review: Review, item: Item, said: string): Child {
  const heads = asked(review.heads, item.choices);
  const isActive = (head: Head): boolean => head.name === review.active;
  const all = review.count + review.waiting;
  const told = t("progress", { done: review.count, waiting: review.waiting });
  return h(
    "div.judging",
    {},
    h(
      "figure.picture",
      { "aria-busy": review.url === null && "true" },
      review.url
        ? image(review.url, item.photo.photo_id)
        : h("p.note.loading", {}, t("loading_photo")),
    ),
    h(
      "section",
      { id: "question", "aria-label": t("photo") },
      h(
        "div.far",
        {},
        h("progress", { max: all, value: review.count, "aria-label": told }),
        h("p.note", {}, told, said ? h("span.last", {}, ` · ${said}`) : null),
      ),
      h("p.note.why-here", {}, reasonOf(item.photo.kind)),
      ...heads.filter(isActive).map((head) => question(review, item, head)),
      ...heads.filter((head) => !isActive(head)).map((head) => row(review, item, head)),
      suggestion(review, item),
      help(),
    ),
  );
}

let onScreen: HTMLElement | null = null;

/** The same element as long as it is the same photo: it is not decoded again. */
function image(url: string, photo: string): HTMLElement {
  if (onScreen?.getAttribute("src") !== url) onScreen = h("img", { src: url, "data-photo": photo });
  onScreen?.setAttribute("alt", t("photo"));
  return onScreen as HTMLElement;
}

function suggestion(review: Review, item: Item): Child {
  const { suggestion: found, reason } = item.photo;
  if (!found) return null;
  if (!item.seen) {
    return h(
      "div.hidden-answer",
      {},
      h("p.note", {}, t("blind")),
      h(
        "button.link.reveal",
        { type: "button", "data-key": "show", "aria-keyshortcuts": areOn() && "h", onclick: () => review.reveal() },
        t("show"),
        hint("H"),
      ),
      h("p.note", {}, t("show_note")),
    );
  }
  const told = review.heads.flatMap((head) => {
    const one = found.heads[head.name];
    if (!one) return [];
    const names = Array.isArray(one.label) ? one.label : one.label === null ? [] : [one.label];
    const share = one.confidence === null ? "" : ` (${percent(one.confidence)})`;
    return [names.map((name) => nameOf(review, name)).join(", ") + share];
  });
  return h(
    "div.shown-answer",
    {},
    h("p", {}, `${t("suggestion")}: `, h("strong", {}, told.join("; "))),
    h("p.note", { lang: "en" }, reason),
  );
}

const QUESTIONS: Readonly<Record<string, TextKey>> = {
  ordinal: "question_grade",
  multilabel: "question_many",
};

function question(review: Review, item: Item, head: Head): Child {
  const many = head.kind === "multilabel";
  const made = item.choices.get(head.name);
  const chosen = many ? review.ticked : new Set(made?.kind === "classes" ? made.names : []);
  const said = item.seen ? item.photo.suggestion?.heads[head.name] : undefined;
  const suggested = Array.isArray(said?.label) ? said.label : said?.label ? [said.label] : [];
  const title = t(QUESTIONS[head.kind ?? ""] ?? "question_one", { head: nameOf(review, head.name) });
  return h(
    "fieldset.question",
    {},
    h("legend", {}, h("h2", { tabindex: "-1" }, title)),
    h(
      "div.options",
      {},
      ...allowed(head, item.choices).map((name, place) => {
        const key = keyOf(place);
        const isSuggested = suggested.includes(name);
        return h(
          `button.option${chosen.has(name) ? ".chosen" : ""}`,
          {
            type: "button",
            "aria-pressed": chosen.has(name) ? "true" : "false",
            "aria-keyshortcuts": areOn() && key,
            "data-key": `${item.photo.photo_id} ${head.name} ${name}`,
            "data-class": name,
            title: head.classes.find((each) => each.name === name)?.about || null,
            onclick: () => review.pick(name),
          },
          key ? hint(key.toUpperCase()) : null,
          h(
            "span",
            {},
            nameOf(review, name),
            isSuggested ? h("small", {}, marked(said?.confidence ?? null, many)) : null,
          ),
        );
      }),
    ),
    h(
      "div.others",
      {},
      suggested.length ? agree(review) : null,
      many
        ? h(
            "button.primary.these",
            { type: "button", "data-key": `${item.photo.photo_id} ${head.name} these`, onclick: () => review.confirm() },
            t(review.ticked.size ? "these" : "none_there"),
            hint("↵"),
          )
        : h(
            "button.none",
            {
              type: "button",
              "aria-keyshortcuts": areOn() && "0",
              "data-key": `${item.photo.photo_id} ${head.name} none`,
              onclick: () => review.decide({ kind: "none" }),
            },
            t("none_of_these"),
            hint("0"),
          ),
    ),
  );
}

const agree = (review: Review): Child =>
  h(
    "button.agree",
    { type: "button", "data-key": "agree", "aria-keyshortcuts": areOn() && "a", onclick: () => review.agree() },
    icon("check"),
    t("agree"),
    hint("A"),
  );

const marked = (confidence: number | null, many: boolean): string =>
  confidence === null || many ? t("suggested_bare") : t("suggested", { percent: percent(confidence) });

/** A head that is not asked now. */
function row(review: Review, item: Item, head: Head): Child {
  const choice = item.choices.get(head.name);
  return h(
    `button.row${choice ? ".answered" : ""}`,
    {
      type: "button",
      "data-key": `row ${head.name}`,
      onclick: () => {
        review.ask(head);
        review.draw();
        document.querySelector<HTMLElement>("#question h2")?.focus();
      },
    },
    h("span.head-name", {}, nameOf(review, head.name)),
    h("span.row-answer", {}, choice ? answer(review, choice) : t("open")),
  );
}

const hint = (key: string): Child => h("kbd", { "aria-hidden": "true" }, key);

function buttons(review: Review, item: Item): Child[] {
  const isLast = asked(review.heads, item.choices).every(
    ({ name }) => name === review.active || item.choices.has(name),
  );
  const one = (name: string, mark: Icon, text: TextKey, key: string, act: () => void): HTMLElement =>
    h(
      `button.${name}`,
      { type: "button", "data-key": name, "aria-keyshortcuts": areOn() && key, onclick: act },
      icon(mark),
      h("span", {}, t(text), " ", hint(key.toUpperCase())),
    );
  return [
    undo(review),
    one("skip-photo", "forward", "skip", "s", () => review.skip()),
    one("not-sure", "question", "unsure", "n", () => review.decide({ kind: "unsure" })),
    h(
      "button.take",
      { type: "button", "data-key": "save", onclick: () => review.confirm() },
      icon("check"),
      h("span", {}, t(isLast ? "save" : "next"), " ", hint("↵")),
    ),
  ];
}

function undo(review: Review): HTMLElement {
  return h(
    "button.undo",
    {
      type: "button",
      "data-key": "undo",
      disabled: !review.canUndo,
      "aria-keyshortcuts": areOn() && "u",
      onclick: () => review.undo(),
    },
    icon("history"),
    h("span", {}, t("undo"), " ", hint("U")),
  );
}

function help(): Child {
  const rows: [string, TextKey][] = [
    ["1–9, B, C …", "keys.class"],
    ["↵", "keys.save"],
    ["A", "keys.agree"],
    ["H", "keys.show"],
    ["0", "keys.none"],
    ["N", "keys.unsure"],
    ["S", "keys.skip"],
    ["U", "keys.undo"],
    ["← → ↑ ↓", "keys.arrows"],
  ];
  const box = h("input", {
    type: "checkbox",
    id: "keys-on",
    "data-key": "keys",
    checked: areOn(),
    onchange: () => turn((box as HTMLInputElement).checked),
  });
  return h(
    "details.keys",
    { "data-key": "help" },
    h("summary", {}, t("help")),
    h("dl", {}, ...rows.map(([keys, text]) => h("div", {}, h("dt", {}, h("kbd", {}, keys)), h("dd", {}, t(text))))),
    h("label.consent", { for: "keys-on" }, box, h("span", {}, t("keys_on"))),
  );
}

/** What is shown where no photo is. */
function instead(review: Review): Child {
  if (review.fault === "key") return askKey(review);
  if (review.fault === "store") return h("div.card", {}, h("h2", {}, t("no_store")));
  if (review.isLooking || review.fault) return h("p.note.empty", { role: "status" }, t("loading"));
  const button = (key: string, text: string, act: () => void): HTMLElement =>
    h("button", { type: "button", "data-key": key, onclick: act }, text);
  return h(
    "div.card.finished",
    {},
    h("h2", {}, t("done")),
    review.count ? h("p", {}, t("done_count", { count: review.count })) : null,
    h("p.note", {}, t("done_none")),
    h(
      "div.choices",
      {},
      review.skipped ? button("skipped", t("skipped_again", { count: review.skipped }), () => review.again()) : null,
      button("again", t("again"), () => void review.look()),
    ),
  );
}

function askKey(review: Review): Child {
  const field = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    required: true,
    "data-key": "key field",
  }) as HTMLInputElement;
  return h(
    "form.card",
    {
      onsubmit: (event: SubmitEvent) => {
        event.preventDefault();
        void review.enterKey(field.value.trim());
      },
    },
    h("h2", {}, t(review.keyWasWrong ? "key_wrong" : "key")),
    h("div.key", {}, h("label", { for: "key" }, t("key_label")), field, h("button.primary", { type: "submit" }, t("key_save"))),
  );
}
