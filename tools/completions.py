#!/usr/bin/env python3
"""Writes the shell completions of qplan from the tool's own help.

    tools/completions.py QPLAN [FOLDER]

Subcommands and options are read from `qplan --help` and `qplan COMMAND --help`, so that
they are typed nowhere else. FOLDER defaults to tools/completions; the files there are
qplan.bash, _qplan (zsh) and qplan.fish.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADER = "# Completions of qplan; written by `tools/dev completions` from its help.\n"
FOLLOWS = re.compile(r"^  (-\S+)(?: ([A-Z][A-Z_:\[\]=]*\S*))?\s*(.*)$")


def help_text(*command):
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"tools/completions.py: {' '.join(command)} --help failed:\n{done.stderr}")
    return done.stdout


def commands(text):
    """(name, first words of its description) of each subcommand."""
    section = re.split(r"^Subcommands:\s*$", text, flags=re.M)
    if len(section) < 2:
        sys.exit("tools/completions.py: the help lists no subcommands")
    return re.findall(r"^  ([a-z][a-z-]*)(?:\s{2,}|\n\s+)(.*)$", section[1], re.M)


def options(text):
    """(list of spellings, whether a value follows, description) of each option."""
    found = []
    for line in text.splitlines():
        match = FOLLOWS.match(line)
        if match:
            names = [name for name in match.group(1).split(",") if name.startswith("-")]
            found.append((names, bool(match.group(2)), re.sub(r"^REQUIRED\s+", "", match.group(3)).split("(")[0].strip()))
    return found


def bash(table):
    cases = "\n".join(f"    {name}) words=\"{' '.join(n for names, _, _ in opts for n in names)}\" ;;"
                      for name, _, opts in table)
    return f"""{HEADER}_qplan() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{' '.join(name for name, _, _ in table)} --help --version" -- "$word"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _qplan qplan
"""


def plain(text):
    """`text` without what would end a quoted word."""
    return text.replace("'", "")


def quoted(text, characters):
    return re.sub("([" + re.escape(characters) + "])", r"\\\1", plain(text))


def zsh(table):
    lines = ["#compdef qplan", HEADER, "_qplan() {", "  if (( CURRENT == 2 )); then", "    local -a names=("]
    lines += [f"      '{name}:{quoted(about, ':')}'" for name, about, _ in table]
    lines += ["    )", "    _describe command names", "    return", "  fi", "  case $words[2] in"]
    for name, _, opts in table:
        lines.append(f"    {name})")
        lines.append("      _arguments '*:file:_files' \\")
        specs = [f"'{spelling}[{quoted(about, ':[]')}]{':value:_files' if value else ''}'"
                 for names, value, about in opts for spelling in names]
        lines += [f"        {spec} \\" for spec in specs] + ["        && return", "      ;;"]
    return "\n".join(lines + ["  esac", "}", '_qplan "$@"']) + "\n"


def fish(table):
    lines = [HEADER.rstrip()]
    for name, about, opts in table:
        lines.append(f"complete -c qplan -n __fish_use_subcommand -f -a {name} -d '{plain(about)}'")
        for names, value, text in opts:
            spelled = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in names)
            lines.append(f"complete -c qplan -n '__fish_seen_subcommand_from {name}' {spelled}"
                         f"{' -r' if value else ''} -d '{plain(text)}'")
    return "\n".join(lines) + "\n"


def main(arguments):
    if len(arguments) not in (1, 2):
        sys.exit("usage: tools/completions.py QPLAN [FOLDER]")
    qplan = arguments[0]
    folder = arguments[1] if len(arguments) > 1 else os.path.join(ROOT, "tools", "completions")
    table = [(name, about, options(help_text(qplan, name))) for name, about in commands(help_text(qplan))]
    os.makedirs(folder, exist_ok=True)
    for file, text in (("qplan.bash", bash(table)), ("_qplan", zsh(table)), ("qplan.fish", fish(table))):
        with open(os.path.join(folder, file), "w") as out:
            out.write(text)
    print(f"completions: {len(table)} commands, {sum(len(opts) for _, _, opts in table)} options")


if __name__ == "__main__":
    main(sys.argv[1:])
