"""Every exception of sockets, TLS, http.client and urllib3, in the words of the error tree."""

import http.client
import socket
import ssl
from typing import Literal

from urllib3 import exceptions as urllib3_errors

from adapters.base_adapter import UpstreamCall
from domain.errors import ProviderError, ProviderGarbage, ProviderTimeout, ProviderUnavailable, UpstreamCut

Phase = Literal["connecting", "waiting", "reading"]
Kind = Literal["timeout", "garbage", "broken", "unreachable"]

# The first row that fits decides, so subclasses stand before their bases.
_KINDS: tuple[tuple[Kind, tuple[type[BaseException], ...]], ...] = (
    ("unreachable", (urllib3_errors.NewConnectionError, socket.gaierror)),
    ("timeout", (urllib3_errors.TimeoutError, TimeoutError)),
    (
        "unreachable",
        (
            urllib3_errors.PoolError,
            urllib3_errors.ProxyError,
            urllib3_errors.LocationValueError,
            urllib3_errors.ProxySchemeUnsupported,
            urllib3_errors.TimeoutStateError,
            urllib3_errors.UnrewindableBodyError,
            http.client.InvalidURL,
            http.client.ImproperConnectionState,
            http.client.NotConnected,
            UnicodeError,  # a host name that cannot be encoded
        ),
    ),
    (
        "broken",
        (
            urllib3_errors.IncompleteRead,
            http.client.RemoteDisconnected,
            ConnectionError,
            ssl.SSLEOFError,
            ssl.SSLZeroReturnError,
        ),
    ),
    (
        "garbage",
        (
            urllib3_errors.InvalidChunkLength,
            urllib3_errors.InvalidHeader,
            urllib3_errors.HeaderParsingError,
            urllib3_errors.DecodeError,
            urllib3_errors.ResponseError,
            urllib3_errors.ResponseNotChunked,
            urllib3_errors.BodyNotHttplibCompatible,
            http.client.BadStatusLine,
            http.client.LineTooLong,
            http.client.UnknownProtocol,
            http.client.UnknownTransferEncoding,
            http.client.UnimplementedFileMode,
        ),
    ),
    ("broken", (http.client.IncompleteRead, urllib3_errors.ProtocolError)),
    ("unreachable", (urllib3_errors.SSLError, ssl.SSLError, ssl.CertificateError)),
    ("garbage", (http.client.HTTPException,)),  # among them: too many headers
    ("unreachable", (urllib3_errors.HTTPError, OSError)),
)


def kind_of(error: BaseException) -> Kind | None:
    """What sort of network failure this is; ``None`` for an exception that is none."""
    if type(error) is urllib3_errors.ProtocolError and error.__cause__ is not None:
        return kind_of(error.__cause__)
    return next((kind for kind, classes in _KINDS if isinstance(error, classes)), None)


def network_failure(error: Exception, call: UpstreamCall, phase: Phase) -> Exception:
    """The domain's error for ``error``, which struck in ``phase``; ``error`` itself if it is no network failure."""
    if isinstance(error, ProviderError):
        return error
    if call.aborted:
        return UpstreamCut("The call was stopped.")
    kind = kind_of(error)
    if kind is None:
        return error
    if kind == "timeout":
        return call.timeout("connect") if phase == "connecting" else _passed_deadline(call)
    return _broken(kind, phase, error)


def _broken(kind: Kind, phase: Phase, error: Exception) -> ProviderError:
    if kind == "garbage":
        return ProviderGarbage("The provider's answer is not valid HTTP.")
    if phase == "reading":
        return UpstreamCut("The provider's answer broke off.")
    if phase == "connecting":
        return ProviderUnavailable(f"The provider cannot be reached ({_cause(error)}).")
    return ProviderUnavailable("The connection to the provider broke.")


def _passed_deadline(call: UpstreamCall) -> ProviderTimeout:
    try:
        _, stage = call.remaining()
    except ProviderTimeout as timeout:
        return timeout
    return call.timeout(stage)


def _cause(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    return "TLS failed" if isinstance(error, ssl.SSLError) else "no connection"
