"""The signer of content credentials: the user's certificate, or one that is made once on this computer.

A self-made certificate proves that a file was not changed after it was signed, not who signed it.
"""

import datetime
import logging
import os
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from emo.core.errors import InputError
from emo.core.files import config_folder

SELF_MADE = "self-made by emo-portrait"
VALID_DAYS = 3650
EC_ALGORITHMS = {256: "es256", 384: "es384", 521: "es512"}
logger = logging.getLogger(__name__)
CHAIN_FILE, KEY_FILE = "certificate.pem", "certificate_key.pem"


def load_signer(files: tuple[Path, Path] | None) -> Any:
    """Return c2pa's signer.

    Args:
        files: PEM files of the user's certificate and its key; None: the self-made one, which is made if need be.

    Returns:
        A c2pa.Signer.

    Raises:
        InputError: The files are missing or no certificate and key.
    """
    chain, key = _load_self_made() if files is None else tuple(map(_read, files))
    try:
        algorithm = _choose_algorithm(key)
        info = c2pa.C2paSignerInfo(alg=algorithm.encode(), sign_cert=chain, private_key=key, ta_url=None)
        return c2pa.Signer.from_info(info)
    except (ValueError, TypeError, c2pa.C2paError) as error:
        name = files[0] if files else config_folder() / CHAIN_FILE
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: not a certificate and key that can sign ({reason}): give PEM files") from error


def make_certificate() -> tuple[bytes, bytes]:
    """Make an ES256 key and a certificate for it, issued by a root of its own, whose key is thrown away.

    Returns:
        PEM of the certificate and its root, and PEM of the private key.
    """
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _issue("root", root_key, "root", root_key, is_root=True)
    leaf = _issue("signer", key, "root", root_key, is_root=False)
    chain = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in (leaf, root))
    plain = serialization.NoEncryption()
    return chain, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _issue(name: str, key: Any, issuer: str, issuer_key: Any, is_root: bool) -> x509.Certificate:
    """A certificate with the extensions that C2PA 2.x asks for (section 14.5)."""

    def make_name(text: str) -> x509.Name:
        parts = (NameOID.ORGANIZATION_NAME, SELF_MADE), (NameOID.COMMON_NAME, text)
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])

    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(
        make_name(issuer),
        make_name(name),
        key.public_key(),
        x509.random_serial_number(),
        start,
        start + datetime.timedelta(days=VALID_DAYS),
    )
    usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
    subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(is_root, None), True).add_extension(usage, True)
    builder = builder.add_extension(subject, False).add_extension(authority, False)
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(issuer_key, hashes.SHA256())


def _load_self_made() -> tuple[bytes, bytes]:
    """The certificate of this computer's user; where it can't be stored, one for this file alone."""
    folder = config_folder()
    chain_file, key_file = folder / CHAIN_FILE, folder / KEY_FILE
    try:
        return chain_file.read_bytes(), key_file.read_bytes()
    except OSError:
        chain, key = make_certificate()
    logger.warning(
        "content credentials are signed with a certificate made on this computer: readers call them valid, not trusted"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
        chain_file.write_bytes(chain)
    except OSError:
        pass
    return chain, key


def _read(file: Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file} can't be read ({error.strerror}): give a PEM file") from error


def _choose_algorithm(key: bytes) -> str:
    """C2PA's name of the signature algorithm for a private key. Raises ValueError for other kinds."""
    loaded = serialization.load_pem_private_key(key, None)
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.key_size in EC_ALGORITHMS:
        return EC_ALGORITHMS[loaded.key_size]
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(loaded, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError("its key is none of P-256, P-384, P-521, Ed25519 and RSA")
