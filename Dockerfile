# emo for a CPU or a CUDA GPU. No system package is needed: PyAV's wheel brings its own ffmpeg libraries.
#
#   docker build -t emo:cpu .
#   docker build -t emo:cuda --build-arg VARIANT=cuda .
#   docker run --rm -v "$PWD:/data" emo:cpu infer portrait.png song.wav
#   docker run --rm -v "$PWD:/data" --gpus all emo:cuda infer portrait.png song.wav
#
# cuda needs the NVIDIA Container Toolkit on the host; CUDA's own libraries come with torch's wheel.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG VARIANT=cpu
ARG TORCH=2.13.0
ARG EXTRAS=lora
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HOME=/home/emo/.cache/huggingface

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY emo emo
RUN case "$VARIANT" in \
        cpu) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) index="" ;; \
        *) echo "VARIANT=$VARIANT: give cpu or cuda" >&2; exit 2 ;; \
    esac \
    && pip install $index "torch==$TORCH" ".[$EXTRAS]" \
    && rm -rf /src

RUN useradd --create-home --uid 1000 emo && mkdir /data && chown emo:emo /data
USER emo
WORKDIR /data
VOLUME /data
ENTRYPOINT ["emo"]
CMD ["--help"]
