"""All settings, read once from the environment (or ``.env``), typed, without unsafe defaults.

Without DATABASE_URL this is a trial (``make run``): the embedded PostgreSQL under ``.data``,
loopback only, with a secret generated on the first start. Otherwise nothing is guessed: a missing
or unsafe value is refused by name.
"""

import json
import re
import secrets
import sys
from collections.abc import MutableMapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
import environ
import structlog
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

from audit_app.base.durations import parse_duration
from orchestrator import __version__
from orchestrator.ops import database_roles, embedded_postgres

BASE_DIR = Path(__file__).resolve().parent.parent
# In a wheel, what a checkout has beside the packages is inside of this one: see pyproject.toml.
BUNDLED_DIR = Path(__file__).resolve().with_name("bundled")
INSTALLED = BUNDLED_DIR.is_dir()
ASSETS_DIR = BUNDLED_DIR if INSTALLED else BASE_DIR

env = environ.Env()
if not INSTALLED:
    env.read_env(BASE_DIR / ".env")


def _default_data_dir() -> Path:
    """``.data`` of a checkout; of an installation, where XDG says that an application's data is."""
    if not INSTALLED:
        return BASE_DIR / ".data"
    return Path(env.str("XDG_DATA_HOME", default="~/.local/share")).expanduser() / "orchestrator"


DATA_DIR = Path(env.str("DATA_DIR", default="") or _default_data_dir())
DATABASE_URL = env.str("DATABASE_URL", default="")
DATABASE_OWNER_URL = env.str("DATABASE_OWNER_URL", default="")
DATABASE_ADMIN_URL = env.str("DATABASE_ADMIN_URL", default="")
DATABASE_DIRECT_URL = env.str("DATABASE_DIRECT_URL", default="")
EMBEDDED = not DATABASE_URL
TRIAL = env.bool("TRIAL", default=EMBEDDED)
DEBUG = env.bool("DEBUG", default=False)
TESTING = "pytest" in sys.modules
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
MAIL_TIMEOUT_SECONDS = 5


def _secret_of_the_trial() -> str:
    kept = DATA_DIR / "secret_key"
    if not kept.exists():
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(64))
    return kept.read_text()


def _duration(name: str, default: str, *, at_most: str = "") -> timedelta:
    try:
        value = parse_duration(env.str(name, default=default))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None
    if at_most and value > parse_duration(at_most):
        raise ImproperlyConfigured(f"{name} must be at most {at_most}.")
    return value


def _positive(name: str, default: int, *, least: int = 1) -> int:
    try:
        value: int = env.int(name, default=default)
    except ValueError:
        value = least - 1
    if value < least:
        raise ImproperlyConfigured(f"{name} must be a whole number of at least {least}.")
    return value


def _choice(name: str, allowed: tuple[str, ...]) -> str:
    value: str = env.str(name, default=allowed[0])
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _schedule(name: str) -> list[str]:
    commands = (
        "expire_approvals",
        "remind_approvals",
        "release_leases",
        "expire_sessions",
        "purge",
    )
    given: list[str] = env.list(name, default=["on"])
    if given in (["on"], ["off"]):
        return list(commands) if given == ["on"] else []
    if unknown := [command for command in given if command not in commands]:
        raise ImproperlyConfigured(
            f"{name} must be on, off or some of {', '.join(commands)}, not {', '.join(unknown)}."
        )
    return given


def _origin(name: str) -> str:
    value: str = env.str(name, default="").rstrip("/")
    url = urlsplit(value)
    if value and not (url.scheme in ("http", "https") and value == f"{url.scheme}://{url.netloc}"):
        raise ImproperlyConfigured(
            f"{name} must be https:// and a host, without a path: the server is offered at the "
            "root of a host name only."
        )
    return value


def _log_origin(name: str) -> str:
    """The transparency log's name; unless set, where it is served, without the scheme."""
    host = urlsplit(PUBLIC_URL).netloc or (ALLOWED_HOSTS[0] if ALLOWED_HOSTS else "localhost")
    value: str = env.str(name, default=f"{host}/audit/log")
    if not re.fullmatch(r"[^\s+]+", value) or not value.isprintable():
        raise ImproperlyConfigured(f"{name} must be a name without blanks and plus signs.")
    return value


def _passkey_origins() -> list[str]:
    """The origins whose pages use passkeys: else PUBLIC_URL if it is secure, or a trial's own."""
    given = [text.strip().rstrip("/") for text in env.list("PASSKEY_ORIGINS", default=[])]
    if not all(map(_may_use_passkeys, given)):
        raise ImproperlyConfigured(
            "PASSKEY_ORIGINS must be a list of https:// and a host each, without a path; "
            "http:// is accepted for localhost alone."
        )
    # A passkey belongs to a name: browsers accept localhost, and never 127.0.0.1.
    local = f"http://localhost:{env.str('PORT', default='8000')}" if TRIAL else ""
    return given or [text for text in (PUBLIC_URL or local,) if _may_use_passkeys(text)]


def _may_use_passkeys(origin: str) -> bool:
    url = urlsplit(origin)
    secure = url.scheme == "https" or (url.scheme == "http" and url.hostname == "localhost")
    return secure and bool(url.netloc) and origin == f"{url.scheme}://{url.netloc}"


def _passkey_domain() -> str:
    """The domain that passkeys belong to: that of the first origin, or one above it."""
    hosts = [urlsplit(origin).hostname or "" for origin in PASSKEY_ORIGINS]
    domain: str = env.str("PASSKEY_DOMAIN", default="") or (hosts[0] if hosts else "")
    if any(host != domain and not host.endswith(f".{domain}") for host in hosts):
        raise ImproperlyConfigured("PASSKEY_DOMAIN must be a domain of all PASSKEY_ORIGINS.")
    return domain


def _networks(name: str) -> list[str]:
    try:
        return [str(ip_network(text)) for text in env.list(name, default=[])]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}.") from None


def _object(name: str) -> dict[str, Any]:
    """A JSON object, or the one in the JSON file whose path it is; empty if it is not set."""
    given = env.str(name, default="").strip()
    if not given:
        return {}
    try:
        found: Any = json.loads(given if given.startswith("{") else Path(given).read_text())
    except OSError as error:
        raise ImproperlyConfigured(f"{name} can't be read: {error.strerror}.") from None
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be JSON, or a file of it.") from None
    if not isinstance(found, dict):
        raise ImproperlyConfigured(f"{name} must be a JSON object.")
    return dict(found)


def _notice_channels() -> dict[str, list[str]]:
    """The apprise URLs that each role shares."""
    found = _object("NOTICE_CHANNELS")
    well = all(
        isinstance(urls, list) and all(isinstance(url, str) for url in urls)
        for urls in found.values()
    )
    if not well:
        raise ImproperlyConfigured("NOTICE_CHANNELS must name a list of apprise URLs for a role.")
    return found


def _roles_map(name: str) -> dict[str, str]:
    """The role that each value of a claim stands for."""
    found = _object(name)
    if not all(isinstance(role, str) and role for role in found.values()):
        raise ImproperlyConfigured(f"{name} must name one role for each value.")
    return found


def database(url: str) -> dict[str, Any]:
    """Django's settings for the PostgreSQL at ``url``."""
    try:
        found: dict[str, Any] = env.db_url_config(url)
    except (environ.ImproperlyConfigured, ValueError):
        found = {}
    if found.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL must be a postgresql:// URL.")
    options = found.setdefault("OPTIONS", {})
    options.setdefault("connect_timeout", 2)
    options.setdefault("application_name", "orchestrator")
    # Notices within seconds when a host disappears without closing its connections.
    options.setdefault("tcp_user_timeout", 2000)
    options.setdefault("keepalives_idle", 5)
    options.setdefault("keepalives_interval", 1)
    options.setdefault("keepalives_count", 2)
    timeouts = database_roles.TIMEOUTS.items()
    options.setdefault("options", " ".join(f"-c {name}={value}" for name, value in timeouts))
    if env.bool("DB_POOL", default=False):
        # While PostgreSQL is down, each request tries for itself and gives up soon, so that the
        # first one after its return succeeds. Dead connections are detected before use.
        options["pool"] = {
            "min_size": 1,
            "max_size": DB_POOL_MAX,
            "timeout": 1.5,
            "reconnect_timeout": 0,
        }
        found["CONN_HEALTH_CHECKS"] = True
    return found


def _mail(found: dict[str, Any]) -> dict[str, Any]:
    """Django's settings for an EMAIL_URL: one setting from Django 6.1 on, several before."""
    if django.VERSION < (6, 1):
        return found | {"EMAIL_TIMEOUT": MAIL_TIMEOUT_SECONDS}
    options = {}
    if "smtp" in found["EMAIL_BACKEND"]:
        options = {
            "host": found["EMAIL_HOST"],
            "port": found["EMAIL_PORT"],
            "username": found["EMAIL_HOST_USER"] or "",
            "password": found["EMAIL_HOST_PASSWORD"] or "",
            "use_tls": found.get("EMAIL_USE_TLS", False),
            "use_ssl": found.get("EMAIL_USE_SSL", False),
            "timeout": MAIL_TIMEOUT_SECONDS,
        }
    return {"MAILERS": {"default": {"BACKEND": found["EMAIL_BACKEND"], "OPTIONS": options}}}


def _refuse_what_is_unsafe() -> None:
    if bool(ADMIN_OIDC_CLIENT_ID) != bool(ADMIN_OIDC_CLIENT_SECRET):
        raise ImproperlyConfigured(
            "ADMIN_OIDC_CLIENT_ID and ADMIN_OIDC_CLIENT_SECRET must be set together."
        )
    if SINGLE_SIGN_ON and not OIDC_ISSUER_URL:
        raise ImproperlyConfigured("ADMIN_OIDC_CLIENT_ID needs OIDC_ISSUER_URL.")
    if TRIAL or DEBUG:
        if any(host not in LOOPBACK for host in ALLOWED_HOSTS) and not DEBUG:
            raise ImproperlyConfigured("ALLOWED_HOSTS must be loopback in a trial.")
        return
    if len(SECRET_KEY) < 50 or SECRET_KEY.startswith("django-insecure"):
        raise ImproperlyConfigured("SECRET_KEY must be set to at least 50 random characters.")
    if any(len(key) < 50 for key in SECRET_KEY_FALLBACKS):
        raise ImproperlyConfigured(
            "SECRET_KEY_FALLBACKS must list former keys, each of at least 50 characters."
        )
    if not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
        raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts that are served, without *.")
    if OIDC_AUDIENCE and not OIDC_ISSUER_URL:
        raise ImproperlyConfigured("OIDC_AUDIENCE needs OIDC_ISSUER_URL.")
    if OIDC_ISSUER_URL and not (OIDC_AUDIENCE or ADMIN_OIDC_CLIENT_ID):
        raise ImproperlyConfigured("OIDC_ISSUER_URL needs OIDC_AUDIENCE or ADMIN_OIDC_CLIENT_ID.")
    if OIDC_PROVISION_AGENTS and not OIDC_ROLES_CLAIM:
        raise ImproperlyConfigured("OIDC_PROVISION_AGENTS needs OIDC_ROLES_CLAIM.")


DB_POOL_MAX = _positive("DB_POOL_MAX", 5)
if EMBEDDED and (_server := embedded_postgres.find_running(DATA_DIR / "postgres")):
    DATABASE_URL, DATABASE_OWNER_URL = _server.application_url, _server.owner_url
    DATABASE_ADMIN_URL = _server.url
# Nothing listens on port 9 (discard), so a connection is refused at once with a clear error.
NOWHERE = "postgresql://orchestrator@127.0.0.1:9/orchestrator"
DATABASES = {"default": database(DATABASE_URL or NOWHERE)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SECRET_KEY = env.str("SECRET_KEY", default=_secret_of_the_trial() if TRIAL or DEBUG else "")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=LOOPBACK if TRIAL or DEBUG else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

SESSION_RETENTION = timedelta(days=_positive("SESSION_RETENTION_DAYS", 7))
IDEMPOTENCY_TTL_SECONDS = _positive("IDEMPOTENCY_TTL_SECONDS", 86400)
APPROVAL_DEFAULT = _choice("APPROVAL_DEFAULT", ("require", "allow"))
ALLOW_UNKNOWN_ROLES = env.bool("ALLOW_UNKNOWN_ROLES", default=False)
APPROVAL_TTL = _duration("APPROVAL_TTL", "7d")
APPROVAL_VALID_FOR = _duration("APPROVAL_VALID_FOR", "7d")
BREAK_GLASS_REVIEW = _duration("BREAK_GLASS_REVIEW", "24h", at_most="90d")
UNDO_SECONDS = _positive("UNDO_SECONDS", 8, least=0)
PAYLOAD_TEMPLATES = Path(folder) if (folder := env.str("PAYLOAD_TEMPLATES", default="")) else None
PAYLOAD_LINK_HOSTS = tuple(host.lower() for host in env.list("PAYLOAD_LINK_HOSTS", default=[]))
TASK_LEASE = _duration("TASK_LEASE", "5m")
SCHEDULE = _schedule("SCHEDULE")
MAX_BODY_BYTES = _positive("MAX_BODY_BYTES", 1024 * 1024)
MAX_WAITERS = _positive("MAX_WAITERS", 15_000)
MAX_WAITERS_PER_CALLER = _positive("MAX_WAITERS_PER_CALLER", 1000)
WEBHOOK_LOG_DAYS = _positive("WEBHOOK_LOG_DAYS", 30)
WEBHOOK_ALLOWED_NETWORKS = _networks("WEBHOOK_ALLOWED_NETWORKS")
GATEWAY_ALLOWED_NETWORKS = _networks("GATEWAY_ALLOWED_NETWORKS")
GATEWAY_HOLD = _duration("GATEWAY_HOLD", "50s", at_most="5m")
GATEWAY_CALL_TIMEOUT = _duration("GATEWAY_CALL_TIMEOUT", "5m", at_most="1h")
NOTICE_CHANNELS = _notice_channels()
NOTICE_SCHEMES = env.list(
    "NOTICE_SCHEMES",
    default=[
        "discord",
        "gchat",
        "mmosts",
        "ntfys",
        "pover",
        "rockets",
        "slack",
        "tgram",
        "workflows",
        "wxteams",
        "zulip",
    ],
)
NOTICE_DETAILS = env.bool("NOTICE_DETAILS", default=True)
NOTICE_PRIVATE_NETWORKS = env.bool("NOTICE_PRIVATE_NETWORKS", default=False)
RATE_LIMIT_PER_MINUTE = _positive("RATE_LIMIT_PER_MINUTE", 6000, least=0)
ADDRESS_LIMIT_PER_MINUTE = _positive("ADDRESS_LIMIT_PER_MINUTE", 30_000, least=0)
LOGIN_LIMIT_PER_MINUTE = _positive("LOGIN_LIMIT_PER_MINUTE", 60, least=0)
TRUSTED_PROXIES = _positive("TRUSTED_PROXIES", 0, least=0)
OIDC_ISSUER_URL = env.str("OIDC_ISSUER_URL", default="")
OIDC_AUDIENCE = env.str("OIDC_AUDIENCE", default="")
OIDC_SUBJECT_CLAIM = env.str("OIDC_SUBJECT_CLAIM", default="sub")
OIDC_ROLES_CLAIM = env.str("OIDC_ROLES_CLAIM", default="")
OIDC_ROLES_PREFIX = env.str("OIDC_ROLES_PREFIX", default="")
OIDC_ROLES_MAP = _roles_map("OIDC_ROLES_MAP")
OIDC_ROLES_ALLOWED = env.list("OIDC_ROLES_ALLOWED", default=[])
OIDC_PROVISION_AGENTS = env.bool("OIDC_PROVISION_AGENTS", default=False)
OIDC_NAME_CLAIM = env.str("OIDC_NAME_CLAIM", default="client_id")
OIDC_OWNER_CLAIM = env.str("OIDC_OWNER_CLAIM", default="")
OIDC_CLOCK_SKEW = _duration("OIDC_CLOCK_SKEW", "30s", at_most="5m")
ADMIN_OIDC_CLIENT_ID = env.str("ADMIN_OIDC_CLIENT_ID", default="")
ADMIN_OIDC_CLIENT_SECRET = env.str("ADMIN_OIDC_CLIENT_SECRET", default="")
ADMIN_OIDC_SCOPES = env.str("ADMIN_OIDC_SCOPES", default="openid profile email")
ADMIN_OIDC_USERNAME_CLAIM = env.str("ADMIN_OIDC_USERNAME_CLAIM", default="preferred_username")
ADMIN_OIDC_GROUPS_CLAIM = env.str("ADMIN_OIDC_GROUPS_CLAIM", default="groups")
ADMIN_OIDC_GROUPS_PREFIX = env.str("ADMIN_OIDC_GROUPS_PREFIX", default="")
ADMIN_OIDC_GROUPS_MAP = _roles_map("ADMIN_OIDC_GROUPS_MAP")
ADMIN_OIDC_ACR_VALUES = env.str("ADMIN_OIDC_ACR_VALUES", default="").split()
ADMIN_OIDC_CREATE_USERS = env.bool("ADMIN_OIDC_CREATE_USERS", default=True)
ADMIN_PASSWORD_FALLBACK = env.bool("ADMIN_PASSWORD_FALLBACK", default=False)
SINGLE_SIGN_ON = bool(ADMIN_OIDC_CLIENT_ID)
REQUIRE_SECOND_FACTOR = _choice("REQUIRE_SECOND_FACTOR", ("never", "decisions", "always"))
REAUTHENTICATE_AFTER = (
    _duration("REAUTHENTICATE_AFTER", "") if env.str("REAUTHENTICATE_AFTER", default="") else None
)
SESSION_AGE = _duration("SESSION_AGE", "12h")
SESSION_ENGINE = "orchestrator.accounts.store"
SESSION_COOKIE_AGE = int(SESSION_AGE.total_seconds())
LOGIN_FAILURE_LIMIT = _positive("LOGIN_FAILURE_LIMIT", 5)
LOGIN_LOCKOUT = _duration("LOGIN_LOCKOUT", "15m")
AUDIT_SEAL = env.bool("AUDIT_SEAL", default=True)
AUDIT_SIGNING_KEYS = env.list("AUDIT_SIGNING_KEYS", default=[])
RECEIPTS_SEALED = env.bool("RECEIPTS_SEALED", default=False)
RECEIPT_ALGORITHM = _choice("RECEIPT_ALGORITHM", ("Ed25519", "EdDSA"))
AUDIT_WITNESS_POLICY = env.str("AUDIT_WITNESS_POLICY", default="", multiline=True)
AUDIT_LOG_READERS = _choice("AUDIT_LOG_READERS", ("auditors", "token", "everyone"))
SECURITY_CONTACT = env.str("SECURITY_CONTACT", default="")
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
LOG_FORMAT = _choice("LOG_FORMAT", ("json", "console"))
PUBLIC_URL = _origin("PUBLIC_URL")
AUDIT_LOG_ORIGIN = _log_origin("AUDIT_LOG_ORIGIN")
PASSKEY_ORIGINS = _passkey_origins()
PASSKEY_DOMAIN = _passkey_domain()
EMAIL_CONFIGURED = bool(env.str("EMAIL_URL", default=""))
if EMAIL_CONFIGURED:
    vars().update(_mail(env.email_url("EMAIL_URL")))
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", default="orchestrator@localhost")
_refuse_what_is_unsafe()

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "django_fsm",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "procrastinate.contrib.django",
    "orchestrator",
    "orchestrator.accounts",
    "orchestrator.gateway",
    "audit_app",
    "sessions_app",
    "approvals_app",
]

MIDDLEWARE = [
    "orchestrator.web.middleware.TraceMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orchestrator.web.middleware.AdmissionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "orchestrator.accounts.middleware.AssuranceMiddleware",
    "approvals_app.review.drafts.SignedOutDraftMiddleware",
    "approvals_app.notifications.time_zones.ReaderTimeZoneMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "orchestrator.urls"
WSGI_APPLICATION = "orchestrator.wsgi.application"
ASGI_APPLICATION = "orchestrator.asgi.application"
APPEND_SLASH = False
CSRF_FAILURE_VIEW = "orchestrator.web.problems.csrf_failure"
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ASSETS_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django.template.loaders.filesystem.Loader",
                        "orchestrator.web.template_loader.Loader",
                    ],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
PASSWORD_HASHERS = ["orchestrator.accounts.hashing.PasswordHasher"]
LOGIN_URL = reverse_lazy("admin:login")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = TRIAL or DEBUG
if not (TRIAL or DEBUG or TESTING):
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }

# A trial uses plain HTTP on loopback; everything else is HTTPS, at least up to its proxy.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not (TRIAL or DEBUG)
SECURE_SSL_REDIRECT = not (TRIAL or DEBUG)
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^status$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 0 if TRIAL or DEBUG else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not (TRIAL or DEBUG)
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "sessions_app.auth.authentication.BearerAuthentication",
        "sessions_app.auth.authentication.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["orchestrator.web.parsing.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["audit_app.http.representation.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["orchestrator.web.throttling.CallerThrottle"],
    "DEFAULT_PAGINATION_CLASS": "orchestrator.web.pagination.Pages",
    "DEFAULT_FILTER_BACKENDS": ["orchestrator.web.filters.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "orchestrator.web.schema.Schema",
    "EXCEPTION_HANDLER": "orchestrator.web.problems.handler",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

# Jobs are declared beside their code and imported with their app.
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""

SPECTACULAR_SETTINGS = {
    "TITLE": "Orchestrator",
    "DESCRIPTION": "Agents' sessions and tasks, the human approvals they need, and the trail.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": ["orchestrator.web.schema.describe_problems"],
}

# One colour for lists, forms and our own pages. 600 carries white text, 700 is text on white.
PRIMARY_COLOR = {
    "50": "#f0fdf4",
    "100": "#dcfce7",
    "200": "#bbf7d0",
    "300": "#86efac",
    "400": "#4ade80",
    "500": "#4ade80",
    "600": "#166534",
    "700": "#166534",
    "800": "#14532d",
    "900": "#0f3d22",
    "950": "#052e16",
}
UNFOLD = {
    "SITE_TITLE": "Orchestrator",
    "SITE_HEADER": "Orchestrator",
    "SITE_SYMBOL": "approval_delegation",
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "approvals_app.review.inbox_views.inbox_page",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("orchestrator/icon.svg"),
        },
        {
            "rel": "manifest",
            "type": "application/manifest+json",
            "href": lambda request: static("orchestrator/manifest.webmanifest"),
        },
    ],
    "STYLES": [
        lambda request: static("audit/frame.css"),
        lambda request: static("approvals/approvals.css"),
        lambda request: static("approvals/payload.css"),
    ],
    "SCRIPTS": [lambda request: static("approvals/times.js")],
    "COLORS": {"primary": PRIMARY_COLOR},
    "SIDEBAR": {"navigation": "approvals_app.review.navigation.list_entries"},
    "GLOBAL_CALLBACK": "approvals_app.review.navigation.frame_context",
    "ACCOUNT": {"navigation": "orchestrator.accounts.views.account_links"},
}

# How people log in
AUTHENTICATION_BACKENDS = [
    "orchestrator.accounts.lockout.LockoutBackend",
    "orchestrator.accounts.passwords.PasswordBackend",
    "orchestrator.accounts.passkeys.PasskeyBackend",
    "orchestrator.accounts.sso.SingleSignOnBackend",
]
AXES_FAILURE_LIMIT = LOGIN_FAILURE_LIMIT
AXES_COOLOFF_TIME = LOGIN_LOCKOUT
# Guessing locks out the guesser's address for that name, not the person elsewhere.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "orchestrator.web.client_ip.counted_address"
AXES_LOCKOUT_CALLABLE = "orchestrator.accounts.lockout.respond_locked_out"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False


def _without_values(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """Remove PostgreSQL's DETAIL from errors: it quotes the row, which may hold a payload."""
    for name, value in event.items():
        if isinstance(value, str) and "DETAIL:" in value:
            event[name] = re.sub(r"(?m)^(\s*)DETAIL:.*$", r"\1DETAIL: (left out)", value)
    return event


def _without_traceback(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """Remove the traceback of a refused request, a bad Host header for example: whoever sends it
    decides how often, and the message says it all."""
    if str(event.get("logger", "")).startswith("django.security"):
        event.pop("exc_info", None)
    return event


structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": [
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_traceback,
                structlog.processors.format_exc_info,
                _without_values,
                structlog.processors.JSONRenderer()
                if LOG_FORMAT == "json"
                else structlog.dev.ConsoleRenderer(),
            ],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "ERROR"},
        "procrastinate": {"level": "WARNING"},
        # They log every URL at INFO, and those of webhooks are secrets.
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        # apprise's warnings may contain URLs, which are secrets; we log failures ourselves.
        "apprise": {"level": "CRITICAL"},
    },
}
