// Elements, numbers and words. Whatever comes from outside enters as text.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A name of several words may break between them.
export const broken = (name) =>
  name.split("_").flatMap((part, i) => (i ? [el("wbr"), `_${part}`] : [part]));

export const byId = (id) => document.getElementById(id);

// A token as it is told, in its own direction and nobody else's.
export const token = (label, id = null) =>
  el("bdi", { class: "token", title: id === null ? label : `${label}, id ${id}` }, label);

export const whole = (number) => number.toLocaleString("en-US");

export function brief(p) {
  if (p === null) return "–";
  if (p >= 0.9995) return "1";
  if (p < 0.0005) return p === 0 ? "0" : "<.001";
  return p.toFixed(3).slice(1);
}

export const percent = (p) =>
  p === 0 ? "0 %" : p < 0.0005 ? "<0.1 %" : `${(100 * p).toFixed(1)} %`;

export function later(milliseconds, run) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), milliseconds);
  };
}

// A screen reader hears the last of many changes, not all of them.
export const speaker = (element) =>
  later(500, (text) => {
    if (element.textContent !== text) element.textContent = text;
  });
