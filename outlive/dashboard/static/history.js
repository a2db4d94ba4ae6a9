// The last hour, as far as the dashboard has run.

import { duration, h, number, size } from "./text.js";
import { get } from "./net.js";
import { plot } from "./plot.js";

export const TITLE = "Last hour";

const PLOTS = [
  { title: "Worker processes", told: number, series: { workers: "all", idle: "idle" } },
  { title: "Memory that idle workers hold", told: size, binary: true, series: { idle_memory: "idle workers" } },
  { title: "Memory of arrays", told: size, binary: true, series: { used: "in memory", budget: "budget", disk_used: "on disk" } },
  { title: "Arrays with a key", told: number, series: { arrays: "arrays" } },
];

export function open(place, page) {
  const said = h("p", { class: "quiet", role: "status" }, "");
  const plots = h("div", { class: "plots" });
  place.append(said, plots);
  const clear = () => [...plots.children].forEach((one) => one.close());
  const refresh = async () => {
    try {
      const { times, series, every } = await get("history");
      said.textContent = times.length ? `Sampled every ${every} s for ${duration(times.at(-1) - times[0])}, by this dashboard.` : "The first sample comes in a moment.";
      clear();
      plots.replaceChildren(...PLOTS.map((one) => plot({
        ...one, times, series: Object.entries(one.series).map(([name, label]) => ({ label, values: series[name] })),
      })));
    } catch (error) {
      page.failed(error);
    }
  };
  refresh();
  return { close: clear, heard: ({ feed }) => feed === "history" && refresh() };
}
