// What a node warns of is drawn on it. Where nobody sees the node, in a closed box or in app mode, the page shows a message.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const SECONDS = 20;

// The nodes from the outermost box to the one that a run calls "12:5".
function path(id) {
  let graph = app.rootGraph ?? app.graph;
  return String(id)
    .split(":")
    .map((part) => {
      const node = graph?.getNodeById(part);
      graph = node?.subgraph;
      return node;
    })
    .filter(Boolean);
}

function seen(nodes) {
  const isCanvasShown = !document.querySelector("[data-testid=linear-run-button]"); // app mode has a button of its own
  return isCanvasShown && nodes.at(-1)?.graph === app.canvas?.graph;
}

app.registerExtension({
  name: "FantasyTalking.Warnings",
  setup() {
    api.addEventListener("fantasytalking.warnings", ({ detail }) => {
      const nodes = path(detail.node);
      if (nodes.length && seen(nodes)) return;
      const summary = nodes.map((node) => node.title).join(" › ") || "FantasyTalking";
      app.extensionManager.toast.add({ severity: "warn", summary, detail: detail.warnings.join("\n"), life: SECONDS * 1000 });
    });
  },
});
