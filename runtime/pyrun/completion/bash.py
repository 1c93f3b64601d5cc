"""The script for bash."""

from pyrun.completion import Program, choices

# bash also splits words at "=" (COMP_WORDBREAKS), so `--root=DIR` arrives as three words.
_SCRIPT = r"""# Completes {name} in bash: source <({name} completion bash)
_{name}() {
    local word=${COMP_WORDS[COMP_CWORD]} verb= option= words=0 root=() one
    [[ $word == = ]] && word=
    for one in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $one == = ]] && continue
        if [[ $option ]]; then
            [[ $verb$option == --root ]] && root=(--root "$one")
            option=
            continue
        fi
        case $verb:$one in
            {with_value}) option=$one ;;
            *:-*) ;;
            :*) verb=$one ;;
            *) words=$((words + 1)) ;;
        esac
    done
    COMPREPLY=()
    case $verb:$option in
{values}
        *:?*) return ;;
    esac
    if [[ $word == -* ]]; then
        case $verb in
{options}
        esac
        return
    fi
    case $verb in
        '') COMPREPLY=($(compgen -W '{verbs}' -- "$word")) ;;
{words}
    esac
}
complete -F _{name} {name}
"""


def script(program: Program) -> str:
    taking = [(verb, option) for verb, option in program.all_options() if option.takes]
    by_takes: dict[str, list[str]] = {}
    for verb, option in taking:
        by_takes.setdefault(option.takes, []).extend(f"{verb}:{name}" for name in option.names)
    by_words: dict[str, list[str]] = {}
    for verb, command in program.commands.items():
        by_words.setdefault(command.words, []).append(verb)
    text = _SCRIPT.replace("{with_value}", " | ".join(one for names in by_takes.values() for one in names))
    text = text.replace("{values}", "\n".join(_value(takes, names) for takes, names in by_takes.items() if _of(takes)))
    text = text.replace("{options}", "\n".join(_options(program)))
    text = text.replace("{verbs}", " ".join(program.commands))
    text = text.replace(
        "{words}", "\n".join(_words(program, words, verbs) for words, verbs in by_words.items() if words)
    )
    return text.replace("{name}", program.name).rstrip("\n")


def _of(takes: str) -> str:
    """Return the arguments of compgen for a value, "" for no completion."""
    if choices(takes):
        return f"-W '{' '.join(choices(takes))}'"
    return {"DIR": "-d", "FILE": "-f", "PATH": "-f"}.get(takes, "")


def _value(takes: str, names: "list[str]") -> str:
    files = "" if choices(takes) else "compopt -o filenames 2>/dev/null; "
    reply = f'{files}mapfile -t COMPREPLY < <(compgen {_of(takes)} -- "$word"); return'
    return f"        {' | '.join(names)}) {reply} ;;"


def _options(program: Program) -> "list[str]":
    lines = []
    for verb, options in [("''", program.options), *((verb, one.options) for verb, one in program.commands.items())]:
        names = " ".join(name for option in options for name in option.names)
        lines.append(f"            {verb}) COMPREPLY=($(compgen -W '{names}' -- \"$word\")) ;;")
    return lines


def _words(program: Program, words: str, verbs: "list[str]") -> str:
    if not words.startswith("ID"):
        reply = f'mapfile -t COMPREPLY < <(compgen {_of(words)} -- "$word")'
    else:
        ids = f'"$("${{COMP_WORDS[0]}}" "${{root[@]}}" {program.lister} 2>/dev/null)"'
        first = "" if words == "ID..." else "((words == 0)) && "
        reply = f'{first}COMPREPLY=($(compgen -W {ids} -- "$word"))'
    return f"        {' | '.join(verbs)}) {reply} ;;"
