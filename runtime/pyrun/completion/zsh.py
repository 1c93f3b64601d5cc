"""The script for zsh."""

from pyrun.completion import Command, Option, Program, choices

_SCRIPT = r"""#compdef {name}
# Completes {name} in zsh: source <({name} completion zsh), after compinit; or write it to a file _{name} in $fpath.
_{name}_ids() {
    local -a ids
    ids=(${(f)"$($program $root {lister} 2>/dev/null)"})
    _describe id ids
}
_{name}() {
    local context state state_descr line program=$words[1] curcontext=$curcontext
    local -a root verbs
    local -A opt_args
    _arguments -C \
{options} \
        '1:command:->verb' '*:: :->words'
    root=(${opt_args[--root]:+--root} ${(Q)opt_args[--root]})
    case $state in
        verb)
            verbs=(
{verbs}
            )
            _describe command verbs ;;
        words)
            case $words[1] in
{commands}
            esac ;;
    esac
}
if [[ $funcstack[1] == _{name} ]]; then _{name} "$@"; else compdef _{name} {name}; fi
"""


def script(program: Program) -> str:
    verbs = [f"                {_quoted(f'{verb}:{one.summary}')}" for verb, one in program.commands.items()]
    commands = [f"                {verb}) {_arguments(program, one)} ;;" for verb, one in program.commands.items()]
    text = _SCRIPT.replace("{options}", " \\\n".join(f"        {_option(one)}" for one in program.options))
    text = text.replace("{verbs}", "\n".join(verbs)).replace("{commands}", "\n".join(commands))
    return text.replace("{lister}", program.lister).replace("{name}", program.name).rstrip("\n")


def _arguments(program: Program, command: Command) -> str:
    specs = [_option(option) for option in command.options]
    ids = f"_{program.name}_ids"
    words = {"ID": [f"'1:id:{ids}'", "'*: :_default'"], "ID...": [f"'*:id:{ids}'"], "FILE": ["'*:file:_files'"]}
    specs += words.get(command.words, ["'*: :_default'"] if not choices(command.words) else [])
    if choices(command.words):
        specs.append(f"'1: :({' '.join(choices(command.words))})'")
    return "_arguments " + " ".join(specs)


def _option(option: Option) -> str:
    # '(-b --bundle)'{-b+,--bundle=}'[summary]:DIR:_files -/'
    ends = {"-": "+", "--": "="} if option.takes else {"-": "", "--": ""}
    names = [name + ends["--" if name.startswith("--") else "-"] for name in option.names]
    escaped = option.summary.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    rest = f"[{escaped}]"
    if option.takes:
        rest += f":{option.takes.replace(':', ' ').replace('|', ' ')}:{_values(option.takes)}"
    if len(names) == 1:
        return _quoted(names[0] + rest)
    return f"'({' '.join(option.names)})'{{{','.join(names)}}}{_quoted(rest)}"


def _values(takes: str) -> str:
    if choices(takes):
        return f"({' '.join(choices(takes))})"
    return {"DIR": "_files -/", "FILE": "_files", "PATH": "_files"}.get(takes, " ")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
