// The legend: categories are buttons that show only theirs; numbers are a scale.
import type { Coloring, Group } from "./colors";
import { button, clip, h, short } from "./dom";

export function legendOf({ groups, range }: Coloring, filter: (groups: Group[]) => void): HTMLElement {
  if (range) {
    const scale = h("span", { class: "scale" });
    scale.style.background = `linear-gradient(to right, ${range.steps.join(",")})`;
    const date = range.unit === "date";
    const text = (value: number) => (date ? dayOf(value) : short(value));
    const unit = range.unit && !date ? ` ${clip(range.unit, 24)}` : "";
    const missing = range.missing ? h("span", { class: "key" }, h("i", { class: "kx" }), `${range.waiting ? "not scored yet" : "missing"} (${range.missing.toLocaleString("en-US")})`) : null;
    if (!range.known) return h("div", { class: "legend-row" }, missing);
    return h("div", { class: "legend-row" }, h("span", {}, text(range.low) + unit), scale, h("span", {}, text(range.high) + unit), missing);
  }
  const chosen = new Set<Group>();
  const buttons = (groups ?? []).map((group) => {
    const dot = h("i");
    dot.style.background = group.color;
    const each = button("", () => {
      if (!chosen.delete(group)) chosen.add(group);
      each.setAttribute("aria-pressed", String(chosen.has(group)));
      filter([...chosen]);
    }, { class: "key", "aria-pressed": "false", title: `${group.count.toLocaleString("en-US")} rows; press to show only these` });
    each.append(dot, h("span", {}, clip(group.name, 40)));
    return each;
  });
  return h("div", { class: "legend-row", role: "group", "aria-label": "Show only" }, ...buttons);
}

/** Dates are days since 1970. */
function dayOf(days: number): string {
  const date = new Date(days * 86_400_000);
  return Number.isNaN(date.getTime()) ? short(days) : date.toISOString().slice(0, 10);
}
