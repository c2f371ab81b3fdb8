// One control for each parameter of the table: a slider and a number, a box, a choice or a field.

import { broken, byId, el } from "./dom.js";
import { parsed } from "./state.js";

const PLAIN = ["report", "structure", "prompt", "ending"];

export class Controls {
  constructor(parameters, change) {
    this.change = change;
    this.known = new Map();
    for (const parameter of parameters) {
      const control = new Control(parameter, (value) => change(parameter.key, value));
      this.known.set(parameter.key, control);
      const isRest = PLAIN.includes(parameter.role);
      const place = isRest
        ? "rest-controls"
        : parameter.is_page
          ? "page-controls"
          : "beyond-controls";
      byId(place).append(control.element);
    }
  }

  show(request) {
    for (const [key, control] of this.known) {
      control.show(Object.hasOwn(request, key) ? request[key] : undefined);
    }
  }

  judge(report) {
    for (const [key, control] of this.known) {
      control.judge(report.lacks[key] ?? "", report.defaults[key]);
    }
  }

  blame(key) {
    for (const [name, control] of this.known) control.blame(name === key);
  }
}

class Control {
  constructor(parameter, change) {
    this.parameter = parameter;
    this.fallback = parameter.default;
    const { key, kind, rule, sentence, origin, is_page } = parameter;
    const id = `p-${key}`;
    const source = is_page ? "" : ` (${origin})`;
    this.about = el(
      "p",
      { class: "about", id: `${id}-about` },
      `${rule ? `${rule}. ` : ""}${sentence}${source}`,
    );
    this.lack = el("p", { class: "lack", id: `${id}-lack` });
    const described = { "aria-describedby": `${id}-about ${id}-lack` };
    this.reset = el(
      "button",
      {
        type: "button",
        class: "reset",
        "aria-label": `Leave ${key} out`,
        title: "Leave it out",
        onclick: () => {
          change(undefined);
          this.main.focus();
        },
      },
      "×",
    );
    const label = el("label", { for: id }, ...broken(key));
    this.slider = null;
    if ("low" in parameter) {
      const { low, high, step } = parameter;
      this.main = el("input", { type: "number", id, step: "any", ...described });
      this.slider = el("input", {
        type: "range",
        min: low,
        max: high,
        step,
        "aria-label": `${key}, slider`,
        ...described,
      });
      this.slider.addEventListener("input", () => change(Number(this.slider.value)));
      this.main.addEventListener("input", () => {
        if (this.main.validity.badInput) return; // half a number, such as "-"
        change(this.main.value === "" ? undefined : Number(this.main.value));
      });
    } else if (kind === "boolean") {
      this.main = el("input", { type: "checkbox", id, ...described });
      this.main.addEventListener("change", () => change(this.main.checked));
    } else {
      this.main = el("input", {
        type: "text",
        id,
        spellcheck: "false",
        placeholder:
          kind === "map" ? "{…}" : kind === "array" ? "[…]" : `${parameter.default ?? "–"}`,
        ...described,
      });
      this.main.addEventListener("input", () =>
        change(this.main.value === "" ? undefined : parsed(this.main.value)),
      );
    }
    this.element = el(
      "div",
      { class: "control", "data-key": key },
      el("div", { class: "row" }, label, this.main, this.reset),
      this.slider,
      this.about,
      this.lack,
    );
    // In one place that is always there: nothing jumps away from under a finger.
    const tell = () => byId("hint").replaceChildren(el("b", {}, key), ` ${this.about.textContent}`);
    this.element.addEventListener("focusin", tell);
    this.element.addEventListener("pointerenter", tell);
  }

  show(value) {
    const isSet = value !== undefined;
    this.element.classList.toggle("is-set", isSet);
    this.reset.hidden = !isSet;
    if (this.parameter.kind === "boolean" && !this.slider) {
      this.main.checked = isSet ? value === true : this.fallback === true;
      return;
    }
    // What is being typed stays as it is typed.
    if (document.activeElement !== this.main || this.slider === null) {
      const text = !isSet
        ? ""
        : typeof value === "string" && !this.slider
          ? value
          : JSON.stringify(value);
      if (document.activeElement !== this.main) this.main.value = text;
    }
    if (this.slider) {
      this.main.placeholder = this.fallback ?? "–";
      const number = isSet ? Number(value) : Number(this.fallback ?? this.parameter.low);
      if (document.activeElement !== this.slider || Number(this.slider.value) !== number)
        this.slider.value = number;
      this.slider.setAttribute(
        "aria-valuetext",
        isSet ? `${value}` : `absent, ${this.fallback ?? "none"}`,
      );
    }
  }

  judge(lack, fallback) {
    this.lack.textContent = lack;
    this.element.classList.toggle("is-lacking", lack !== "");
    this.main.disabled = lack !== "";
    if (this.slider) this.slider.disabled = lack !== "";
    this.fallback = fallback ?? this.parameter.default;
  }

  blame(isWrong) {
    if (isWrong) this.main.setAttribute("aria-invalid", "true");
    else this.main.removeAttribute("aria-invalid");
    this.element.classList.toggle("is-wrong", isWrong);
  }
}
