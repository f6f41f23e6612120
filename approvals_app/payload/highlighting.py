"""Highlights source code with Pygments and marks its invisible characters."""

from django.utils.safestring import SafeString, mark_safe
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String, _TokenType

from audit_app.base.text_safety import gather_notes, visible

LONGEST = 10_000
"""Each token takes 40 bytes of markup and some microseconds."""
CLASSES = (
    (Comment, "o-c-comment"),
    (Keyword, "o-c-keyword"),
    (Operator.Word, "o-c-keyword"),
    (Name.Builtin, "o-c-keyword"),
    (Name.Tag, "o-c-keyword"),
    (String, "o-c-string"),
    (Number, "o-c-number"),
    (Generic.Inserted, "o-added"),
    (Generic.Deleted, "o-removed"),
    (Generic.Heading, "o-c-comment"),
    (Generic.Subheading, "o-c-comment"),
)


def highlight_code(text: str, language: str) -> SafeString:
    """``text`` as highlighted HTML. ``language`` is the name of a Pygments lexer.

    Text longer than LONGEST characters is not highlighted.
    """
    with gather_notes() as notes:
        if len(text) <= LONGEST:
            lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
            # get_tokens() strips a byte order mark, for example, and would so hide it.
            tokens = lexer.get_tokens_unprocessed(text)
            inner = "".join(_piece(kind, piece) for _, kind, piece in tokens)
        else:
            inner = visible(text)
    html = f'<pre tabindex="0" class="o-code">{inner}</pre>{notes.render()}'
    return mark_safe(html)  # noqa: S308  # escaped by visible


def _piece(kind: _TokenType, text: str) -> str:
    name = next((name for family, name in CLASSES if family in kind.split()), "")
    return f'<span class="{name}">{visible(text)}</span>' if name else visible(text)
