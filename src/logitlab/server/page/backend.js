// All that the page asks goes through here: a server now, or Python in this browser.

export const ask = document.documentElement.dataset.python === "here" ? askPython : askServer;

async function askServer(name, body) {
  let response;
  try {
    response = await fetch(`lab/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    return {
      error: { message: "logitlab does not answer: is it still running?", parameter: null },
    };
  }
  try {
    return await response.json();
  } catch {
    return {
      error: { message: `logitlab answered with status ${response.status}.`, parameter: null },
    };
  }
}

// The worker begins as a blob: so this page's Content-Security-Policy is its own, too.
let worker = null;
const waiting = new Map();

function begin() {
  const text = `import ${JSON.stringify(new URL("python.js", import.meta.url).href)};`;
  worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })), { type: "module" });
  worker.onmessage = ({ data: { id, answer } }) => take(id, answer);
  worker.onerror = (event) => {
    const message = `Python does not begin in this browser: ${event.message ?? "its files did not come"}`;
    for (const id of [...waiting.keys()]) take(id, { error: { message, parameter: null } });
  };
}

function take(id, answer) {
  document.getElementById("beginning")?.remove();
  waiting.get(id)?.(answer);
  waiting.delete(id);
}

let count = 0;

function askPython(name, body) {
  if (worker === null) begin();
  return new Promise((resolve) => {
    const id = count++;
    waiting.set(id, resolve);
    worker.postMessage({ id, name, body: JSON.stringify(body) });
  });
}

// Asks one question at a time: while one is on its way, the newest of the others waits.
export function newest(name, take) {
  let busy = false;
  let waiting = null;
  return async function next(body, token = null) {
    if (busy) {
      waiting = [body, token];
      return;
    }
    busy = true;
    try {
      take(await ask(name, body), token);
    } finally {
      busy = false;
      if (waiting !== null) {
        const [later, itsToken] = waiting;
        waiting = null;
        next(later, itsToken);
      }
    }
  };
}
