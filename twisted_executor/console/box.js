// The box that runs scripts, where CONSOLE=1.
import { ask, chip, el, open, say, time } from "./console.js";

const $ = (id) => document.getElementById(id);
const OTHER = "\0other";
let running = null;

const chooseImage = async () => {
  const { pools, allowed } = await (await ask("images")).json();
  const names = new Set([...pools.map((pool) => pool.image), ...(allowed === "any" ? [] : allowed)]);
  $("image").replaceChildren(...[...names].map((name) => el("option", { value: name }, name)));
  if (allowed === "any") $("image").append(el("option", { value: OTHER }, "another…"));
};

const outcome = (result) => {
  if (result.code) return ["The request was refused: ", result.error];
  const facts = [
    `exit ${result.exit_code === null ? "–" : result.exit_code}`, time(result.execution_time),
    `queued ${time(result.queue_time)}`, result.warm ? "warm" : "cold",
  ];
  if (!result.stdout && !result.stderr) facts.push("no output");
  return [chip(result.status), ` ${facts.join(" · ")}`, ...(result.error ? [el("br", {}), result.error] : [])];
};

const stream = (name, text, cut, bytes) => {
  const more = cut ? `\n… cut; it was ${bytes.toLocaleString("en")} bytes` : "";
  say(name, text + more);
  for (const part of document.getElementsByClassName(name)) part.hidden = !text && !more;
};

const show = (result) => {
  $("outcome").replaceChildren(...outcome(result));
  stream("stdout", result.stdout, result.stdout_truncated, result.stdout_bytes);
  stream("stderr", result.stderr, result.stderr_truncated, result.stderr_bytes);
  $("result").hidden = false;
};

const label = () => $("run").replaceChildren(...(running ? ["Stop"] : ["Run ", el("kbd", {}, "Ctrl ⏎")]));

const run = async () => {
  const image = $("image").value === OTHER ? $("other").value.trim() : $("image").value;
  const body = { script: $("script").value, stdin: $("stdin").value || null, image: image || null };
  running = new AbortController();
  label();
  $("result").setAttribute("aria-busy", "true");
  try {
    const answer = await ask("execute", {
      method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal: running.signal,
    });
    show(await answer.json());
  } catch (error) {
    const why = error.name === "AbortError" ? "Stopped." : "The server did not answer; the script may have run.";
    show({ code: "gone", stdout: "", stderr: "" });
    $("outcome").replaceChildren(why);
  } finally {
    running = null;
    label();
    $("result").removeAttribute("aria-busy");
  }
};

$("box").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) run();
});

// Not a submit: that asks for a script first.
$("run").addEventListener("click", (event) => {
  if (!running) return;
  event.preventDefault();
  running.abort();
});

$("box").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  event.preventDefault();
  if (!running) $("box").requestSubmit();
});

$("image").addEventListener("change", () => {
  $("other").hidden = $("image").value !== OTHER;
  if (!$("other").hidden) $("other").focus();
});

const offerImages = () => chooseImage().catch(() => setTimeout(offerImages, 2000));
open.then(offerImages);
