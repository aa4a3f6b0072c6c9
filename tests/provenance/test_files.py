"""Metadata, content credentials and labels of files."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.provenance.content_credentials import Certificate, read_credentials
from emo.provenance.marks import Label, Marks
from emo.provenance.metadata import read_metadata
from emo.provenance.report import inspect_file


def remux(source: Path, target: Path) -> Path:
    """Copy the packets without metadata, as `ffmpeg -c copy -map_metadata -1` does."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def test_metadata_are_written_where_readers_look(marked_video, payload):
    with av.open(str(marked_video)) as container:
        aigc = json.loads(container.metadata["AIGC"])
    assert aigc["Label"] == "1" and aigc["ContentProducer"] and aigc["ProduceID"] == payload.hex
    found = read_metadata(marked_video)
    assert found.ours and found.payload_hex == payload.hex and found.source_type == "trainedAlgorithmicMedia"
    assert found.aigc == aigc


def test_a_remux_drops_metadata_and_the_watermark_still_tells(marked_video, payload, tmp_path):
    report = inspect_file(remux(marked_video, tmp_path / "copy.mp4"))
    assert (
        report.credentials.state in ("none", "not read") and not report.metadata.ours and report.metadata.aigc is None
    )
    assert report.made_by_emo and report.watermark is not None and report.watermark.payload == payload


def test_credentials_are_read_in_a_fresh_process(marked_video, payload):
    pytest.importorskip("c2pa")
    code = "import c2pa, sys; r = c2pa.Reader(sys.argv[1]); print(r.get_validation_state()); print(r.json())"
    done = subprocess.run([sys.executable, "-c", code, str(marked_video)], capture_output=True, text=True, check=True)
    state, _, text = done.stdout.partition("\n")
    store = json.loads(text)
    manifest = store["manifests"][store["active_manifest"]]
    actions = next(item["data"]["actions"] for item in manifest["assertions"] if "actions" in item["label"])
    assert state == "Valid" and [action["action"] for action in actions] == ["c2pa.created", "c2pa.watermarked.bound"]
    assert actions[0]["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert [item["title"] for item in manifest["ingredients"]] == ["sound"] and "sound.wav" not in text
    found = read_credentials(marked_video)
    assert found.state == "valid" and found.ours and found.payload_hex == payload.hex


def test_one_changed_byte_breaks_the_credentials(marked_video, tmp_path):
    pytest.importorskip("c2pa")
    data = bytearray(marked_video.read_bytes())
    data[data.index(b"mdat") + 2000] ^= 1
    (tmp_path / "changed.mp4").write_bytes(data)
    found = read_credentials(tmp_path / "changed.mp4")
    assert found.state == "broken" and "ash" in (found.reason or "")


def test_an_edited_video_keeps_its_credentials(marked_video, picture, tmp_path):
    pytest.importorskip("c2pa")
    marks = Marks("dub", edited=marked_video)
    path = tmp_path / "dubbed.mp4"
    with VideoWriter(path, 25, metadata=marks.metadata, on_complete=marks.sign) as writer:
        writer.write(marks.mark_frame(picture))
    import c2pa

    with c2pa.Reader(str(path)) as reader:
        store = json.loads(reader.json())
    manifest = store["manifests"][store["active_manifest"]]
    (parent,) = manifest["ingredients"]
    actions = next(item["data"]["actions"] for item in manifest["assertions"] if "actions" in item["label"])
    assert parent["relationship"] == "parentOf" and parent["active_manifest"] in store["manifests"]
    assert actions[0]["action"] == "c2pa.opened"
    assert any(a.get("digitalSourceType", "").endswith("compositeWithTrainedAlgorithmicMedia") for a in actions)
    assert read_credentials(path).state == "valid"


def test_a_certificate_that_is_none_is_one_line(marked_video, tmp_path):
    pytest.importorskip("c2pa")
    (tmp_path / "a.pem").write_text("nothing")
    marks = Marks("mini", certificate=Certificate(tmp_path / "a.pem", tmp_path / "a.pem"))
    copy = tmp_path / "x.mp4"
    copy.write_bytes(marked_video.read_bytes())
    with pytest.raises(InputError, match=r"a\.pem: not a certificate"):
        marks.sign(copy)


def test_a_label_is_large_enough_and_in_every_frame(picture, tmp_path):
    label = Label("AI-generated")
    labeled = label.burn(np.full_like(picture, 90))
    changed = np.argwhere(labeled.max(-1) != 90)
    letters = np.argwhere(labeled.min(-1) > 250)
    assert np.ptp(changed[:, 0]) + 1 >= np.ptp(letters[:, 0]) + 1 >= 0.05 * min(picture.shape[:2])
    assert changed[:, 0].min() > 0.85 * picture.shape[0]
    marks = Marks("mini", watermark=None, label="made by a computer")
    with VideoWriter(tmp_path / "x.mp4", 25) as writer:
        for _ in range(3):
            writer.write(marks.mark_frame(np.full_like(picture, 90)))
    assert all((frame > 200).any() for frame in read_video(tmp_path / "x.mp4"))


@pytest.mark.parametrize(("text", "words"), [("", "1 to 60"), ("x" * 61, "1 to 60"), ("AI生成", "label_font")])
def test_labels_that_cannot_be_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        Label(text)
