"""The shell language of simulated guests: from a text to a tree. Pure.

A part of POSIX sh: lists, pipelines, redirections, quotes, parameters, command substitution, `( )`, `{ }`,
`if`, `while`, `until` and `for`. What is missing (here-documents, functions, `case`, background jobs,
arithmetic) is a syntax error that says so.
"""

from __future__ import annotations

import re

from attrs import frozen

METACHARACTERS = frozenset(" \t\n;&|<>()")
RESERVED = frozenset(
    "! { } if then elif else fi while until do done for in case esac function".split()  # noqa: SIM905
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
REDIRECT = re.compile(r"([0-9]?)(>>|>&|<&|>\||>|<(?!<))")
BRACED = re.compile(r"\{(#?)([A-Za-z_][A-Za-z0-9_]*|[?$#0-9])(:?[-+])?")
TEXT_LIMIT = 128 * 1024  # parsing must not hold up the server
SPECIAL_PARAMETERS = "?$#!0123456789@*-"


class SyntaxFault(Exception):
    """The text is no shell command; `str()` is what a shell prints. `incomplete`: more lines may mend it."""

    def __init__(self, message: str, *, incomplete: bool = False) -> None:
        super().__init__(message)
        self.incomplete = incomplete


@frozen
class Text:
    """Literal characters; quoted ones are neither split nor matched against file names."""

    text: str
    quoted: bool


@frozen
class Parameter:
    """`$NAME`, or `${NAME-word}` and its like with `rule` as `-`, `:-`, `+`, `:+` or `#` (the length)."""

    name: str
    quoted: bool
    rule: str = ""
    word: Word = ()


@frozen
class Substitution:
    """`$(…)`"""

    body: Script
    quoted: bool


Part = Text | Parameter | Substitution
Word = tuple[Part, ...]


@frozen
class Redirect:
    """`fd` goes where `operator` (`<`, `>`, `>>`, `>&`, `<&`) and `target` say."""

    fd: int
    operator: str
    target: Word


@frozen
class Simple:
    """Assignments, then a command with its arguments."""

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@frozen
class Group:
    """`{ …; }`, or with `apart` `( … )`, which leaves the shell as it was."""

    body: Script
    apart: bool
    redirects: tuple[Redirect, ...] = ()


@frozen
class If:
    """Conditions with what follows when they hold, and what else."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script
    redirects: tuple[Redirect, ...] = ()


@frozen
class While:
    """`while` the condition succeeds, or `until` it does."""

    condition: Script
    body: Script
    until: bool
    redirects: tuple[Redirect, ...] = ()


@frozen
class For:
    """The body once for each of the words."""

    name: str
    words: tuple[Word, ...]
    body: Script
    redirects: tuple[Redirect, ...] = ()


Command = Simple | Group | If | While | For


@frozen
class Pipeline:
    """Commands, each one's output the next one's input."""

    commands: tuple[Command, ...]
    negated: bool


@frozen
class Step:
    """A pipeline that runs after `&&` success, `||` failure or, with the empty operator, always."""

    operator: str
    pipeline: Pipeline


Script = tuple[Step, ...]


def parse(text: str) -> Script:
    """The whole text as a script.

    Raises:
        SyntaxFault: it is none.
    """
    if len(text) > TEXT_LIMIT:
        raise SyntaxFault("syntax error: too long")
    parser = _Parser(text)
    try:
        script = parser.script(frozenset())
    except RecursionError:
        raise SyntaxFault("syntax error: nested too deeply") from None
    if parser.peek():
        raise parser.unexpected()
    return script


class _Parser:
    """Recursive descent over the characters; `peek` shows the operator or reserved word that comes next."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at

    # characters

    def blank(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def peek(self) -> str:
        """The operator, the bare word or the first character of what comes; empty at the end."""
        self.blank()
        for operator in ("&&", "||", ";;", "<<", ">>", ">&", "<&", "&>"):
            if self.text.startswith(operator, self.at):
                return operator
        end = self.at
        while end < len(self.text) and self.text[end] not in METACHARACTERS:
            end += 1
        return self.text[self.at : end] or self.text[self.at : self.at + 1]

    def take(self, token: str) -> bool:
        if self.peek() == token:
            self.at += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.unexpected()

    def unexpected(self) -> SyntaxFault:
        token = self.peek()
        if not token:
            return SyntaxFault("syntax error: unexpected end of file", incomplete=True)
        shown = {"\n": "newline"}.get(token, token)
        if token in ("&", "<<", ";;", "&>", "case", "function"):
            return SyntaxFault(f'syntax error: the simulated shell has no "{shown}"')
        return SyntaxFault(f'syntax error: unexpected "{shown}"')

    def newlines(self) -> None:
        while self.take("\n"):
            pass

    # lists

    def script(self, ends: frozenset[str]) -> Script:
        """Steps up to the end, or to one of `ends` where a command may stand."""
        steps: list[Step] = []
        self.newlines()
        while (token := self.peek()) and token not in ends and token != ")":
            operator = ""
            while True:
                steps.append(Step(operator, self.pipeline()))
                operator = self.peek()
                if operator not in ("&&", "||"):
                    break
                self.take(operator)
                self.newlines()
            if not (self.take(";") or self.take("\n")):
                break
            self.newlines()
        return tuple(steps)

    def body(self, *ends: str) -> Script:
        """A script that must not be empty, and the word that ends it must come."""
        script = self.script(frozenset(ends))
        if not script or self.peek() not in ends:
            raise self.unexpected()
        return script

    def pipeline(self) -> Pipeline:
        negated = self.take("!")
        commands = [self.command()]
        while self.take("|"):
            self.newlines()
            commands.append(self.command())
        return Pipeline(tuple(commands), negated)

    # commands

    def command(self) -> Command:
        match self.peek():
            case "(":
                self.take("(")
                body = self.body(")")
                self.expect(")")
                return Group(body, True, self.redirects())
            case "{":
                self.take("{")
                body = self.body("}")
                self.expect("}")
                return Group(body, False, self.redirects())
            case "if":
                return self.conditional()
            case "while" | "until" as kind:
                self.take(kind)
                condition = self.body("do")
                return While(condition, self.loop_body(), kind == "until", self.redirects())
            case "for":
                return self.repetition()
            case token if token in RESERVED:
                raise self.unexpected()
            case _:
                return self.simple()

    def conditional(self) -> If:
        branches: list[tuple[Script, Script]] = []
        otherwise: Script = ()
        self.expect("if")
        while True:
            condition = self.body("then")
            self.expect("then")
            branches.append((condition, self.body("elif", "else", "fi")))
            if not self.take("elif"):
                break
        if self.take("else"):
            otherwise = self.body("fi")
        self.expect("fi")
        return If(tuple(branches), otherwise, self.redirects())

    def repetition(self) -> For:
        self.expect("for")
        name = self.peek()
        if not NAME.fullmatch(name):
            raise self.unexpected()
        self.take(name)
        self.newlines()
        words: list[Word] = []
        if self.take("in"):
            while word := self.word():
                words.append(word)
        if not self.take(";"):
            self.take("\n")
        self.newlines()
        return For(name, tuple(words), self.loop_body(), self.redirects())

    def loop_body(self) -> Script:
        self.expect("do")
        body = self.body("done")
        self.expect("done")
        return body

    def simple(self) -> Simple:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self.blank()
            redirect = self.redirect()
            if redirect is not None:
                redirects.append(redirect)
                continue
            assigned = ASSIGNMENT.match(self.text, self.at)
            if assigned and not words:
                self.at = assigned.end()
                value = () if self.text[self.at : self.at + 1] in METACHARACTERS else self.word()
                assignments.append((assigned[1], value))
                continue
            word = self.word()
            if not word:
                break
            words.append(word)
        if not (assignments or words or redirects):
            raise self.unexpected()
        if len(words) == 1 and self.peek() == "(":
            raise SyntaxFault("syntax error: the simulated shell has no functions")
        return Simple(tuple(assignments), tuple(words), tuple(redirects))

    def redirects(self) -> tuple[Redirect, ...]:
        found: list[Redirect] = []
        while (redirect := self.redirect()) is not None:
            found.append(redirect)
        return tuple(found)

    def redirect(self) -> Redirect | None:
        self.blank()
        matched = REDIRECT.match(self.text, self.at)
        if matched is None:
            return None
        digit, operator = matched.groups()
        self.at = matched.end()
        self.blank()
        target = self.word()
        if not target:
            raise self.unexpected()
        standard = 0 if operator.startswith("<") else 1
        return Redirect(int(digit) if digit else standard, operator.replace(">|", ">"), target)

    # words

    def word(self) -> Word:
        """The parts up to the next metacharacter; none where no word stands."""
        self.blank()
        parts: list[Part] = []
        while self.at < len(self.text) and (character := self.text[self.at]) not in METACHARACTERS:
            match character:
                case "'":
                    end = self.text.find("'", self.at + 1)
                    if end < 0:
                        raise SyntaxFault("syntax error: unterminated quoted string", incomplete=True)
                    parts.append(Text(self.text[self.at + 1 : end], True))
                    self.at = end + 1
                case '"':
                    self.at += 1
                    parts += self.double_quoted()
                case "\\":
                    if self.at + 1 >= len(self.text):
                        raise SyntaxFault("syntax error: unexpected end of file", incomplete=True)
                    if self.text[self.at + 1] != "\n":
                        parts.append(Text(self.text[self.at + 1], True))
                    self.at += 2
                case "$":
                    parts.append(self.dollar(quoted=False))
                case "`":
                    raise SyntaxFault('syntax error: the simulated shell has no "`"; use $( )')
                case _:
                    end = self.at
                    while end < len(self.text) and self.text[end] not in METACHARACTERS | set("'\"\\$`"):
                        end += 1
                    parts.append(Text(self.text[self.at : end], False))
                    self.at = end
        return tuple(parts)

    def double_quoted(self) -> list[Part]:
        parts: list[Part] = [Text("", True)]
        literal = ""
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == '"':
                self.at += 1
                return [*parts, Text(literal, True)]
            if character == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", '"', "\\", "`", "\n"):
                literal += self.text[self.at + 1].replace("\n", "")
                self.at += 2
            elif character == "$":
                parts += [Text(literal, True), self.dollar(quoted=True)]
                literal = ""
            else:
                literal += character
                self.at += 1
        raise SyntaxFault("syntax error: unterminated quoted string", incomplete=True)

    def dollar(self, *, quoted: bool) -> Part:
        self.at += 1
        if self.text.startswith("((", self.at):
            raise SyntaxFault("syntax error: the simulated shell has no arithmetic")
        if self.text.startswith("(", self.at):
            inner = _Parser(self.text, self.at + 1)
            body = inner.script(frozenset({")"}))
            inner.expect(")")
            self.at = inner.at
            return Substitution(body, quoted)
        if self.text.startswith("{", self.at):
            return self.braces(quoted=quoted)
        matched = NAME.match(self.text, self.at)
        if matched:
            self.at = matched.end()
            return Parameter(matched[0], quoted)
        if self.text[self.at : self.at + 1] and self.text[self.at] in SPECIAL_PARAMETERS:
            self.at += 1
            return Parameter(self.text[self.at - 1], quoted)
        return Text("$", quoted)

    def braces(self, *, quoted: bool) -> Part:
        whole = BRACED.match(self.text, self.at)
        if whole is None:
            raise SyntaxFault("syntax error: bad substitution")
        length, name, rule = whole.groups()
        self.at = whole.end()
        end = self.text.find("}", self.at)
        if end < 0:
            raise SyntaxFault("syntax error: unexpected end of file", incomplete=True)
        if not rule and end != self.at:
            raise SyntaxFault("syntax error: bad substitution")
        inner = _Parser(f'"{self.text[self.at : end]}"', 1)
        word = tuple(inner.double_quoted()) if rule else ()
        self.at = end + 1
        return Parameter(name, quoted, length or rule or "", word)
