// A text that the model writes: drawn, forced, rewound, branched.

import { ask } from "./backend.js";
import { byId, el, later, speaker } from "./dom.js";
import { Tokens } from "./tokens.js";

export class Writing {
  constructor(state, body, changed, blame) {
    Object.assign(this, { state, body, changed, blame });
    this.branches = [];
    this.tokens = new Tokens("The text so far", (place, id) => this.forceAt(place, id));
    const button = (id, words, run) => el("button", { type: "button", id, onclick: run }, words);
    this.lead = el("p", { class: "lead" });
    this.begin = el("textarea", {
      id: "begin",
      rows: 2,
      oninput: () => {
        this.state().begin = this.begin.value;
        this.state().output = [];
        this.later();
      },
    });
    this.place = el("div", {}, el("label", { for: "begin" }, "Begins with"), this.begin);
    this.coupling = el("select", {
      id: "coupling",
      onchange: () => {
        this.state().coupling = this.coupling.value;
        this.changed();
        this.write(0);
      },
    });
    this.luck = el("p", { id: "luck", class: "faint result" });
    this.told = el("p", { role: "status", id: "writing-told", class: "result" });
    this.speak = speaker(this.told);
    this.twigs = el("div", { class: "twigs", role: "group", "aria-label": "Branches" });
    this.notes = el("ul", { class: "faint result" });
    byId("panel-writing").append(
      this.lead,
      this.place,
      el(
        "div",
        { class: "buttons" },
        button("next", "Next token", () => this.write(1)),
        button("on", "Ten more", () => this.write(10)),
        button("far", "Fifty more", () => this.write(50)),
        button("rewind", "Rewind one", () => this.rewindTo(this.state().output.length - 1)),
        button("rewind-here", "Rewind to before the chosen token", () =>
          this.rewindTo(this.tokens.chosen),
        ),
        button("branch", "Branch at the chosen token", () => this.branch()),
        button("clear", "Clear", () => this.rewindTo(0)),
        el("label", { for: "coupling" }, "coupling"),
        this.coupling,
      ),
      this.twigs,
      this.tokens.text,
      this.told,
      this.tokens.beside,
      this.luck,
      this.notes,
    );
    this.later = later(250, () => {
      this.changed();
      this.write(0);
    });
    this.wanted = 0; // tokens
    this.isBusy = this.isOld = false;
  }

  start(couplings, model) {
    this.lead.textContent = `The model ${model} writes under these parameters. Point at a token to see what else could have come; click one to force it.`;
    this.coupling.replaceChildren(...couplings.map((name) => el("option", { value: name }, name)));
  }

  show(prompt) {
    const state = this.state();
    if (document.activeElement !== this.begin) this.begin.value = state.begin ?? prompt;
    this.place.hidden = "text" in state.source && state.begin === null; // it stands above
    this.coupling.value = state.coupling;
    this.write(0);
  }

  // What is wanted while an answer is on its way is asked for after it, from the text as it is then.
  async write(count) {
    this.wanted += count;
    this.isOld = true;
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      while (this.isOld) {
        const { output, sequence, coupling } = this.state();
        const how = { output, sequence, coupling, count: this.wanted };
        this.wanted = 0;
        this.isOld = false;
        this.take(await ask("write", { ...this.body(), prompt: this.begin.value, ...how }), how);
      }
    } finally {
      this.isBusy = false;
    }
  }

  take(answer, how) {
    this.blame(answer.error ?? null);
    const state = this.state();
    if (answer.error || state.output !== how.output || state.sequence !== how.sequence) return;
    state.output = answer.tokens.map((each) => each.id);
    this.text = answer.text;
    if (how.count) this.tokens.chosen = Math.max(0, state.output.length - 1);
    this.tokens.show(answer.tokens, this.begin.value);
    this.luck.textContent = `seed ${answer.seed}${"seed" in state.request ? "" : " (a fresh one: none is set)"}, sequence ${answer.sequence}, ${state.coupling} coupling`;
    const count = answer.tokens.length;
    this.speak(`${count} token${count === 1 ? "" : "s"}. ${answer.finish ?? ""}`);
    this.notes.replaceChildren(...answer.notes.map((note) => el("li", {}, note)));
    this.showBranches();
    if (how.count) this.changed();
  }

  rewindTo(length) {
    const state = this.state();
    state.output = state.output.slice(0, Math.max(0, length));
    this.changed();
    this.write(0);
  }

  forceAt(place, id) {
    const state = this.state();
    this.remember();
    state.output = [...state.output.slice(0, place), id];
    this.tokens.chosen = place;
    this.changed();
    this.write(0);
    this.tokens.buttons[place]?.focus();
  }

  remember() {
    const { output, sequence } = this.state();
    if (!output.length) return;
    const key = `${sequence}:${output}`;
    this.branches = [
      ...this.branches.filter((each) => each.key !== key),
      { key, output, sequence, text: this.text },
    ].slice(-8);
  }

  branch() {
    const state = this.state();
    this.remember();
    state.sequence = Math.max(state.sequence, ...this.branches.map((each) => each.sequence)) + 1;
    state.output = state.output.slice(0, this.tokens.chosen);
    this.changed();
    this.write(10);
  }

  showBranches() {
    this.twigs.replaceChildren(
      ...this.branches.map((each) =>
        el(
          "button",
          {
            type: "button",
            class: "twig",
            onclick: () => {
              this.remember();
              Object.assign(this.state(), { output: each.output, sequence: each.sequence });
              this.changed();
              this.write(0);
            },
          },
          `sequence ${each.sequence}: `,
          el("bdi", {}, (each.text ?? "").slice(-40)),
        ),
      ),
    );
  }
}
