"""Messages to browsers: a push service and a browser of the tests' own, both real, and Chromium."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import override_settings
from playwright.sync_api import expect

from approvals_app.notifications import web_push
from approvals_app.notifications.models import Notice, PushSubscription
from tests.factories import ReviewerFactory, TaskFactory, find_approval, policy
from tests.notifications.conftest import send, serve

PAGE = "/admin/notifications/"
CURVE = ec.SECP256R1()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def dump_point(key):
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def derive(secret, salt, info, length):
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


class Browser:
    """The receiving half of RFC 8291, and what such a browser gives the page."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.key, self.auth = ec.generate_private_key(CURVE), b"sixteen bytes at"

    @property
    def subscription(self):
        keys = {"p256dh": encode(dump_point(self.key.public_key())), "auth": encode(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "expirationTime": None, "keys": keys})

    def read(self, body):
        salt, size, length = body[:16], int.from_bytes(body[16:20]), body[20]
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert len(record) <= size == 4096
        shared = self.key.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, sender)
        )
        info = b"WebPush: info\x00" + dump_point(self.key.public_key()) + sender
        secret = derive(shared, self.auth, info, 32)
        key = derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
        message = AESGCM(key).decrypt(nonce, record, None)
        assert message.endswith(b"\x02")
        return json.loads(message[:-1])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, self.headers, body))
        self.send_response(self.server.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_): ...


class PushService(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken, self.answer = [], 201
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def push_service(settings):
    """It has no certificate and no public address: as in a trial whose operator allows it."""
    settings.TRIAL = True
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    yield from serve(PushService())


@pytest.fixture
def browser(push_service):
    return Browser(f"{push_service.url}/push/a-secret-name")


@pytest.fixture
def page(client, alice):
    client.force_login(alice)

    def ask(**sent):
        agent = {"User-Agent": "Mozilla/5.0 (Linux; Android 15) Chrome/143.0 Mobile Safari/537.36"}
        answer = client.post(PAGE, sent, headers=agent) if sent else client.get(PAGE)
        return answer.status_code, answer.content.decode()

    return ask


def add(page, browser):
    assert page(action="add_device", subscription=browser.subscription)[0] == 302
    return PushSubscription.objects.get(endpoint_digest=digest(browser))


def digest(browser):
    return web_push.sha256(browser.endpoint.encode()).hexdigest()


@pytest.mark.pure
def test_the_example_of_rfc_8291():
    message = web_push.encrypt_message(
        b"When I grow up, I want to be a watermelon",
        decode(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ),
        decode("BTBZMqHH6r4Tts7J_aSIgg"),
        salt=decode("DGv6ra1nlYgDCS1FRnbzlw"),
        sender=ec.derive_private_key(
            int.from_bytes(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")), CURVE
        ),
    )
    assert encode(message) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
        "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
        "lcy4a-fN"
    )


def test_new_work_reaches_the_device(page, browser, push_service, tell, bot, alice, settings):
    settings.SECURITY_CONTACT = "mailto:security@example.com"
    policy(asks="1 finance", risk="high")
    add(page, browser)
    data = {"amount": "249.90", "currency": "EUR", "note": "not of the summary"}
    approval = find_approval(TaskFactory(agent=bot, description="Pay me.", data=data), "finance")
    tell()
    ((path, headers, body),) = push_service.taken
    assert path == "/push/a-secret-name"
    assert (headers["Content-Encoding"], headers["Urgency"]) == ("aes128gcm", "high")
    assert int(headers["TTL"]) > 0
    said = browser.read(body)
    assert said["title"].startswith("Approve (high risk): payment of 249.90 EUR, due ")
    assert said["path"] == f"/admin/approvals_app/approval/{approval.pk}/change/"
    assert "not of the summary" not in json.dumps(said)
    assert b"249.90" not in body

    scheme, _, parameters = headers["Authorization"].partition(" ")
    token, key = (part.partition("=")[2] for part in parameters.split(", "))
    point = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, decode(key))
    claims = jwt.decode(token, point, algorithms=["ES256"], audience=push_service.url)
    assert scheme == "vapid"
    assert key == web_push.get_public_key()
    assert f'data-push-key="{key}"' in page()[1]
    assert claims["sub"] == "mailto:security@example.com"


def test_several_are_one_message_that_opens_the_inbox(page, browser, push_service, tell, bot):
    add(page, browser)
    TaskFactory.create_batch(3, agent=bot)
    tell()
    said = [browser.read(body) for *_, body in push_service.taken]
    assert [each["path"] for each in said] == ["/admin/"]
    assert said[0]["title"].endswith(" (and 2 more)")


def test_a_message_is_never_too_long(page, browser, push_service, settings, tell, bot):
    add(page, browser)
    TaskFactory(agent=bot, description="漢" * 10_000, data={})
    tell()
    assert len(push_service.taken[0][2]) <= 4_096
    assert browser.read(push_service.taken[0][2])["title"].startswith('Approve: "漢漢')


def test_a_device_is_tried_and_removed(page, browser, push_service):
    device = add(page, browser)
    shown = page()[1]
    assert "Chrome on Android" in shown
    assert "a-secret-name" not in shown
    assert "a-secret-name" not in device.sealed
    assert page(action="test_device", device=str(device.pk))[0] == 302
    send()
    assert browser.read(push_service.taken[0][2])["title"] == "A test of notifications"
    assert page(action="remove_device", device=str(device.pk))[0] == 302
    assert not PushSubscription.objects.exists()


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(page, browser, push_service, status):
    device = add(page, browser)
    push_service.answer = status
    page(action="test_device", device=str(device.pk))
    send()
    assert not PushSubscription.objects.exists()
    assert Notice.objects.get().dropped_at


@pytest.mark.parametrize(
    ("status", "is_final"), [(400, True), (403, True), (413, True), (429, False), (503, False)]
)
def test_what_a_push_service_refuses(page, browser, push_service, status, is_final):
    device = add(page, browser)
    push_service.answer = status
    page(action="test_device", device=str(device.pk))
    send()
    row = Notice.objects.get()
    assert ((row.given_up_at is not None), row.sent_at) == (is_final, None)
    assert f"({status})" in page()[1]


def test_it_can_lead_to_no_private_address(page, browser, push_service, settings):
    device = add(page, browser)
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    page(action="test_device", device=str(device.pk))
    send()
    assert push_service.taken == []
    assert Notice.objects.get().failure == "The push service could not be reached."


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given.update(endpoint="http://push.example/x"),
        lambda given: given.update(endpoint="https://a:b@push.example/x"),
        lambda given: given.update(endpoint="file:///etc/passwd"),
        lambda given: given.update(endpoint="https://push.example/" + "x" * 2_000),
        lambda given: given.update(endpoint=7),
        lambda given: given.pop("endpoint"),
        lambda given: given.pop("keys"),
        lambda given: given.update(keys=[]),
        lambda given: given["keys"].update(auth="c2hvcnQ"),
        lambda given: given["keys"].update(auth=None),
        lambda given: given["keys"].update(p256dh=encode(b"\x04" + b"\x01" * 64)),
        lambda given: given["keys"].update(p256dh=encode(b"\x02" + b"\x01" * 32)),
        lambda given: given["keys"].update(p256dh="!"),
    ],
)
def test_what_is_no_subscription_is_refused(page, change, settings):
    settings.TRIAL = False
    given = json.loads(Browser("https://push.example/x").subscription)
    change(given)
    assert page(action="add_device", subscription=json.dumps(given))[0] == 400
    for nothing in ("", "{", "[]", "null", "[" * 3_000):
        assert page(action="add_device", subscription=nothing)[0] == 400
    assert not PushSubscription.objects.exists()


def test_a_browser_notifies_whoever_allowed_it_last(page, browser, client, bob):
    add(page, browser)
    client.force_login(bob)
    assert add(page, browser).person == bob


def test_there_is_an_end_to_devices_and_each_is_its_owners(page, push_service, client):
    for number in range(10):
        add(page, Browser(f"{push_service.url}/{number}"))
    more = Browser(f"{push_service.url}/more")
    status, shown = page(action="add_device", subscription=more.subscription)
    assert (status, "You already have 10 devices" in shown) == (400, True)
    add(page, Browser(f"{push_service.url}/0"))  # known already

    client.force_login(ReviewerFactory(username="mallory"))
    hers = PushSubscription.objects.first()
    for action in ("test_device", "remove_device"):
        for pk in (str(hers.pk), "x", ""):
            assert page(action=action, device=pk)[0] == 404
    assert PushSubscription.objects.count() == 10


def test_it_goes_on_with_its_own_key_after_secret_key_changed(page, browser, push_service):
    device = add(page, browser)
    before = web_push.get_public_key()
    with override_settings(SECRET_KEY="n" * 64, SECRET_KEY_FALLBACKS=[settings_key()]):
        page_key = web_push.get_public_key()
        subscription = web_push.Subscription.decrypt(device.sealed)
        web_push.push(subscription, {"title": "t", "body": "b", "path": "/admin/"})
    assert page_key != before
    assert push_service.taken[0][1]["Authorization"].endswith(f"k={before}")


def settings_key():
    from django.conf import settings

    return settings.SECRET_KEY


def test_a_device_is_a_way_that_reaches_the_person(page, browser, settings):
    settings.EMAIL_CONFIGURED = False
    assert "Nothing reaches you yet." in page()[1]
    add(page, browser)
    assert "Nothing reaches you yet." not in page()[1]


def test_the_worker_is_served_for_its_scope_to_anybody(client):
    answer = client.get("/admin/sw.js")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/javascript"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert b"showNotification" in answer.content


@pytest.mark.browser
class TestInChromium:
    FAKE = """
      PushManager.prototype.subscribe = async function (options) {
        window.asked = options;
        return { endpoint: %(endpoint)s, toJSON: () => (%(subscription)s) };
      };
    """

    @pytest.fixture
    def window(self, signed_in, alice, browser, site):
        """Alice's page of notifications, in a browser that reaches the push service of the test."""
        window = signed_in(alice)
        window.context.grant_permissions(["notifications"], origin=site)
        given = {"endpoint": json.dumps(browser.endpoint), "subscription": browser.subscription}
        window.add_init_script(self.FAKE % given)
        window.goto(PAGE)
        return window

    def test_a_device_is_added_and_tried(self, window):
        window.get_by_role("button", name="Tell me on this device").click()
        expect(window.get_by_text("Added. Send a test to check it.")).to_be_visible()
        window.get_by_role("button", name="Send a test to Chrome on Linux").click()
        expect(window.get_by_text("A test is on its way to Chrome on Linux.")).to_be_visible()
        assert Notice.objects.get().place == f"push:{PushSubscription.objects.get().pk}"

    def test_what_is_pushed_is_shown_and_opens_its_page(self, window, site):
        window.get_by_role("button", name="Tell me on this device").click()
        expect(window.get_by_text("Added. Send a test to check it.")).to_be_visible()
        devtools = window.context.new_cdp_session(window)
        known = []
        devtools.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda news: known.extend(news["registrations"]),
        )
        devtools.send("ServiceWorker.enable")
        window.wait_for_function("navigator.serviceWorker.controller !== null")
        assert known[0]["scopeURL"] == f"{site}/admin/"
        said = {"title": "Approve: payment of 1 EUR", "body": "Danger: x", "path": "/admin/away/"}
        pushed = {"origin": site, "registrationId": known[0]["registrationId"]}
        devtools.send("ServiceWorker.deliverPushMessage", pushed | {"data": json.dumps(said)})
        # A promise is truthy to wait_for_function, whatever it will hold: the page itself waits.
        shown = window.evaluate(
            """async () => {
              const registration = await navigator.serviceWorker.ready;
              let shown = [];
              while (!shown.length) {
                await new Promise(requestAnimationFrame);
                shown = await registration.getNotifications();
              }
              return shown.map((each) => [each.title, each.body, each.data]);
            }"""
        )
        assert shown == [list(said.values())]

    def test_it_can_be_installed(self, window):
        devtools = window.context.new_cdp_session(window)
        found = devtools.send("Page.getAppManifest")
        assert found["errors"] == []
        assert json.loads(found["data"])["start_url"] == "/admin/"
        errors = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]
        # A window of Playwright's is private.
        assert {error["errorId"] for error in errors} <= {"in-incognito"}

    def test_who_blocks_it_is_told_so(self, window, browser):
        window.context.clear_permissions()
        window.evaluate("Notification.requestPermission = async () => 'denied'")
        window.get_by_role("button", name="Tell me on this device").click()
        expect(window.get_by_role("status").filter(has_text="blocks notifications")).to_be_visible()
        assert not PushSubscription.objects.exists()
