"""The admin's own pages for these are replaced: this is included before the admin's addresses."""

from django.contrib import admin
from django.urls import path

from orchestrator.accounts import passkeys, sso, views

app_name = "signin"
urlpatterns = [
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", views.SignOut.as_view(), name="logout"),
    path("code/", views.Code.as_view(), name="code"),
    path("second-factor/", views.SecondFactor.as_view(), name="second_factor"),
    path(
        "password_change/",
        admin.site.admin_view(views.PasswordChange.as_view()),
        name="password_change",
    ),
    path("login/passkey/", passkeys.SignIn.as_view(), name="passkey_sign_in"),
    path("code/passkey/", passkeys.SecondFactor.as_view(), name="passkey_second_factor"),
    path("reauthenticate/passkey/", passkeys.Reauthenticate.as_view(), name="passkey_again"),
    path("passkeys/", passkeys.Passkeys.as_view(), name="passkeys"),
    path("passkeys/new/", passkeys.CreationOptions.as_view(), name="passkey_creation"),
    path("passkeys/use/", passkeys.RequestOptions.as_view(), name="passkey_request"),
    path("prove/", views.Prove.as_view(), name="prove"),
    path("reauthenticate/", views.Reauthenticate.as_view(), name="reauthenticate"),
    path("single-sign-on/", sso.Start.as_view(), name="start"),
    path("single-sign-on/callback/", sso.Callback.as_view(), name="callback"),
    path("single-sign-on/logout/", sso.BackChannelLogout.as_view(), name="back_channel_logout"),
]
