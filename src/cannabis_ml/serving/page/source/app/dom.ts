// Elements without a framework.

export type Child = Node | string | null | undefined | false | readonly Child[];

type Listeners = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void };
type Attributes = Listeners & { readonly [name: string]: unknown };

/**
 * Make an element.
 *
 * @param tag Its name, with classes after dots: `p.note`.
 * @param attributes `on…` are listeners; false, null and undefined are left out; true is empty.
 */
export function h(tag: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name as string);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) {
      element.addEventListener(key.slice(2), value as EventListener);
    } else {
      element.setAttribute(key, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

export function append(parent: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child as readonly Child[]);
    else if (child !== null && child !== undefined && child !== false) parent.append(child as Node);
  }
}

/**
 * Put new children into an element. By `data-key`, what had the focus has it again with what was
 * typed, and what was unfolded stays so.
 */
export function replace(parent: Element, ...children: Child[]): void {
  const focused = document.activeElement;
  const key = focused && parent.contains(focused) ? focused.getAttribute("data-key") : null;
  const typed = focused instanceof HTMLInputElement ? focused.value : null;
  const unfolded = Array.from(parent.querySelectorAll("details[open][data-key]"), keyOf);
  parent.replaceChildren();
  append(parent, children);
  for (const details of parent.querySelectorAll<HTMLDetailsElement>("details[data-key]")) {
    details.open ||= unfolded.includes(keyOf(details));
  }
  const again = key ? parent.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`) : null;
  if (again instanceof HTMLInputElement && again.type !== "checkbox" && typed) again.value = typed;
  again?.focus();
}

const later = new Set<() => void>();
let isPressed = false;

/**
 * Draw now, or once what is pressed is let go: a button that is exchanged in between gets no click.
 *
 * @param draw The same function each time; it is called once for all that waited.
 */
export function onceLetGo(draw: () => void): void {
  if (isPressed) later.add(draw);
  else draw();
}

addEventListener("pointerdown", ({ target }) => {
  // A menu that opens, as of a select, may keep the end of the press for itself.
  isPressed = target instanceof Element && target.closest("a, button, label, summary") !== null;
});

for (const end of ["pointerup", "pointercancel", "contextmenu", "dragend"]) {
  addEventListener(end, () => {
    isPressed = false;
    // The click comes after the end of the press.
    requestAnimationFrame(() => {
      const waited = [...later];
      later.clear();
      waited.forEach(onceLetGo);
    });
  });
}

const keyOf = (element: Element): string | null => element.getAttribute("data-key");

const PATHS = {
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 17a4 4 0 1 0 0-8 4 4 0 0 0 0 8z",
  images: "M8 4h12v12H8zM4 8v12h12M8 14l4-4 4 4 2-2 2 2",
  forward: "M9 5l7 7-7 7",
  history: "M4 12a8 8 0 1 0 3-6.2M4 4v4h4M12 8v4l3 2",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v6M12 7.5v.5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  question: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.5",
  warning: "M12 4l9 16H3zM12 10v4M12 17v.5",
  device: "M7 3h10v18H7zM11 18h2",
  server: "M4 5h16v6H4zM4 13h16v6H4zM7 8h1M7 16h1",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  sparkle: "M12 3l2 6 6 3-6 3-2 6-2-6-6-3 6-3z",
};

/** What pictures are there. */
export type Icon = keyof typeof PATHS;

/** A picture that only says what the text beside it says. */
export function icon(name: Icon): SVGSVGElement {
  const NS = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(NS, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
