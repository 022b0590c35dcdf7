// Before the first photo: what this is, what it knows, and whether it is ready.

import type { Head } from "../../core/wire";
import { type Context, nameOf } from "../context";
import { h, icon, type Child } from "../dom";
import type { DeviceState } from "../engine";
import { date, percent, t, type TextKey } from "../language";
import { introductionOf } from "./markdown";

export function home(context: Context): Child[] {
  const { about } = context.engine;
  return [
    h(
      "section.hero",
      {},
      h("h1", { tabindex: "-1" }, t("home.title")),
      h("p.lead", {}, t("home.how")),
      h(
        "div.choices",
        {},
        h(
          "button.primary.touch-only",
          { type: "button", "data-key": "home-take", onclick: () => context.choose(true) },
          icon("camera"),
          t("nav.take"),
        ),
        h(
          "button.primary",
          { type: "button", "data-key": "home-choose", onclick: () => context.choose(false) },
          icon("images"),
          t("nav.choose"),
        ),
      ),
      h("p.note.pointer-only", {}, t("home.drop")),
      deviceState(context),
    ),
    about
      ? h(
          "section.card",
          {},
          h("h2", {}, t("home.knows")),
          introduction(about.modelCard),
          ...about.taxonomy.heads.map((head) => knows(context, head)),
          h("p.note", {}, t("home.made", { name: about.name, date: date(new Date(about.created)) })),
        )
      : null,
  ];
}

function introduction(card: string): Child {
  const text = introductionOf(card);
  return text ? h("p", {}, text) : null;
}

function knows(context: Context, head: Head): Child {
  const { about } = context.engine;
  const described = head.classes.filter((each) => each.about);
  const kind = `kind.${head.kind ?? "multiclass"}` as TextKey;
  return h(
    "div.knows",
    {},
    h("h3", {}, nameOf(about, head.name), h("span.kind", {}, t(kind))),
    h("ul.chips", {}, ...head.classes.map(({ name }) => h("li", {}, nameOf(about, name)))),
    described.length
      ? h(
          "details",
          { "data-key": `knows ${head.name}` },
          h("summary", {}, t("home.meaning")),
          h(
            "dl.classes",
            {},
            ...described.map(({ name, about: text }) =>
              h("div", {}, h("dt", {}, nameOf(about, name)), h("dd", {}, text)),
            ),
          ),
        )
      : null,
  );
}

/** Whether this device answers; what to do if it does not. */
export function deviceState(context: Context): HTMLElement {
  const { device } = context.engine;
  const line = (mark: string, text: string, ...more: Child[]): HTMLElement =>
    h(`div.state.${mark}`, {}, h("span.dot", { "aria-hidden": "true" }), h("p", {}, text), ...more);
  switch (device.state) {
    case "opening":
      return line("busy", t("state.opening"));
    case "loading":
      return line(
        "busy",
        t("state.loading", { share: percent(device.share) }),
        h("progress", { max: "1", value: device.share, "aria-label": t("state.opening") }),
      );
    case "checking":
      return line("busy", t("state.checking"));
    case "ready":
      return line("good", t(context.isKept ? "state.ready" : "state.ready_online"));
    case "failed":
      return failed(context, device, line);
  }
}

function failed(
  context: Context,
  { fault, detail }: DeviceState & { state: "failed" },
  line: (mark: string, text: string, ...more: Child[]) => HTMLElement,
): HTMLElement {
  const again = h(
    "button",
    { type: "button", "data-key": "again", onclick: () => context.restart() },
    t("state.again"),
  );
  if (fault === "key") {
    const wrong = context.engine.caller.key !== null;
    return line("bad", t(wrong ? "state.key_wrong" : "state.key"), keyForm(context));
  }
  if (fault === "disagrees") return line("bad", t("state.disagrees"));
  if (fault === "network") return line("bad", t("state.no_bundle"), again);
  return line("bad", t("state.unsupported"), h("details.why", { "data-key": "why" }, h("summary", {}, "?"), detail));
}

function keyForm(context: Context): HTMLElement {
  const field = h("input", {
    id: "key",
    "data-key": "key",
    type: "password",
    autocomplete: "off",
    required: true,
  });
  return h(
    "form.key",
    {
      onsubmit: (event: SubmitEvent) => {
        event.preventDefault();
        context.enterKey((field as HTMLInputElement).value.trim());
      },
    },
    h("label", { for: "key" }, t("state.key_label")),
    field,
    h("button", { type: "submit" }, t("state.key_save")),
  );
}
