# SPDX-License-Identifier: MIT
"""Reading C sources: comments apart from code, and how a check reports."""

import pathlib
import re
import sys

LEXEME = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


class Comment:
    def __init__(self, text, first, last):
        self.text = " ".join(re.sub(r"^[ \t]*\*", " ", text.strip("/*"), flags=re.MULTILINE).split())
        self.first = first  # lines, from 1
        self.last = last


class Source:
    """A file whose `code` has blanks in place of comments and of what stands in quotes."""

    def __init__(self, path, root):
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.comments = []
        self.code = LEXEME.sub(self._blank, self.text)

    def _blank(self, match):
        lexeme = match.group()
        first = self.text.count("\n", 0, match.start()) + 1
        if lexeme.startswith("/"):
            self.comments.append(Comment(lexeme, first, first + lexeme.count("\n")))
            return re.sub(r"[^\n]", " ", lexeme)
        return lexeme[0] + " " * (len(lexeme) - 2) + lexeme[-1]

    def line_of(self, offset):
        return self.code.count("\n", 0, offset) + 1

    def includes(self):
        """Yields (line, name, quoted) for each #include."""
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)', self.text, re.MULTILINE):
            yield self.line_of(match.start(1)), match.group(2), match.group(1) == '"'


def function_of(source, line):
    """The function that contains the line: the first name before a parenthesis on the last line above that begins in
    the first column."""
    for text in reversed(source.code.split("\n")[:line]):
        match = re.match(r"[A-Za-z_][^;=]*?\b(?!__attribute__)(\w+)\(", text)
        if match:
            return match.group(1)
    raise ValueError(f"{source.name}:{line}: no function")


def sources(root, *folders, suffixes=(".c", ".h", ".cpp", ".hpp", ".cc")):
    root = pathlib.Path(root)
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield Source(path, root)


def report(problems, checked):
    """Ends the program: prints what is wrong, or how much was found right."""
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} problem(s)")
    if checked == 0:
        sys.exit("nothing was there to check")
    print(f"{checked} checked")
