// The page's second tab: microphone to the server by a web socket, fragmented mp4 back into a <video>.
const $ = (id) => document.getElementById(id);
const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
const FAR_BEHIND = 1.5; // seconds of buffered video after which the player jumps
const NEAR = 0.3; // seconds of buffered video above which it plays faster
const FASTER = 1.1;
const KEPT = 10; // seconds that are kept behind the player
let portrait = null;
let session = null;

export function setPortrait(file) {
  portrait = file;
}

const say = (id, text) => { $(id).textContent = text; };

async function openMicrophone(context, send) {
  const wanted = { audio: { echoCancellation: true, noiseSuppression: true, channelCount: 1 } };
  const stream = await navigator.mediaDevices.getUserMedia(wanted);
  await context.audioWorklet.addModule("/static/microphone.js");
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  node.port.onmessage = (event) => send(event.data);
  context.createMediaStreamSource(stream).connect(node);
  return {
    track: stream.getAudioTracks()[0],
    close() {
      stream.getTracks().forEach((track) => track.stop());
    },
  };
}

// Appends pieces one after the other, keeps the player near the newest frame and the buffer short.
class Player {
  constructor(video) {
    this.video = video;
    this.waiting = [];
  }

  async open(mimeType) {
    if (!Source || !Source.isTypeSupported(mimeType)) throw new Error("This browser can't play live video.");
    const source = new Source();
    this.video.disableRemotePlayback = true;
    this.video.src = URL.createObjectURL(source);
    await new Promise((resolve) => source.addEventListener("sourceopen", resolve, { once: true }));
    this.buffer = source.addSourceBuffer(mimeType);
    this.buffer.addEventListener("updateend", () => this.append());
    this.append();
    this.video.play().catch(() => say("live-status", "Press Start again to hear it"));
  }

  add(data) {
    this.waiting.push(data);
    this.append();
  }

  append() {
    if (!this.buffer || this.buffer.updating) return;
    const { video } = this;
    const ranges = video.buffered;
    if (ranges.length) {
      const end = ranges.end(ranges.length - 1);
      if (video.currentTime < ranges.start(0)) video.currentTime = ranges.start(0);
      const behind = end - video.currentTime;
      if (!video.seeking && behind > FAR_BEHIND) video.currentTime = end - NEAR;
      video.playbackRate = behind > NEAR ? FASTER : 1;
      if (video.currentTime - ranges.start(0) > 2 * KEPT) {
        this.buffer.remove(0, video.currentTime - KEPT);
        return;
      }
    }
    if (this.waiting.length) {
      const joined = new Uint8Array(this.waiting.reduce((size, piece) => size + piece.byteLength, 0));
      let place = 0;
      for (const piece of this.waiting) {
        joined.set(new Uint8Array(piece), place);
        place += piece.byteLength;
      }
      this.waiting = [];
      this.buffer.appendBuffer(joined);
    }
  }
}

const WORDS = {
  speaking: "Speaking",
  idle: "Listening",
  interrupted: "Interrupted",
  lag: "This computer is too slow for every frame",
};

async function start() {
  say("live-error", "");
  if (!portrait) {
    say("live-error", "Choose a portrait first.");
    return;
  }
  say("live-status", "Starting ...");
  $("live-start").textContent = "Stop";
  const url = new URL("/v1/sessions", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  const player = new Player($("live-video"));
  session = { socket, microphone: null, muted: false };
  const own = session;
  const context = new AudioContext(); // here, as phones allow it only in answer to a touch
  context.resume();
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ type: "start", mode: "microphone", sample_rate: context.sampleRate }));
    socket.send(portrait);
  });
  socket.addEventListener("message", async ({ data }) => {
    if (typeof data !== "string") {
      player.add(data);
      return;
    }
    const event = JSON.parse(data);
    if (event.type === "started") {
      try {
        await player.open(event.mime_type);
        say("live-status", "Listening");
        enable(true);
        own.microphone = await openMicrophone(context, (sound) => {
          if (socket.readyState === WebSocket.OPEN && !own.muted) socket.send(sound);
        });
        if (session !== own) own.microphone.close();
      } catch (error) {
        const denied = error.name === "NotAllowedError" || error.name === "NotFoundError" || error instanceof TypeError;
        const hint = "There is no microphone: allow it, and open this page by https or as localhost.";
        say("live-error", denied ? hint : error.message);
      }
    } else if (event.type === "error") {
      say("live-error", event.message);
    } else if (WORDS[event.type]) {
      say("live-status", WORDS[event.type]);
    }
  });
  socket.addEventListener("close", (event) => {
    if (event.code === 1006 && session === own && !$("live-error").textContent) {
      say("live-error", "The connection was refused or lost; perhaps all live sessions are taken.");
    }
    context.close();
    if (session === own) stop();
  });
}

function stop() {
  const ended = session;
  session = null;
  ended?.microphone?.close();
  if (ended?.socket.readyState === WebSocket.OPEN) ended.socket.send(JSON.stringify({ type: "close" }));
  $("live-video").pause();
  $("live-start").textContent = "Start";
  say("live-status", "Ended");
  enable(false);
}

function enable(running) {
  $("live-mute").disabled = $("live-interrupt").disabled = !running;
}

function command(message) {
  if (session?.socket.readyState === WebSocket.OPEN) session.socket.send(JSON.stringify(message));
}

$("live-start").addEventListener("click", () => (session ? stop() : start()));
$("live-interrupt").addEventListener("click", () => command({ type: "interrupt" }));
$("live-mute").addEventListener("click", () => {
  if (!session) return;
  session.muted = !session.muted;
  $("live-mute").setAttribute("aria-pressed", session.muted);
  say("live-mute", session.muted ? "Unmute the microphone" : "Mute the microphone");
});
$("live-say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("live-text").value.trim();
  if (!session) say("live-error", "Start the session first.");
  else if (text) command({ type: "say", text });
  if (session) $("live-text").value = "";
});
