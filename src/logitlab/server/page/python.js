// Python in this browser: a worker that answers with the package's own functions, as a server does.

const here = new URL(".", import.meta.url).href;

async function begun() {
  const { loadPyodide } = await import(`${here}pyodide/pyodide.mjs`);
  const [python, response] = await Promise.all([
    loadPyodide({ indexURL: `${here}pyodide/` }), fetch(`${here}logitlab.zip`),
  ]);
  if (!response.ok) throw new Error(`logitlab.zip came with status ${response.status}`);
  await python.loadPackage("numpy", { messageCallback: () => {} });
  if (!("numpy" in python.loadedPackages)) throw new Error("the wheel of numpy did not come, or is another one");
  python.unpackArchive(await response.arrayBuffer(), "zip");
  return python.pyimport("logitlab.server.browser").answer;
}

const ready = begun();

// The last line of what Python says of its error; all before it is where it was.
const lastLine = (error) => `${error.message ?? error}`.trim().split("\n").at(-1);

onmessage = async ({ data: { id, name, body } }) => {
  let answer;
  try {
    const ask = await ready;
    answer = JSON.parse(ask(name, body));
  } catch (error) {
    answer = { error: { message: `Python does not answer in this browser: ${lastLine(error)}`, parameter: null } };
  }
  postMessage({ id, answer });
};
