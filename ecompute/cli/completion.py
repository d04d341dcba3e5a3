"""`completion`: scripts with which shells complete commands, options and names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from .common import Connection

_STARTUP = {"bash": ".bashrc", "zsh": ".zshrc"}
"""The files of the home folder that may have to load the script."""
_REGISTERED = "complete -F _ecompute ecompute\n"
_WHOLE_WORDS = r"""# bash splits words at colons, also those of CONTAINER:PATH and of addresses
_ecompute_whole() {
  local rest="${COMP_LINE:0:COMP_POINT}" word after last
  local -a whole=()
  for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    after="${rest#"${rest%%[![:space:]]*}"}"
    last=$(( ${#whole[@]} - 1 ))
    if [[ $last -ge 0 && "$after" == "$rest" && ( "$word" == :* || "${whole[last]}" == *: ) ]]; then
      whole[last]+="$word"
    else
      whole+=("$word")
    fi
    rest="${after#"$word"}"
  done
  local -a COMP_WORDS=("${whole[@]}")
  local COMP_CWORD=$(( ${#whole[@]} - 1 ))
  # the words of a file's name are one word, and what a shell would run in it is only a name
  compgen() { case " $* " in *" -f "*) printf '\1\n' ;; *) builtin compgen "$@" ;; esac; }
  _ecompute
  unset -f compgen
  last="${COMP_WORDS[COMP_CWORD]}"
  if [[ "${COMPREPLY[0]}" == $'\1' ]]; then
    mapfile -t COMPREPLY < <(builtin compgen -f -- "$last")
    for word in "${!COMPREPLY[@]}"; do
      [[ -d "${COMPREPLY[word]}" ]] && COMPREPLY[word]+=/
      printf -v "COMPREPLY[$word]" %q "${COMPREPLY[word]}"
    done
  fi
  COMPREPLY=("${COMPREPLY[@]#"${last%"${last##*:}"}"}")
  COMPREPLY=("${COMPREPLY[@]/#\\~\//\~/}")
  [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[:/] ]] && compopt -o nospace
}
complete -F _ecompute_whole ecompute
"""


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")],
    /,
    *,
    install: Annotated[
        bool,
        Parameter(
            negative="",
            help="Put it where the shell finds it, instead of printing it. For bash and zsh ~/.bashrc or "
            "~/.zshrc gets a line that loads it.",
        ),
    ] = False,
) -> None:
    """Make the shell complete commands and names, by a script that is printed, or installed."""
    app = completable()
    text = app.generate_completion(shell=shell).replace(_REGISTERED, _WHOLE_WORDS)
    if not install:
        print(text, end="")
        return
    place = app.install_completion(shell=shell)
    place.write_text(text)
    startup = Path.home() / _STARTUP.get(shell, "")
    loads = startup.is_file() and str(place.parent) in startup.read_text(errors="replace")
    loaded = f", and a line in {startup} loads it" if loads else ""
    print(f"Completion for {shell} is in {place}{loaded}: open a new shell to have it.", file=sys.stderr)


def completable() -> App:
    """The parser of an unfinished command line, on which options may stand without a command."""
    from .app import made

    app = made()
    app.default(_before_the_command)
    return app


def _before_the_command(*, connection: Connection | None = None) -> None:
    """Stands for any command, and is never called."""
