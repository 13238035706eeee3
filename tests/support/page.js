// What the tests of the page ask of it, inside of it. Nodes are found by their class, also inside of subgraphs.
window.reader = (() => {
  const inside = (graph) => graph._nodes.flatMap((node) => [{ node, graph }, ...(node.subgraph ? inside(node.subgraph) : [])]);
  const all = () => inside(app.rootGraph ?? app.graph);
  const find = (kind, number = 0) => {
    const found = all().filter(({ node }) => node.comfyClass === kind || node.type === kind);
    if (!found[number]) throw new Error(`The graph has ${found.length} nodes of ${kind}.`);
    return found[number];
  };

  // What a subgraph shows on its own box is there: the input of a node, or of the box that it is in.
  const input = ({ node, graph }, name) => {
    const found = node.inputs?.find((slot) => (slot.widget?.name ?? slot.name) === name);
    const link = graph.getLink?.(found?.link);
    if (link?.origin_id !== -10) return { node, found };
    return input(all().find((box) => box.node.subgraph === graph), graph.inputs[link.origin_slot].name);
  };
  const cut = ({ node, found }) => found?.link != null && node.disconnectInput(node.inputs.indexOf(found));
  const unwire = (kind, name, number = 0) => cut(input(find(kind, number), name));
  const set = (kind, name, value, number = 0) => {
    const place = input(find(kind, number), name);
    cut(place);
    const widget = place.node.widgets?.find((one) => one.name === (place.found?.widget?.name ?? name));
    if (!widget) throw new Error(`${kind} has no widget ${name}.`);
    widget.value = value;
    widget.callback?.(value, app.canvas, place.node);
  };
  const setAll = (settings) => {
    const counted = {};
    for (const { node } of all())
      for (const [name, value] of Object.entries(settings[node.type] ?? {}))
        set(node.type, name, value, (counted[`${node.type}.${name}`] ??= -1, ++counted[`${node.type}.${name}`]));
  };
  const bypass = (kind, number = 0) => (find(kind, number).node.mode = 4);
  // A batch of a picture with itself goes where the picture went.
  const batch = (kind) => {
    const { node, graph } = find(kind);
    const pair = LiteGraph.createNode("ImageBatch");
    graph.add(pair);
    const goals = node.outputs[0].links.map((id) => graph.getLink(id)).map((link) => [graph.getNodeById(link.target_id), link.target_slot]);
    [0, 1].forEach((slot) => node.connect(0, pair, slot));
    goals.forEach(([goal, slot]) => pair.connect(0, goal, slot));
  };

  // The face's embedding, which needs trained weights, in the place of what the published adapter can follow.
  const embed = () => {
    const { node, graph } = find("FantasyTalkingEncodeFaceCLIP");
    const [loader, encode] = ["FantasyTalkingFaceEncoderLoader", "FantasyTalkingEncodeFace"].map((kind) => LiteGraph.createNode(kind));
    [loader, encode].forEach((one) => graph.add(one));
    const portrait = find("LoadImage").node;
    portrait.connect(0, encode, encode.inputs.findIndex((slot) => slot.type === "IMAGE"));
    loader.connect(0, encode, encode.inputs.findIndex((slot) => slot.type === loader.outputs[0].type));
    const links = node.outputs[0].links.map((id) => graph.getLink(id));
    links.map((link) => [graph.getNodeById(link.target_id), link.target_slot]).forEach(([goal, slot]) => encode.connect(0, goal, slot));
  };
  const closeAll = () => {
    document.querySelectorAll(".p-toast-close-button, [data-testid=error-overlay-dismiss]").forEach((button) => button.click());
    return app.extensionManager.setting.set("Comfy.RightSidePanel.IsOpen", false);
  };

  const open = async (name) => {
    const answer = await fetch(`/api/workflow_templates/FantasyTalking/${encodeURIComponent(name)}.json`);
    await app.loadGraphData(await answer.json(), true, true, name, { openSource: "template" });
  };

  const box = (rect) => [rect.left, rect.top, rect.right, rect.bottom].map(Math.round);
  const size = (element) => {
    if (!element?.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return 0;
    return (parseFloat(getComputedStyle(element).fontSize) * element.getBoundingClientRect().width) / element.offsetWidth;
  };
  const onScreen = (x, y) => {
    const place = app.canvas.canvas.getBoundingClientRect();
    const { scale, offset } = app.canvas.ds;
    return [place.left + (x + offset[0]) * scale, place.top + (y + offset[1]) * scale];
  };
  const element = (node) => document.querySelector(`[data-node-id="${node.id}"]`);
  const drawn = (text, font) => {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = font;
    return pen.measureText(text).width;
  };

  // The title of a node of the opened graph: its size in pixels of the screen, 0 where the page hides it, and its place.
  const title = (node) => {
    if (LiteGraph.vueNodesMode) {
      const span = element(node)?.querySelector("[data-testid=node-title] span");
      return { pixels: size(span), place: box(span.getBoundingClientRect()) };
    }
    const { scale } = app.canvas.ds;
    const font = parseFloat(app.canvas.title_text_font) * scale;
    const [left, top] = onScreen(node.pos[0] + LiteGraph.NODE_TITLE_HEIGHT, node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT);
    const room = (node.size[0] - LiteGraph.NODE_TITLE_HEIGHT) * scale;
    const width = Math.min(room, drawn(node.getTitle(), app.canvas.title_text_font) * scale);
    const place = { left, top, right: left + width, bottom: top + LiteGraph.NODE_TITLE_HEIGHT * scale };
    return { pixels: app.canvas.low_quality ? 0 : font, place: box(place) };
  };
  const free = (node, [left, top, right, bottom]) =>
    [0.02, 0.5, 0.98].every((part) => {
      const found = document.elementFromPoint(left + part * (right - left), (top + bottom) / 2);
      return found === app.canvas.canvas || (found && element(node)?.contains(found));
    });
  const whole = (node) => {
    if (LiteGraph.vueNodesMode) return box(element(node).getBoundingClientRect());
    const [left, top] = onScreen(node.pos[0], node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT);
    const [right, bottom] = onScreen(node.pos[0] + node.size[0], node.pos[1] + node.size[1]);
    return box({ left, top, right, bottom });
  };
  const titles = () =>
    app.canvas.graph._nodes.map((node) => {
      const { pixels, place } = title(node);
      return { kind: node.type, title: node.getTitle(), pixels, place, free: free(node, place), whole: whole(node) };
    });
  // Where everything lies, to be compared with another look.
  const layout = () => {
    const { scale, offset } = app.canvas.ds;
    const nodes = app.canvas.graph._nodes.map((node) => [...node.pos, ...node.size, element(node)?.offsetHeight ?? 0]);
    return JSON.stringify([scale, ...offset, nodes]);
  };
  // The notes that are drawn: their own text, the heading that says what to do first, and how much of it would have to be scrolled.
  const notes = () =>
    [...document.querySelectorAll(".comfy-markdown-content, .comfy-markdown .tiptap")].filter(size).map((text) => ({
      text: text.innerText.slice(0, 60),
      pixels: size(text),
      heading: size(text.querySelector("h2")),
      hidden: text.scrollHeight - text.clientHeight,
    }));
  // What app mode shows: the titles of its fields, and their size on the screen.
  const fields = () =>
    [...document.querySelectorAll("[data-testid=builder-widget-label]")].map((one) => ({ text: one.innerText, pixels: size(one) }));
  const groups = () =>
    app.canvas.graph._groups.map((group) => ({ title: group.title, pixels: group.font_size * app.canvas.ds.scale }));
  // What the page's own bars at the left and at the top leave of the canvas.
  const canvas = () => {
    const side = document.querySelector("[data-testid=side-toolbar]").getBoundingClientRect();
    const top = document.querySelector("[data-testid=topbar-workflow-tabs]").getBoundingClientRect();
    return [side.right, top.bottom, innerWidth, innerHeight];
  };
  // What the widgets of the nodes that run hold: of one that is muted, or within a muted box, nothing is needed.
  const runs = (graph) =>
    graph._nodes.filter((node) => node.mode === 0).flatMap((node) => [node, ...(node.subgraph ? runs(node.subgraph) : [])]);
  const values = () =>
    runs(app.rootGraph ?? app.graph)
      .flatMap((node) => (node.widgets ?? []).map((widget) => widget.value))
      .filter((value) => typeof value === "string");
  const stores = () => [...document.querySelectorAll("*")].find((e) => e.__vue_app__).__vue_app__.config.globalProperties.$pinia.state.value;
  const missing = () => {
    const { missingModel, missingMedia, missingNodesError } = stores();
    return {
      models: missingModel.missingModelCandidates ?? [],
      media: missingMedia.missingMediaCandidates ?? [],
      nodes: missingNodesError.missingNodesError,
    };
  };
  // Whether a sentence can be read without scrolling: its beginning and end are in the window, and nothing lies over them.
  const readable = (sentence) => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text; (text = walker.nextNode()); ) {
      const start = text.data.indexOf(sentence);
      if (start < 0) continue;
      const range = document.createRange();
      const seen = [start, start + sentence.length - 1].every((place) => {
        range.setStart(text, place);
        range.setEnd(text, place + 1);
        const { left, top, width, height } = range.getBoundingClientRect();
        const found = document.elementFromPoint(left + width / 2, top + height / 2);
        return found && (found.contains(text) || text.parentElement.contains(found));
      });
      if (seen) return true;
    }
    return false;
  };
  // An empty graph.
  const clear = () => app.loadGraphData({ nodes: [], links: [], groups: [], version: 0.4, last_node_id: 0, last_link_id: 0 }, true, true);
  // Between files and a video to save, what is the only node.
  const wire = () => {
    const [box] = app.graph._nodes;
    const add = (kind, x) => {
      const node = LiteGraph.createNode(kind);
      app.graph.add(node);
      node.pos = [box.pos[0] + x, box.pos[1]];
      return node;
    };
    const loaders = { IMAGE: "LoadImage", AUDIO: "LoadAudio", VIDEO: "LoadVideo" };
    box.inputs.forEach((slot, place) => slot.widget || add(loaders[slot.type], -400).connect(0, box, place));
    box.connect(0, add("SaveVideo", 500), 0);
  };
  const folders = () => Object.keys(stores().missingModel.folderPaths);
  return { all, find, open, set, setAll, unwire, bypass, batch, embed, closeAll, readable, titles, layout, notes, fields, groups, canvas, values, missing, folders, clear, wire };
})();
