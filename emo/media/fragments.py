"""Fragmented mp4 (ISO/IEC 14496-12, moof boxes): H.264 and AAC as bytes that a browser plays while they are made.

The muxer holds a picture back until there is a later sound packet, and guesses times where it holds two. AAC packets
come late by nature, so the sound track begins with two packets of silence: the sound is 43 ms late, which nobody sees.

Every frame leaves as soon as it is encoded: no B-frames, no look-ahead, a fragment each (x264's `zerolatency`).
"""

from fractions import Fraction

import av
import numpy as np

from emo.media.color import YuvConverter, tag_bt709
from emo.media.video_writer import frame_rate

AUDIO_RATE_HZ = 48000  # an AAC frame of 1024 samples is 21 ms long; at 16 kHz it would delay the sound by 64 ms
AUDIO_BITS_PER_SECOND = 96_000
AAC_SAMPLES = 1024  # of a packet; the encoder gives each after the next is full
AHEAD_SAMPLES = (
    200  # by which sound packets are ahead of the pictures in the muxer's order; the file's times begin at 0
)
KEYFRAME_SECONDS = 2.0
MOVFLAGS = "empty_moov+default_base_moof+frag_every_frame"


class _Sink:
    """Takes what the muxer writes."""

    def __init__(self):
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self.pieces = b"".join(self.pieces), []
        return data


class FragmentWriter:
    """Encodes frames with their sound.

    Attributes:
        mime_type: For MediaSource; known with the first bytes.
    """

    def __init__(self, fps: float, sample_rate: int, crf: float = 20):
        """
        Args:
            fps: Frames per second.
            sample_rate: Hz, of the sound that is written.
            crf: Quality, 0 (lossless) to 51.
        """
        self.mime_type = ""
        self._rate, self._sample_rate, self._crf = frame_rate(fps), sample_rate, crf
        self._sink, self._converter = _Sink(), YuvConverter()
        options = {"movflags": MOVFLAGS, "flush_packets": "1"}
        self._container = av.open(self._sink, "w", format="mp4", options=options)
        self._video = self._container.add_stream("libx264", rate=self._rate)
        self._audio = self._container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono")
        self._audio.bit_rate = AUDIO_BITS_PER_SECOND
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=AUDIO_RATE_HZ)
        self._frames, self._samples = 0, 0

    def write(self, image: np.ndarray, audio: np.ndarray) -> bytes:
        """Encode a frame.

        Args:
            image: (H W 3) uint8 RGB, all of one size.
            audio: (S,) float32, the sound of the frame's time.

        Returns:
            The bytes that are ready.
        """
        if self._frames == 0:
            self._start(image)
        picture = self._converter.convert(image)
        picture.pts, picture.time_base = self._frames, 1 / self._rate
        self._frames += 1
        self._mux(self._video.encode(picture), 1 / self._rate)
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio[None], np.float32), "flt", "mono")
        sound.sample_rate, sound.time_base, sound.pts = (
            self._sample_rate,
            Fraction(1, self._sample_rate),
            self._samples,
        )
        self._samples += len(audio)
        for resampled in self._resampler.resample(sound):
            self._encode_audio(resampled, (resampled.pts or 0) + 2 * AAC_SAMPLES + AHEAD_SAMPLES)
        data = self._sink.take()
        if not self.mime_type and (at := data.find(b"avcC")) >= 0:  # profile, compatibility and level
            self.mime_type = f'video/mp4; codecs="avc1.{data[at + 5 : at + 8].hex()}, mp4a.40.2"'
        return data

    def close(self) -> bytes:
        """End the file; returns its last bytes."""
        if self._frames:
            self._container.mux(self._video.encode(None))
            self._container.mux(self._audio.encode(None))
            self._container.close()
        return self._sink.take()

    def _encode_audio(self, frame: av.AudioFrame, pts: int) -> None:
        frame.pts = pts
        self._mux(self._audio.encode(frame), Fraction(AAC_SAMPLES, AUDIO_RATE_HZ))

    def _mux(self, packets: list[av.Packet], seconds: Fraction) -> None:
        """Write packets of this length; the muxer would guess it."""
        for packet in packets:
            packet.duration = round(seconds / packet.time_base)
            self._container.mux(packet)

    def _start(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        self._video.width, self._video.height = width + width % 2, height + height % 2
        self._video.pix_fmt = "yuv420p"
        self._video.options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": f"{self._crf:g}",
        }
        context = self._video.codec_context
        context.gop_size, context.thread_count = max(1, round(self._rate * KEYFRAME_SECONDS)), 1
        tag_bt709(context)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, AAC_SAMPLES), np.float32), "fltp", "mono")
        silence.sample_rate, silence.time_base = AUDIO_RATE_HZ, Fraction(1, AUDIO_RATE_HZ)
        self._encode_audio(silence, AAC_SAMPLES + AHEAD_SAMPLES)
