"""Content Credentials (C2PA 2.x): a signed manifest in the mp4 that says how it was made.

Needs c2pa-python and cryptography (extra `c2pa`); without them nothing is signed. Nothing is fetched from the network,
and no thumbnails or file names are stored: portrait and sound are named by their SHA-256.
"""

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emo import __version__
from emo.core.errors import InputError
from emo.core.files import atomic_file
from emo.provenance.metadata import EDITED, GENERATED, PRODUCER, SOURCE_TYPES

SOFT_BINDING = "emo-portrait.watermark.1"  # the watermark's name; not in the C2PA's list of algorithms yet
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True)
class Certificate:
    """Who signs.

    Attributes:
        chain: PEM file: the certificate, then those of its issuers.
        key: PEM file of its private key, without a password.
    """

    chain: Path
    key: Path


@dataclass(frozen=True)
class FoundCredentials:
    """What a file's content credentials say.

    Attributes:
        state: "valid", "broken", "none", or "not read" without c2pa-python.
        issuer: Who signed.
        ours: Whether this package is named as the maker.
        payload_hex: The watermark's payload that they state.
        reason: Why they are broken.
    """

    state: str
    issuer: str | None = None
    ours: bool = False
    payload_hex: str | None = None
    reason: str | None = None


def can_sign() -> bool:
    """Check whether the packages of the extra `c2pa` are installed."""
    return find_spec("c2pa") is not None and find_spec("cryptography") is not None


def sign_video(
    path: Path,
    *,
    model_name: str,
    payload_hex: str | None,
    sources: Mapping[str, Path],
    edited: Path | None = None,
    certificate: Certificate | None = None,
) -> None:
    """Sign an mp4 in place.

    Args:
        path: The complete mp4.
        model_name: Name of the model.
        payload_hex: The watermark's payload.
        sources: What it was made from: name -> file.
        edited: The recording that was changed; its credentials are kept.
        certificate: Who signs; None: a certificate made on this computer, which nobody else trusts.

    Raises:
        InputError: The certificate can't be used; or one is given and the packages are missing.
    """
    if not can_sign():
        if certificate is not None:
            raise InputError("certificate= needs c2pa-python: pip install 'emo-portrait[c2pa]'")
        return
    import c2pa

    from emo.provenance.certificates import load_signer

    signer = load_signer(None if certificate is None else (certificate.chain, certificate.key))
    context = c2pa.Context(c2pa.Settings.from_dict(SETTINGS))
    builder = c2pa.Builder(make_manifest(model_name, payload_hex, edited is not None), context)
    for name, file in sources.items():
        _add_ingredient(builder, name, file, "inputTo")
    if edited is not None:
        _add_ingredient(builder, "edited video", edited, "parentOf")
    try:
        with atomic_file(path) as signed, path.open("rb") as source, signed.open("w+b") as target:
            builder.sign(signer, "video/mp4", source, target)
    except c2pa.C2paError as error:
        raise InputError(f"certificate={certificate and certificate.chain}: can't sign ({error})") from error


def make_manifest(model_name: str, payload_hex: str | None, edited: bool) -> dict[str, Any]:
    """Return the manifest's definition.

    Args:
        model_name: Name of the model.
        payload_hex: The watermark's payload.
        edited: The video is a recording that was changed.

    Returns:
        Claim generator, actions and soft binding.
    """
    first = {
        "action": "c2pa.opened" if edited else "c2pa.created",
        "softwareAgent": {"name": PRODUCER, "version": __version__},
        "parameters": {"model": model_name},
    }
    actions: list[dict[str, Any]] = [first]
    if edited:
        change = {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPES + EDITED}
        actions.append(change | {"softwareAgent": first["softwareAgent"]})
        first["parameters"]["org.cai.ingredientIds"] = ["edited video"]
    else:
        first["digitalSourceType"] = SOURCE_TYPES + GENERATED
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    if payload_hex is not None:
        actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": first["softwareAgent"]})
        binding = {"alg": SOFT_BINDING, "blocks": [{"scope": {}, "value": payload_hex}]}
        assertions.append({"label": "c2pa.soft-binding", "data": binding})
    return {
        "claim_generator_info": [{"name": PRODUCER, "version": __version__}],
        "format": "video/mp4",
        "assertions": assertions,
    }


def read_credentials(path: Path) -> FoundCredentials:
    """Read and check the content credentials of a picture or video; issuers that nobody knows are no fault.

    Args:
        path: The file.

    Returns:
        What was found.
    """
    if find_spec("c2pa") is None:
        return FoundCredentials("not read", reason="c2pa-python is not installed")
    import c2pa

    try:
        reader = c2pa.Reader.try_create(str(path), context=c2pa.Context(c2pa.Settings.from_dict(SETTINGS)))
    except c2pa.C2paError as error:
        unknown = "NotSupported" in type(error).__name__ or "unsupported" in str(error).lower()
        return FoundCredentials("none") if unknown else FoundCredentials("broken", reason=_first_line(error))
    if reader is None:
        return FoundCredentials("none")
    with reader:
        state, store = str(reader.get_validation_state()), json.loads(reader.json())
    manifest = store["manifests"][store["active_manifest"]]
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    reason = next((item["code"] for item in failures if item["code"] != "signingCredential.untrusted"), None)
    bindings = [item["data"] for item in manifest.get("assertions", []) if item["label"] == "c2pa.soft-binding"]
    ours = [data["blocks"][0]["value"] for data in bindings if data.get("alg") == SOFT_BINDING]
    return FoundCredentials(
        "valid" if state in ("Valid", "Trusted") else "broken",
        manifest.get("signature_info", {}).get("issuer"),
        any(info.get("name") == PRODUCER for info in manifest.get("claim_generator_info", [])),
        ours[0] if ours else None,
        None if state in ("Valid", "Trusted") else reason or state,
    )


def _add_ingredient(builder: Any, name: str, file: Path, relationship: str) -> None:
    """Add a source by its SHA-256; its own credentials are kept where its format can have some."""
    import c2pa

    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    stated = {"title": name, "relationship": relationship, "instance_id": f"sha256:{digest}", "label": name}
    try:
        with file.open("rb") as source:
            builder.add_ingredient(stated, kind, source)
    except c2pa.C2paError:  # a format without credentials: FLAC, Ogg, ...
        with Path(__file__).open("rb") as source:
            builder.add_ingredient(stated | {"format": kind}, "application/octet-stream", source)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
