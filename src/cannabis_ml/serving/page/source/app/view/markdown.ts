// The part of Markdown that model cards use, as elements: nothing of a card is taken as HTML.

import { h, type Child } from "../dom";

const HEAD = /^---\n[\s\S]*?\n---\n/;

/** The first paragraph after the title; empty where there is none. */
export function introductionOf(card: string): string {
  const blocks = blocksOf(card);
  const title = blocks.findIndex((block) => block.startsWith("# "));
  const next = blocks[title + 1];
  return title >= 0 && next && /^[^#|`-]/.test(next) ? plain(next) : "";
}

/** A model card, without its YAML head and its title. */
export function markdown(card: string): Child[] {
  return blocksOf(card)
    .filter((block) => !block.startsWith("# "))
    .map(blockOf);
}

function blocksOf(card: string): string[] {
  const text = card.replaceAll("\r\n", "\n").replace(HEAD, "");
  const parts = text.split(/(```[\s\S]*?```)/);
  return parts
    .flatMap((part) => (part.startsWith("```") ? [part] : part.split(/\n{2,}/)))
    .map((block) => block.trim())
    .filter(Boolean);
}

function blockOf(block: string): HTMLElement {
  const lines = block.split("\n");
  const first = lines[0] as string;
  const heading = /^(#{2,4}) (.*)$/.exec(first);
  if (heading) {
    const level = Math.min(5, (heading[1] as string).length + 1);
    const rest = lines.slice(1).join("\n").trim();
    const title = h(`h${level}`, {}, ...inline(heading[2] as string));
    return rest ? h("div", {}, title, blockOf(rest)) : title;
  }
  if (first.startsWith("```")) {
    return h("pre", { tabindex: "0" }, h("code", {}, lines.slice(1, -1).join("\n")));
  }
  if (first.startsWith("|")) return table(lines);
  if (/^[-*] /.test(first)) return list(lines);
  return h("p", {}, ...inline(block));
}

function table(lines: string[]): HTMLElement {
  const cells = (line: string): string[] =>
    line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const [head, , ...rows] = lines;
  return h(
    "div.table",
    { tabindex: "0" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...cells(head as string).map((c) => h("th", { scope: "col" }, ...inline(c))))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...cells(row).map((c) => h("td", {}, ...inline(c)))))),
    ),
  );
}

function list(lines: string[]): HTMLElement {
  const items: string[] = [];
  for (const line of lines) {
    if (/^[-*] /.test(line)) items.push(line.slice(2));
    else items.push(`${items.pop() ?? ""}\n${line}`);
  }
  return h("ul", {}, ...items.map((item) => h("li", {}, ...inline(item))));
}

/** Code, bold and links; a link is shown as its text. */
function inline(text: string): Child[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).map((part) => {
    if (part.startsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return h("strong", {}, part.slice(2, -2));
    if (/^\[[^\]]+\]\(/.test(part)) return part.slice(1, part.indexOf("]"));
    return part;
  });
}

const plain = (text: string): string => text.replace(/[`*]/g, "").replace(/\s+/g, " ");
