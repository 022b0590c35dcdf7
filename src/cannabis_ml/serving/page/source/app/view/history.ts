// What was answered before, and what this page is made of.

import type { Context } from "../context";
import { h, icon, type Child } from "../dom";
import { dateTime, t } from "../language";
import { photos, smallPictureOf } from "../photos";
import { cancel, open } from "./feedback";
import { deviceState } from "./home";
import { markdown } from "./markdown";
import { summary } from "./report";

declare const PAGE_VERSION: string;

export function history(context: Context, waiting: number): Child[] {
  const all = photos();
  return [
    h("h1", { tabindex: "-1" }, t("history.title")),
    waiting ? h("p.banner.asking", {}, t("history.waiting", { count: waiting })) : null,
    all.length
      ? h("p.note", {}, t("history.about", { count: all.length }))
      : h("p.empty", {}, t("history.empty")),
    h(
      "ul.grid",
      {},
      ...all.map((photo) => {
        const url = smallPictureOf(photo);
        return h(
          "li",
          {},
          h(
            "a.tile",
            { href: `#/photo/${photo.id}`, "data-key": `tile ${photo.id}` },
            url ? h("img", { src: url, alt: "", loading: "lazy" }) : h("span.no-picture", {}, icon("images")),
            h("strong", {}, summary(context, photo)),
            h("small", {}, dateTime(new Date(photo.at))),
          ),
        );
      }),
    ),
    all.length || waiting
      ? h(
          "p.actions",
          {},
          h(
            "button.danger",
            { type: "button", "data-key": "delete", onclick: () => askToDelete(context) },
            icon("trash"),
            t("history.delete_all"),
          ),
        )
      : null,
  ];
}

function askToDelete(context: Context): void {
  const sheet = open(t("history.delete_all"));
  sheet.append(
    h("p", {}, t("history.delete_ask")),
    h("p.note", {}, t("history.delete_sent", { person: context.engine.caller.person })),
    h(
      "button.danger",
      {
        type: "button",
        onclick: () => {
          sheet.close();
          context.forgetAll();
        },
      },
      t("history.delete_yes"),
    ),
    cancel(sheet),
  );
}

export function about(context: Context): Child[] {
  const { about: bundle } = context.engine;
  return [
    h("h1", { tabindex: "-1" }, t("about.title")),
    h("section.card", {}, h("h2", {}, t("about.check")), deviceState(context), h("p", {}, check(context))),
    bundle
      ? h(
          "section.card",
          {},
          h("h2", {}, t("about.tiers")),
          h(
            "ul.tiers",
            {},
            ...bundle.tiers.map((tier) => {
              const here = context.engine.open.includes(tier);
              return h(
                "li",
                {},
                icon(here ? "device" : "server"),
                t(here ? "about.tier_device" : "about.tier_server", { tier }),
              );
            }),
          ),
          h("p.note.version", {}, t("about.page", { page: PAGE_VERSION, bundle: bundle.id.slice(0, 16) })),
        )
      : null,
    bundle
      ? h("section.card.markdown", {}, h("h2", {}, t("home.card")), ...markdown(bundle.modelCard))
      : null,
  ];
}

function check({ engine }: Context): string {
  const { reports, device } = engine;
  if (device.state === "failed" && device.fault === "disagrees") return t("about.check_failed");
  if (reports.length === 0) return t("about.check_waiting");
  const largest = Math.max(
    ...reports.flatMap((report) =>
      Object.values(report.tiers).flatMap((kinds) =>
        Object.values(kinds).flatMap((file) => Object.values(file.largest_difference)),
      ),
    ),
  );
  return t("about.check_passed", {
    count: reports[0]?.photos ?? 0,
    difference: largest.toExponential(0),
  });
}
