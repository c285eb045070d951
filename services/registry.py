"""All use cases of an application, as the gateway finds them."""

from dataclasses import dataclass

from services.auth_service import AuthService
from services.health_service import HealthService


@dataclass(frozen=True, slots=True)
class Services:
    """One of each."""

    auth: AuthService
    health: HealthService
