"""Who somebody is: users, their passwords and their API keys."""

from typing import NamedTuple

from composition.ground import Ground, offload
from config import ConfigurationError
from domain.errors import Conflict, InvalidInput
from services.account_service import AccountService
from services.api_key_service import ApiKeyService
from services.auth_service import AuthService
from services.key_checker import KeyChecker
from services.login_guard import LoginGuard
from services.passwords import Passwords
from services.setup_service import SetupService
from services.sign_ins import SignIns
from services.user_service import UserService


class Identity(NamedTuple):
    """One of each."""

    accounts: AccountService
    api_keys: ApiKeyService
    auth: AuthService
    keys: KeyChecker
    setup: SetupService
    users: UserService


def identity(ground: Ground) -> Identity:
    """Its parts."""
    settings, unit_of_work, shared = ground.settings, ground.unit_of_work, ground.shared
    passwords, guard = Passwords(offload), LoginGuard(shared.counter)
    keys = KeyChecker(unit_of_work, shared.signals, shared.counter)
    sign_ins, registration = SignIns(settings.REFRESH_TOKEN_TTL_S), settings.REGISTRATION
    return Identity(
        accounts=AccountService(unit_of_work, passwords, guard, sign_ins, registration),
        api_keys=ApiKeyService(unit_of_work, keys),
        auth=AuthService(unit_of_work, passwords, guard, sign_ins, keys),
        keys=keys,
        setup=SetupService(unit_of_work, passwords, sign_ins, settings.secret_key),
        users=UserService(unit_of_work, passwords, registration, keys.forget),
    )


def prepare_users(ground: Ground, setup: SetupService) -> None:
    """The first administrator, where one is configured. Raises :class:`ConfigurationError` where that cannot be."""
    settings = ground.settings
    try:
        if settings.ADMIN_USERNAME:
            setup.ensure_admin(settings.ADMIN_USERNAME, settings.ADMIN_PASSWORD.get_secret_value())
        if settings.REGISTRATION == "single":
            setup.require_single_user()
    except (InvalidInput, Conflict) as error:
        ground.database.engine.dispose()  # nothing will be served from it
        reason = "ADMIN_USERNAME and ADMIN_PASSWORD cannot be used. " if isinstance(error, InvalidInput) else ""
        raise ConfigurationError(reason + error.message) from None
