// The page's first tab: choose a portrait and a sound, follow the job, play the video, keep a history.
import { setPortrait } from "./live.js";

const $ = (id) => document.getElementById(id);
const HISTORY = "emo-history";
let image = null;
let audio = null;
let server = { max_upload_mb: 50, text: false };
let jobId = null;
let events = null;

export const say = (id, text) => { $(id).textContent = text; };

async function readError(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

// ---- portrait ----

function chooseImage(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) {
    say("image-name", `${file.name} is not a picture; choose a photo or a drawing.`);
    return;
  }
  image = file;
  setPortrait(file);
  URL.revokeObjectURL($("image-preview").src);
  $("image-preview").src = URL.createObjectURL(file);
  $("image-preview").hidden = false;
  $("image-hint").hidden = true;
  say("image-name", file.name);
  say("form-error", "");
}

$("image-preview").addEventListener("error", () => { $("image-preview").hidden = true; });

function acceptDrops(id, choose) {
  const zone = $(id);
  const mark = (over) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", over);
  };
  zone.addEventListener("dragover", mark(true));
  zone.addEventListener("dragleave", mark(false));
  zone.addEventListener("drop", (event) => {
    mark(false)(event);
    choose(event.dataTransfer.files[0]);
  });
}

async function fetchSample(name, type) {
  const response = await fetch(`/samples/${name}`);
  if (!response.ok) throw new Error(await readError(response));
  return new File([await response.blob()], name, { type });
}

$("image-input").addEventListener("change", (event) => chooseImage(event.target.files[0]));
acceptDrops("image-drop", chooseImage);
$("image-sample").addEventListener("click", async () => {
  try {
    chooseImage(await fetchSample("portrait.png", "image/png"));
  } catch (error) {
    say("image-name", error.message);
  }
});

// ---- camera ----

let camera = null;

async function openCamera() {
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch {
    say("image-name", "The camera can't be used: allow it, and open this page by https or as localhost.");
    return;
  }
  $("camera-video").srcObject = camera;
  $("camera").showModal();
}

$("camera-open").addEventListener("click", openCamera);
$("camera-close").addEventListener("click", () => $("camera").close());
$("camera").addEventListener("close", () => camera?.getTracks().forEach((track) => track.stop()));
$("camera-take").addEventListener("click", () => {
  const video = $("camera-video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => chooseImage(new File([blob], "photo.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95);
  $("camera").close();
});

// ---- sound ----

function chooseAudio(file) {
  if (!file) return;
  audio = file;
  URL.revokeObjectURL($("audio-player").src);
  $("audio-player").src = URL.createObjectURL(file);
  $("audio-player").hidden = false;
  say("audio-name", file.name);
  say("form-error", "");
}

$("audio-input").addEventListener("change", (event) => chooseAudio(event.target.files[0]));
acceptDrops("source-file", chooseAudio);
$("audio-sample").addEventListener("click", async () => {
  try {
    chooseAudio(await fetchSample("song.wav", "audio/wav"));
  } catch (error) {
    say("audio-name", error.message);
  }
});

const source = () => document.querySelector("[name=source]:checked").value;
for (const radio of document.querySelectorAll("[name=source]")) {
  radio.addEventListener("change", () => {
    for (const name of ["file", "record", "text"]) $(`source-${name}`).hidden = name !== source();
    $("audio-player").hidden = source() === "text" || audio === null;
  });
}

let recorder = null;

async function startRecording() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    say("form-error", "The microphone can't be used: allow it, and open this page by https or as localhost.");
    return;
  }
  const pieces = [];
  const began = Date.now();
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  const clock = setInterval(() => say("record-time", `${Math.round((Date.now() - began) / 1000)} s`), 250);
  recorder.addEventListener("stop", () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    const type = recorder.mimeType.split(";")[0];
    recorder = null;
    $("record").textContent = "Record again";
    chooseAudio(new File(pieces, `recording.${type.split("/")[1]}`, { type }));
  });
  recorder.start();
  $("record").textContent = "Stop recording";
}

$("record").addEventListener("click", () => (recorder ? recorder.stop() : startRecording()));

// ---- the job ----

function makeForm() {
  const form = new FormData();
  form.append("image", image, image.name);
  if (source() === "text") form.append("text", $("text").value);
  else form.append("audio", audio, audio.name);
  for (const field of $("form").elements) {
    const skipped = !field.name || field.name === "source" || field.value === "";
    if (!skipped && (field.type !== "checkbox" || field.checked)) form.append(field.name, field.value);
  }
  return form;
}

function findProblem() {
  if (!image) return "Choose a portrait first.";
  if (source() === "text" && !$("text").value.trim()) return "Type what the portrait says.";
  if (source() !== "text" && !audio) return "Choose or record a sound first.";
  const size = image.size + (source() === "text" ? 0 : audio.size);
  if (size > server.max_upload_mb * 1e6) return `The files are larger than ${server.max_upload_mb} MB together.`;
  const wrong = [...$("form").elements].find((field) => field.willValidate && !field.checkValidity());
  return wrong ? `${wrong.parentElement.textContent.trim()}: ${wrong.validationMessage}` : "";
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = findProblem();
  say("form-error", problem);
  if (problem) return;
  $("submit").disabled = true;
  say("submit", "Uploading ...");
  try {
    const response = await fetch("/v1/videos", { method: "POST", body: makeForm() });
    if (!response.ok) throw new Error(await readError(response));
    const job = await response.json();
    remember({ id: job.id, name: `${image.name}, ${source() === "text" ? "text" : audio.name}`, at: Date.now() });
    follow(job);
    $("job-title").focus();
  } catch (error) {
    say("form-error", error instanceof TypeError ? "The server can't be reached." : error.message);
  } finally {
    $("submit").disabled = false;
    say("submit", "Make the video");
  }
});

function follow(job) {
  events?.close();
  jobId = job.id;
  $("job").hidden = false;
  $("running").hidden = false;
  $("finished").hidden = true;
  $("cancel").hidden = false;
  $("preview").hidden = true;
  show(job);
  if (job.status === "completed" || job.status === "failed") return;
  events = new EventSource(`/v1/videos/${job.id}/events`);
  for (const name of ["progress", "completed", "failed"]) {
    events.addEventListener(name, (event) => show(JSON.parse(event.data)));
  }
  events.addEventListener("deleted", () => {
    events.close();
    $("job").hidden = true;
  });
}

function formatSeconds(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

function show(job) {
  if (job.id !== jobId) return;
  $("progress").value = job.progress;
  if (job.status === "queued") {
    say("status", job.jobs_before ? `Waiting; ${job.jobs_before} before you` : "Waiting");
  } else if (job.status === "in_progress") {
    const left = job.seconds_left === null ? "preparing" : `about ${formatSeconds(job.seconds_left)} left`;
    say("status", `${job.progress} %, frame ${job.frames} of ${job.total_frames}, ${left}`);
    if (job.has_preview) {
      $("preview").src = `/v1/videos/${job.id}/preview?frame=${job.frames}`;
      $("preview").hidden = false;
    }
  } else {
    events?.close();
    finish(job);
  }
}

function finish(job) {
  if (job.status === "failed") {
    say("status", `This did not work: ${job.error.message}`);
    $("cancel").hidden = true;
    $("preview").hidden = true;
  } else {
    $("running").hidden = true;
    $("finished").hidden = false;
    $("player").src = `/v1/videos/${job.id}/content`;
    $("player").play().catch(() => {}); // browsers may ask for a click first
    $("download").href = `/v1/videos/${job.id}/content?download=true`;
    say("warnings", job.warnings.join(" "));
  }
  showHistory();
}

$("cancel").addEventListener("click", async () => {
  events?.close();
  await fetch(`/v1/videos/${jobId}`, { method: "DELETE" });
  forget(jobId);
  $("job").hidden = true;
  $("submit").focus();
});
$("again").addEventListener("click", () => {
  $("job").hidden = true;
  $("player").pause();
  $("image-input").focus();
  scrollTo({ top: 0 });
});

// ---- history of this browser ----

function readHistory() {
  try {
    return JSON.parse(localStorage.getItem(HISTORY)) ?? [];
  } catch {
    return [];
  }
}

function remember(entry) {
  localStorage.setItem(HISTORY, JSON.stringify([entry, ...readHistory()].slice(0, 50)));
}

function forget(id) {
  localStorage.setItem(HISTORY, JSON.stringify(readHistory().filter((entry) => entry.id !== id)));
  showHistory();
}

function makeButton(text, label, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", action);
  return button;
}

async function showHistory() {
  const items = [];
  for (const entry of readHistory()) {
    const response = await fetch(`/v1/videos/${entry.id}`).catch(() => null);
    if (response?.status === 404) {
      localStorage.setItem(HISTORY, JSON.stringify(readHistory().filter((other) => other.id !== entry.id)));
      continue;
    }
    if (!response?.ok) continue;
    const job = await response.json();
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.className = "name";
    const words = { completed: `${job.seconds} s`, failed: "did not work", queued: "waiting", in_progress: "in progress" };
    name.textContent = `${entry.name} (${new Date(entry.at).toLocaleString()}, ${words[job.status]})`;
    const open = makeButton(job.status === "completed" ? "Play" : "Show", `Show ${entry.name}`, () => {
      follow(job);
      $("job").scrollIntoView();
      $("job-title").focus();
    });
    const remove = makeButton("Delete", `Delete ${entry.name}`, async () => {
      await fetch(`/v1/videos/${entry.id}`, { method: "DELETE" });
      if (jobId === entry.id) $("job").hidden = true;
      forget(entry.id);
    });
    item.append(name, open, remove);
    items.push(item);
  }
  $("history").replaceChildren(...items);
  $("history-card").hidden = items.length === 0;
}

// ---- tabs ----

const tabs = [...document.querySelectorAll("[role=tab]")];

function selectTab(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => selectTab(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    selectTab(next);
    next.focus();
  });
}

// ---- start ----

try {
  server = await (await fetch("/v1/server")).json();
  say("model", `Model: ${server.model}.`);
  $("text-choice").hidden = !server.text;
  $("live-say").hidden = !server.text;
} catch {
  say("form-error", "The server can't be reached.");
}
showHistory();
