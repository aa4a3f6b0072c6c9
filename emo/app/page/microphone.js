// Runs in the audio thread: sends the microphone's sound as 16-bit samples, about 20 ms at a time.
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Int16Array(1024);
    this.count = 0;
  }

  process([[channel]]) {
    for (const value of channel ?? []) {
      this.samples[this.count++] = Math.max(-1, Math.min(1, value)) * 32767;
      if (this.count === this.samples.length) {
        this.port.postMessage(this.samples.slice().buffer);
        this.count = 0;
      }
    }
    return true;
  }
}
registerProcessor("microphone", Microphone);
