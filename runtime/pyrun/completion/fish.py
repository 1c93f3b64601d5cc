"""The script for fish."""

from pyrun.completion import Option, Program, choices

_SCRIPT = r"""# Completes {name} in fish: {name} completion fish | source
function __{name}_words --description 'Print the verb that is typed, and the words behind it'
    set -l waiting
    for one in (commandline -opc)[2..]
        if test -n "$waiting"
            set waiting
            continue
        end
        switch $one
            case {with_value}
                set waiting 1
            case '-*'
            case '*'
                echo $one
        end
    end
end
function __{name}_verb_is
    set -l typed (__{name}_words)
    test "$typed[1]" = "$argv[1]"
end
function __{name}_first_of
    set -l typed (__{name}_words)
    test (count $typed) -eq 1; and contains -- $typed[1] $argv
end
function __{name}_any_of
    set -l typed (__{name}_words)
    test (count $typed) -ge 1; and contains -- $typed[1] $argv
end
function __{name}_ids
    set -l typed (commandline -opc)
    set -l root (string match -r -- '^--root=.*' $typed)
    set -l at (contains -i -- --root $typed)
    and set root --root $typed[(math $at + 1)]
    $typed[1] $root {lister} 2>/dev/null
end
complete -c {name} -f
"""


def script(program: Program) -> str:
    taking = [option for _, option in program.all_options() if option.takes]
    names = dict.fromkeys(name for option in taking for name in option.names)
    text = _SCRIPT.replace("{with_value}", " ".join(names)).replace("{lister}", program.lister)
    lines = [_line(f"-n '__{{name}}_verb_is \"\"' -a {verb}", one.summary) for verb, one in program.commands.items()]
    lines += [_option(verb, option) for verb, option in program.all_options()]
    for words, verbs in _by_words(program).items():
        which = "any" if words.endswith("...") else "first"
        lines.append(f"complete -c {{name}} -n '__{{name}}_{which}_of {' '.join(verbs)}' {_offer(words)}")
    return (text + "\n".join(lines)).replace("{name}", program.name)


def _by_words(program: Program) -> "dict[str, list[str]]":
    found: dict[str, list[str]] = {}
    for verb, command in program.commands.items():
        if command.words:
            found.setdefault(command.words, []).append(verb)
    return found


def _offer(words: str) -> str:
    if words.startswith("ID"):
        return "-a '(__{name}_ids)'"
    return "-F" if words == "FILE" else f"-a '{' '.join(choices(words))}'"


def _option(verb: str, option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    return _line(f"-n '__{{name}}_verb_is \"{verb}\"' {names}{_values(option.takes)}", option.summary)


def _values(takes: str) -> str:
    if choices(takes):
        return f" -x -a '{' '.join(choices(takes))}'"
    if takes == "DIR":
        return " -x -a '(__fish_complete_directories)'"
    return (" -r -F" if takes in ("FILE", "PATH") else " -x") if takes else ""


def _line(rest: str, summary: str) -> str:
    quoted = summary.replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c {{name}} {rest} -d '{quoted}'"
