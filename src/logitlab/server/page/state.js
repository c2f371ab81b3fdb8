// What is asked, in one place, and in the fragment of the address: a link is the whole state.

const OWN = [
  "prompt",
  "text",
  "lines",
  "row",
  "engine",
  "order",
  "tab",
  "coupling",
  "sequence",
  "out",
  "answer",
  "begin",
];

export const FIRST = {
  source: { prompt: 3 },
  engine: "openrouter",
  request: {
    repetition_penalty: 1.1,
    temperature: 0.8,
    top_k: 50,
    top_p: 0.9,
    min_p: 0.05,
    seed: 7,
  },
  order: null,
  tab: "stages",
  coupling: "inverse",
  sequence: 0,
  output: [],
  answer: "",
  begin: null,
};

export function toFragment(state) {
  const words = new URLSearchParams();
  for (const kind of ["prompt", "text", "lines"]) {
    if (kind in state.source) words.set(kind, state.source[kind]);
  }
  if (state.engine !== FIRST.engine) words.set("engine", state.engine);
  for (const [key, value] of Object.entries(state.request)) words.set(key, JSON.stringify(value));
  if (state.order) words.set("order", state.order.join(","));
  for (const key of ["tab", "coupling"]) if (state[key] !== FIRST[key]) words.set(key, state[key]);
  if (state.sequence) words.set("sequence", state.sequence);
  if (state.output.length) words.set("out", state.output.join(","));
  if (state.answer) words.set("answer", state.answer);
  if (state.begin !== null) words.set("begin", state.begin);
  return `#${words}`;
}

// What a fragment says of parameters that are known goes on as it is: the library judges values.
export function fromFragment(fragment, known, tabs) {
  const state = structuredClone(FIRST);
  const words = new URLSearchParams(fragment.replace(/^#/, ""));
  if (![...words].length) return { state, unknown: [] };
  state.request = {};
  const unknown = [];
  for (const [key, value] of words) {
    if (known.has(key)) state.request[key] = parsed(value);
    else if (!OWN.includes(key)) unknown.push(key);
  }
  if (words.has("prompt")) state.source = { prompt: parsed(words.get("prompt")) };
  if (words.has("text")) state.source = { text: words.get("text") };
  if (words.has("lines")) state.source = { lines: words.get("lines") };
  if (words.has("engine")) state.engine = words.get("engine");
  if (words.get("order")) state.order = words.get("order").split(",");
  if (tabs.includes(words.get("tab"))) state.tab = words.get("tab");
  if (words.has("coupling")) state.coupling = words.get("coupling");
  if (words.has("sequence")) state.sequence = parsed(words.get("sequence"));
  if (words.get("out")) state.output = words.get("out").split(",").map(parsed);
  if (words.has("answer")) state.answer = words.get("answer");
  if (words.has("begin")) state.begin = words.get("begin");
  return { state, unknown };
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
