import type { Command } from 'commander'

export type Shell = 'bash' | 'zsh' | 'fish'

interface Completed {
  /** The words of the command, e.g. `key new`; empty for the program. */
  path: string
  /** Subcommands and choices, then options. */
  words: { word: string; description: string }[]
}

/** Returns a script that completes the command line of a program in a shell. */
export const completionScript = (program: Command, shell: Shell): string => {
  const commands = [...walk(program, [])]
  const name = program.name()
  if (shell === 'fish') return fishScript(name, commands)
  const bash = bashScript(name, commands)
  return shell === 'bash' ? bash : `#compdef ${name}\nautoload -U +X bashcompinit && bashcompinit\n${bash}`
}

function* walk(command: Command, path: string[]): Generator<Completed> {
  const { commands, options } = command
  const help = { word: '--help', description: 'print the help' }
  yield {
    path: path.join(' '),
    words: [
      ...commands.map(sub => ({ word: sub.name(), description: sub.description() })),
      ...command.registeredArguments.flatMap(({ argChoices = [], description }) =>
        argChoices.map(word => ({ word, description })),
      ),
      ...options.map(option => ({ word: option.long!, description: option.description })),
      help,
    ],
  }
  for (const sub of commands) yield* walk(sub, [...path, sub.name()])
}

/** The longest known command at the beginning of the line decides. Words that match no candidate are completed as files. */
const bashScript = (name: string, commands: readonly Completed[]): string => `_${name}() {
  local command= word candidates
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${command:+$command }$word" in
      ${commands
        .map(({ path }) => `'${path}'`)
        .filter(path => path !== "''")
        .join(' | ')}) command="\${command:+$command }$word" ;;
    esac
  done
  case "$command" in
${commands.map(({ path, words }) => `    '${path}') candidates='${words.map(({ word }) => word).join(' ')}' ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$candidates" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _${name} ${name}
`

const fishScript = (name: string, commands: readonly Completed[]): string => {
  const quote = (text: string) => `'${text.replaceAll(/['\\]/g, '\\$&')}'`
  const top = commands.filter(({ path }) => path !== '' && !path.includes(' ')).map(({ path }) => path)
  const lines = commands.flatMap(({ path, words }) => {
    const parts = path.split(' ').filter(Boolean)
    const seen = parts.map(part => `__fish_seen_subcommand_from ${part}`)
    const condition =
      parts.length === 0 ? `not __fish_seen_subcommand_from ${top.join(' ')}` : seen.join('; and ')
    return words.map(({ word, description }) => {
      const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-a ${word}`
      return `complete -c ${name} -n ${quote(condition)} ${what} -d ${quote(description)}`
    })
  })
  return `${lines.join('\n')}\n`
}
