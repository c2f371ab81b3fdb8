// The page: what changes the state, and what is asked and shown then.

import { showAlong } from "./along.js";
import { ask, newest } from "./backend.js";
import { Controls } from "./controls.js";
import { byId, el, later } from "./dom.js";
import { Engines } from "./engines.js";
import { Scoring } from "./scoring.js";
import { Sources } from "./sources.js";
import { Stages } from "./stages.js";
import { fromFragment, toFragment } from "./state.js";
import { Writing } from "./writing.js";

const TABS = {
  stages: "Stages",
  engines: "Engines",
  writing: "Writing",
  scoring: "Scoring",
  along: "Take along",
};

const LONGEST_LINK = 32768; // characters; pasted lines can be a megabyte

const about = await ask("about", {});
let state;
let controls;
let sources;
let stages;
let engines;
let writing;
let scoring;
let began = null;

function blame(error) {
  const box = byId("problem");
  const text = error ? error.message : "";
  if (box.textContent !== text) box.textContent = text;
  controls.blame(error ? error.parameter : null);
  byId("view").classList.toggle("is-stale", error !== null);
}

const body = () => ({
  source: state.source,
  request: state.request,
  engine: state.engine,
  order: state.order,
  coupling: state.coupling,
});

// The text that a model goes on from; a row of logits alone has none.
function promptText() {
  if ("text" in state.source) return state.source.text;
  if ("prompt" in state.source) return about.prompts[state.source.prompt]?.text ?? "";
  return "";
}

const remember = later(150, () => {
  const whole = toFragment(state);
  const fragment = whole.length > LONGEST_LINK ? "#" : whole;
  if (location.hash !== fragment) history.replaceState(null, "", fragment);
});

const askTrace = newest("trace", (answer, start) => {
  blame(answer.error ?? null);
  if (answer.error) return;
  stages.show(answer);
  if (start === null) return;
  requestAnimationFrame(() => {
    // This frame is painted when the next task runs.
    const channel = new MessageChannel();
    channel.port1.onmessage = () => performance.measure("input to picture", { start });
    channel.port2.postMessage(null);
  });
});
const askEngines = newest("engines", (answer, asked) => {
  blame(answer.error ?? null);
  if (!answer.error) engines.show(answer, asked);
});
const askEngine = newest("engine", (report) => {
  if (report.error) return blame(report.error);
  controls.judge(report);
  controls.show(state.request);
  byId("engine-about").textContent = report.title;
  byId("engine-about").title = report.source;
  return undefined;
});

const soon = later(60, () => {
  const asked = body();
  if (state.tab === "engines") askEngines(asked, asked);
  if (state.tab === "writing") writing.show(promptText());
  if (state.tab === "scoring") scoring.show(promptText());
  if (state.tab === "along") showAlong(asked, toFragment(state).length > LONGEST_LINK, blame);
});

function changed() {
  remember();
  if (state.tab === "stages") {
    askTrace(body(), began);
    began = null;
  } else {
    soon();
  }
}

function showTab(name, hasFocus = false) {
  state.tab = name;
  for (const each of Object.keys(TABS)) {
    const isHere = each === name;
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", isHere);
    tab.tabIndex = isHere ? 0 : -1;
    if (isHere && hasFocus) tab.focus();
    byId(`panel-${each}`).hidden = !isHere;
  }
}

function showAll() {
  controls.show(state.request);
  sources.show(state.source);
  byId("engine").value = state.engine;
  askEngine({ engine: state.engine });
  showTab(state.tab);
  changed();
}

function takeEngine(name) {
  state.engine = name;
  state.order = null;
  byId("engine").value = name;
  askEngine({ engine: name });
  changed();
}

function restore() {
  const read = fromFragment(
    location.hash,
    new Set(about.parameters.map((each) => each.key)),
    Object.keys(TABS),
  );
  state = read.state;
  showAll();
  byId("link-told").textContent = read.unknown.length
    ? `The link says ${read.unknown.join(", ")}, which nothing here is called.`
    : "";
}

function start() {
  for (const [name, words] of Object.entries(TABS)) {
    byId("tabs").append(
      el(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${name}`,
          "aria-controls": `panel-${name}`,
          onclick: () => {
            showTab(name);
            changed();
          },
        },
        words,
      ),
    );
  }
  byId("tabs").addEventListener("keydown", (event) => {
    const names = Object.keys(TABS);
    const here = names.indexOf(state.tab);
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: names.length - 1 }[
      event.key
    ];
    if (to === undefined) return;
    event.preventDefault();
    showTab(names.at(to % names.length), true);
    changed();
  });
  const families = new Map();
  for (const each of about.engines) {
    const family = each.variant_of || each.name;
    families.set(family, [...(families.get(family) ?? []), each]);
  }
  byId("engine").append(
    ...[...families.values()]
      .flat()
      .map((each) =>
        el("option", { value: each.name }, each.variant_of ? `– ${each.name}` : each.name),
      ),
  );
  byId("engine").addEventListener("change", (event) => takeEngine(event.target.value));
  byId("neutral").addEventListener("click", () => {
    state.request = "seed" in state.request ? { seed: state.request.seed } : {};
    state.order = null;
    controls.show(state.request);
    changed();
  });
  document.addEventListener(
    "input",
    (event) => {
      began = event.timeStamp;
    },
    true,
  );
  controls = new Controls(about.parameters, (key, value) => {
    if (value === undefined) delete state.request[key];
    else state.request[key] = value;
    controls.known.get(key).show(value);
    changed();
  });
  sources = new Sources(
    about,
    (source) => {
      state.source = source;
      Object.assign(state, { begin: null, output: [], sequence: 0 });
      sources.show(source);
      changed();
    },
    blame,
  );
  stages = new Stages(
    (order) => {
      state.order = order;
      changed();
    },
    () => {
      state.order = null;
      changed();
    },
  );
  engines = new Engines(takeEngine);
  const texts = [() => state, body, () => remember(), blame];
  writing = new Writing(...texts);
  writing.start(about.couplings, about.model);
  scoring = new Scoring(...texts);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", restore);
  restore();
  document.body.classList.add("is-ready");
}

if (about.error) byId("problem").textContent = about.error.message;
else start();
