// What a person says of an answer, in two taps.

import type { Head, HeadJSON } from "../../core/wire";
import type { Opinion, Said } from "../../shared/feedback_queue";
import { type Context, nameOf } from "../context";
import { h, icon, type Child, type Icon } from "../dom";
import { t } from "../language";
import type { Photo } from "../photos";

/** The row below an answer. */
export function feedback(context: Context, photo: Photo, head: Head, found: HeadJSON): Child {
  const said = photo.said[head.name];
  if (said) return saidRow(context, photo, head, said);
  const many = head.kind === "multilabel";
  const say = (opinion: Opinion): void => context.say(photo, opinion);
  const button = (key: string, mark: Icon, text: string, onclick: () => void): HTMLElement =>
    h(
      `button.say.${key}`,
      { type: "button", "data-key": `${key} ${head.name}`, onclick },
      icon(mark),
      text,
    );
  const label = `ask-${head.name}`;
  const answered = found.answer !== null;
  return h(
    "div.feedback",
    { role: "group", "aria-labelledby": label },
    h("p.ask", { id: label }, t("feedback.ask"), h("span.hidden", {}, ` ${nameOf(context.engine.about, head.name)}`)),
    h(
      "div.says",
      {},
      answered
        ? button("right", "check", t(many ? "feedback.all_right" : "feedback.right"), () =>
            say({ head: head.name, verdict: "confirmed" }),
          )
        : null,
      button("wrong", "cross", t(many ? "feedback.some_wrong" : "feedback.wrong"), () =>
        (many ? pickMany : pickOne)(context, photo, head, found),
      ),
      button("unsure", "question", t("feedback.unsure"), () =>
        say({ head: head.name, verdict: "unsure" }),
      ),
    ),
  );
}

function saidRow(context: Context, photo: Photo, head: Head, said: Said): HTMLElement {
  const state =
    said.state === "sent"
      ? t("feedback.sent")
      : said.state === "refused"
        ? t("feedback.refused", { detail: said.detail })
        : t(context.online ? "feedback.queued" : "feedback.offline");
  return h(
    `div.said.${said.state}`,
    {},
    h("p", {}, h("strong", {}, inWords(context, said)), ` – ${state}`),
    said.state === "waiting"
      ? h(
          "button.link",
          {
            type: "button",
            "data-key": `undo ${head.name}`,
            onclick: () => context.unsay(photo, head.name),
          },
          t("feedback.undo"),
        )
      : null,
  );
}

function inWords(context: Context, said: Said): string {
  switch (said.verdict) {
    case "confirmed":
      return t("feedback.you_right");
    case "unsure":
      return t("feedback.you_unsure");
    case "none_of_these":
      return t("feedback.you_none");
    case "proposed":
      return t("feedback.you_wrong", { label: String(said.label) });
    case "corrected": {
      const names = Array.isArray(said.label) ? said.label : [said.label ?? ""];
      const label = names.map((name) => nameOf(context.engine.about, name)).join(", ");
      return t("feedback.you_wrong", { label: label || t("report.nothing") });
    }
  }
}

function pickOne(context: Context, photo: Photo, head: Head, found: HeadJSON): void {
  const { about } = context.engine;
  const sheet = open(t("feedback.pick_of", { head: nameOf(about, head.name) }));
  const say = (opinion: Opinion): void => {
    sheet.close();
    context.say(photo, opinion);
  };
  const others = head.classes.filter(({ name }) => name !== found.answer);
  const field = h("input", { id: "proposed", maxlength: "60", required: true, autocomplete: "off" });
  sheet.append(
    h(
      "div.picks",
      {},
      ...others.map(({ name, about: text }) =>
        h(
          "button.pick",
          {
            type: "button",
            onclick: () => say({ head: head.name, verdict: "corrected", label: name }),
          },
          h("strong", {}, nameOf(about, name)),
          text ? h("span", {}, text) : null,
        ),
      ),
      h(
        "button.pick.none",
        { type: "button", onclick: () => say({ head: head.name, verdict: "none_of_these" }) },
        t("feedback.none"),
      ),
    ),
    h(
      "details.propose",
      {},
      h("summary", {}, t("feedback.propose")),
      h(
        "form",
        {
          onsubmit: (event: SubmitEvent) => {
            event.preventDefault();
            const label = (field as HTMLInputElement).value.trim();
            if (label) say({ head: head.name, verdict: "proposed", label });
          },
        },
        h("label", { for: "proposed" }, t("feedback.propose_label")),
        field,
        h("button", { type: "submit" }, t("feedback.save")),
      ),
    ),
    cancel(sheet),
  );
}

function pickMany(context: Context, photo: Photo, head: Head, found: HeadJSON): void {
  const { about } = context.engine;
  const sheet = open(t("feedback.pick_many", { head: nameOf(about, head.name) }));
  const claimed = new Set(Array.isArray(found.answer) ? found.answer : []);
  const boxes = head.classes.map(({ name, about: text }) => {
    const box = h("input", {
      type: "checkbox",
      value: name,
      checked: claimed.has(name),
    }) as HTMLInputElement;
    return {
      box,
      row: h("label.tick", {}, box, h("span", {}, h("strong", {}, nameOf(about, name)), text ? h("small", {}, text) : null)),
    };
  });
  sheet.append(
    h(
      "form",
      {
        onsubmit: (event: SubmitEvent) => {
          event.preventDefault();
          sheet.close();
          const label = boxes.filter(({ box }) => box.checked).map(({ box }) => box.value);
          const same = label.length === claimed.size && label.every((name) => claimed.has(name));
          context.say(
            photo,
            same
              ? { head: head.name, verdict: "confirmed" }
              : { head: head.name, verdict: "corrected", label },
          );
        },
      },
      h("div.ticks", {}, ...boxes.map(({ row }) => row)),
      h("button.primary", { type: "submit" }, t("feedback.save")),
    ),
    cancel(sheet),
  );
}

/** Closes a sheet without any change. */
export function cancel(sheet: HTMLDialogElement): HTMLElement {
  return h("button.link", { type: "button", onclick: () => sheet.close() }, t("feedback.cancel"));
}

/** A sheet over the page; the browser keeps the focus inside, and closes it by Escape. */
export function open(title: string): HTMLDialogElement {
  const sheet = h("dialog.sheet", { "aria-labelledby": "sheet-title" }) as HTMLDialogElement;
  sheet.append(h("h2", { id: "sheet-title" }, title));
  sheet.addEventListener("close", () => sheet.remove());
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet) sheet.close();
  });
  document.body.append(sheet);
  sheet.showModal();
  return sheet;
}

/** Whether the photo goes along. */
export function consent(context: Context): HTMLElement {
  const box = h("input", {
    type: "checkbox",
    id: "consent",
    "data-key": "consent",
    checked: context.consent,
    onchange: () => context.setConsent((box as HTMLInputElement).checked),
  });
  return h("label.consent", { for: "consent" }, box, h("span", {}, t("feedback.consent")));
}
