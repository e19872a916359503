"""SQL in lines, for people: a query inside of another is indented, each condition has a line of its own.

Only blanks outside of texts, names and comments change, so that the statement stays what it is.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<kept>  --[^\n]*  |  /\*.*?\*/                   # comments
      |  \$(?P<tag>\w*)\$.*?\$(?P=tag)\$                # $$ texts of PostgreSQL $$
      |  [eE]'(?:\\.|''|[^'\\])*'                       # E'with backslashes'
      |  '(?:''|[^'])*'  |  "(?:""|[^"])*"  )
  | (?P<told>  \(SELECT[ ]--[^\n]*\n\s*  )              # a query inside, with its reason
  | (?P<begin> \(\s*(?=(?:SELECT|WITH)\b)  |  \([ \t]*\n\s*  )
  | (?P<open>  \(  )
  | (?P<close> \)  )
  | (?P<line>  [ \t]*\n\s*  )
  | (?P<clause> [ ](?=(?:LEFT[ ]OUTER[ ]JOIN|(?<!OUTER[ ])JOIN|GROUP[ ]BY|HAVING|ORDER[ ]BY|AND|OR)\b)  )
  | (?P<other> [A-Za-z_]\w*  |  .  )
    """,
    re.VERBOSE | re.DOTALL,
)


def laid_out(sql: str) -> str:
    """The same statement in lines."""
    written: list[str] = []
    # Of each open bracket, whether what is in it stands on lines of its own.
    inside: list[bool] = []

    def line() -> str:
        return "\n" + "  " * sum(inside)

    for token in _TOKEN.finditer(sql):
        text, kind = token[0], token.lastgroup
        in_lines = not inside or inside[-1]
        if kind == "told":
            inside.append(True)
            written += ["(", line(), text.removeprefix("(SELECT ").rstrip(), line(), "SELECT "]
        elif kind == "begin":
            inside.append(True)
            written += ["(", line()]
        elif kind == "open":
            inside.append(False)
            written.append(text)
        elif kind == "close":
            ends = inside.pop() if inside else False
            written += [line(), ")"] if ends else [")"]
        elif kind == "line" and in_lines and sql[token.end() : token.end() + 1] == ")":
            continue  # the bracket begins a line by itself
        elif kind == "line" or (kind == "clause" and in_lines):
            written.append(line())
        else:
            written.append(text)
    return "".join(written)
