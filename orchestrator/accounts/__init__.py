"""People who sign in: by password or single sign-on, with a second factor, and once more."""
