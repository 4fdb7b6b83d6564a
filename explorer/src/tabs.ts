// Tabs, as the ARIA practices say: arrows go from tab to tab, one is in the tab order.
import type { App } from "./app";
import { h, unique } from "./dom";

export interface Tab {
  readonly id: string;
  readonly name: string;
  readonly node: HTMLElement;
  /** Called when the user sees the tab: what it needs from the server is asked for now, not before. */
  seen(): void;
}

export function tabs(app: App, all: Tab[]): HTMLElement {
  const list = h("div", { role: "tablist", "aria-label": "What to do", class: "tabs" });
  const parts = all.map((tab) => {
    const [button, panel] = [unique("tab"), unique("panel")];
    const head = h("button", { type: "button", role: "tab", id: button, "aria-controls": panel, "data-tab": tab.id }, tab.name);
    head.addEventListener("click", () => app.store.set({ tab: tab.id }));
    const box = h("div", { role: "tabpanel", id: panel, "aria-labelledby": button, class: "panel" }, tab.node);
    list.append(head);
    return { tab, head, box };
  });
  const show = (): void => {
    const chosen = parts.find(({ tab }) => tab.id === app.store.state.tab) ?? parts[0];
    for (const { head, box } of parts) {
      const on = box === chosen.box;
      head.setAttribute("aria-selected", String(on));
      head.tabIndex = on ? 0 : -1;
      box.hidden = !on;
    }
    chosen.tab.seen();
  };
  list.addEventListener("keydown", (event) => {
    const at = parts.findIndex(({ head }) => head === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: parts.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = parts[(to + parts.length) % parts.length];
    app.store.set({ tab: next.tab.id });
    next.head.focus();
  });
  app.store.on("tab", show);
  show();
  return h("section", { class: "side", "aria-label": "Tools" }, list, ...parts.map(({ box }) => box));
}
