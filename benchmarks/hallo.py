"""The layout of Hallo's net.pth: every name with its shape, from the sizes of the networks; see `layout`."""

from collections.abc import Iterator

Named = Iterator[tuple[str, tuple[int, ...]]]


def layout(
    dims: tuple[int, ...] = (320, 640, 1280, 1280),
    depth: int = 2,
    token_dim: int = 768,  # of identity tokens
    audio_dim: int = 768,  # of audio tokens
    audio_tokens: int = 32,
    hidden: int = 512,
    feature_dim: int = 768,
    locator: tuple[int, ...] = (16, 32, 64, 128),
) -> dict[str, tuple[int, ...]]:
    """Name -> shape. The defaults are those of what was published."""
    names = dict(unet("reference_unet", dims, depth, token_dim, None))
    names |= dict(unet("denoising_unet", dims, depth, token_dim, audio_dim))
    names |= dict(pair("denoising_unet.conv_norm_out", dims[0]))
    names |= dict(pair("denoising_unet.conv_out", 4, dims[0], 3, 3))
    names |= dict(pair("face_locator.conv_in", locator[0], 3, 3, 3))
    for i, (a, b) in enumerate(zip(locator, locator[1:], strict=False)):
        names |= dict(pair(f"face_locator.blocks.{2 * i}", a, a, 3, 3))
        names |= dict(pair(f"face_locator.blocks.{2 * i + 1}", b, a, 3, 3))
    names |= dict(pair("face_locator.conv_out", dims[0], locator[-1], 3, 3))
    names |= dict(pair("imageproj.proj", 4 * token_dim, 512)) | dict(pair("imageproj.norm", token_dim))
    widths = [5 * 12 * feature_dim, hidden, hidden, audio_tokens * audio_dim]
    for i in range(3):
        names |= dict(pair(f"audioproj.proj{i + 1}", widths[i + 1], widths[i]))
    return names | dict(pair("audioproj.norm", audio_dim))


def pair(name: str, *shape: int) -> Named:
    """A weight and its bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def attention(name: str, dim: int, context: int) -> Named:
    for part, width in (("q", dim), ("k", context), ("v", context)):
        yield f"{name}.to_{part}.weight", (dim, width)
    yield from pair(f"{name}.to_out.0", dim, dim)


def feed_forward(name: str, dim: int) -> Named:
    yield from pair(f"{name}.net.0.proj", 8 * dim, dim)
    yield from pair(f"{name}.net.2", dim, 4 * dim)


def resnet(name: str, dim: int, out: int, emb: int) -> Named:
    yield from [*pair(f"{name}.norm1", dim), *pair(f"{name}.conv1", out, dim, 3, 3)]
    yield from [*pair(f"{name}.time_emb_proj", out, emb), *pair(f"{name}.norm2", out)]
    yield from pair(f"{name}.conv2", out, out, 3, 3)
    if dim != out:
        yield from pair(f"{name}.conv_shortcut", out, dim, 1, 1)


def transformer(name: str, dim: int, inner: int, contexts: dict[str, int]) -> Named:
    """contexts: what the cross-attentions are called -> width of their tokens."""
    block = f"{name}.transformer_blocks.0"
    yield from [*pair(f"{name}.norm", dim), *pair(f"{name}.proj_in", inner, dim, 1, 1)]
    yield from [*pair(f"{name}.proj_out", dim, inner, 1, 1), *feed_forward(f"{block}.ff", inner)]
    for i in (1, 2, 3):
        yield from pair(f"{block}.norm{i}", inner)
    yield from attention(f"{block}.attn1", inner, inner)
    for part, width in contexts.items():
        yield from attention(f"{block}.{part}", inner, width)


def audio_module(name: str, dim: int, inner: int, audio_dim: int) -> Named:
    yield from transformer(name, dim, inner, {f"attn2_{i}": audio_dim for i in range(3)})
    for region in ("full", "face", "lip"):
        yield from pair(f"{name}.transformer_blocks.0.zero_conv_{region}", inner, inner, 1, 1)


def motion_module(name: str, dim: int) -> Named:
    name = f"{name}.temporal_transformer"
    block = f"{name}.transformer_blocks.0"
    yield from [*pair(f"{name}.norm", dim), *pair(f"{name}.proj_in", dim, dim), *pair(f"{name}.proj_out", dim, dim)]
    for i in (0, 1):
        yield from [*attention(f"{block}.attention_blocks.{i}", dim, dim), *pair(f"{block}.norms.{i}", dim)]
        yield f"{block}.attention_blocks.{i}.pos_encoder.pe", (1, 32, dim)
    yield from [*pair(f"{block}.ff_norm", dim), *feed_forward(f"{block}.ff", dim)]


def unet(net: str, dims: tuple[int, ...], depth: int, token_dim: int, audio_dim: int | None) -> Named:
    """With audio and motion modules where there is an audio_dim."""
    emb, last, width, skips = 4 * dims[0], len(dims) - 1, dims[0], [dims[0]]
    yield from pair(f"{net}.conv_in", dims[0], 4, 3, 3)
    yield from pair(f"{net}.time_embedding.linear_1", emb, dims[0])
    yield from pair(f"{net}.time_embedding.linear_2", emb, emb)

    def layer(stage: str, i: int, into: int, dim: int, attends: bool, inner: int) -> Named:
        yield from resnet(f"{stage}.resnets.{i}", into, dim, emb)
        if attends:
            yield from transformer(f"{stage}.attentions.{i}", dim, dim, {"attn2": token_dim})
        if attends and audio_dim:
            yield from audio_module(f"{stage}.audio_modules.{i}", dim, inner, audio_dim)
        if audio_dim:
            yield from motion_module(f"{stage}.motion_modules.{i}", dim)

    for level, dim in enumerate(dims):
        for i in range(depth):
            yield from layer(f"{net}.down_blocks.{level}", i, width, dim, level < last, width)
            width = dim
        skips += [dim] * (depth + (level < last))
        if level < last:
            yield from pair(f"{net}.down_blocks.{level}.downsamplers.0.conv", dim, dim, 3, 3)
    yield from layer(f"{net}.mid_block", 0, width, width, True, width)
    yield from resnet(f"{net}.mid_block.resnets.1", width, width, emb)
    for level, dim in reversed(list(enumerate(dims))):
        stage = f"{net}.up_blocks.{last - level}"
        for i in range(depth + 1):
            yield from layer(stage, i, width + skips.pop(), dim, level < last, dims[max(0, level - 1)])
            width = dim
        if level:
            yield from pair(f"{stage}.upsamplers.0.conv", dim, dim, 3, 3)
