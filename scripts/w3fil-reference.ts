import { writeFileSync } from 'node:fs'
import { EXIT_CODES } from '../packages/cli/src/outcome.ts'
import { createProgram } from '../packages/cli/src/program.ts'
import { readOptions } from '../test/options.ts'

type Command = ReturnType<typeof createProgram>

const HELP = `Writes docs/w3fil.md: the commands of w3fil, from their definitions.

  npm run docs:w3fil

  --help           print this
`

const MEANINGS: Record<keyof typeof EXIT_CODES, string> = {
  done: 'done',
  failed: 'failed; standard error says why and what to do',
  usage: 'wrong command line; nothing was done',
  notYet: 'not yet, e.g. `status` or `proof` of a pending piece. `ops`: it has found something',
  unreachable: 'the service is unreachable or busy, after five attempts',
  invalidProof:
    'the proof is invalid, the file is not its content, or the chain has another piece at its place',
  interrupted: 'interrupted by Ctrl-C or a signal; the same command continues',
}

const INTRO = `# w3fil

\`w3fil\` is the command of this repository: for users who store files, for developers who run the system on their machine,
and for operators. This page is generated from the definitions of the commands in \`packages/cli/src/program.ts\`: change the
text there, then run \`npm run docs:w3fil\`.

\`\`\`sh
npx w3fil dev --no-journey      # in one terminal: the system
npx w3fil add photos            # in another one: has the files stored, and saves the proofs
npx w3fil verify photos/cat.jpg.w3proof --file photos/cat.jpg
\`\`\`

\`npx w3fil\` works in the directory of this repository and below it, after \`npm install\` or the first \`npm start\`. Elsewhere,
run \`packages/cli/bin/w3fil\` by its path, or link it into a directory of \`PATH\`. \`npm start\` is \`w3fil dev\`, and
\`npm run ops\` is \`w3fil ops\`. With \`npm run w3fil -- …\`, npm prints lines of its own on standard output: use
\`npm run --silent w3fil -- …\` in scripts.

## The storefront

Commands that need a storefront use the first of these:

1. \`--storefront URL\`
2. the variable \`W3FIL_STOREFRONT\`
3. the local system that runs on the data directory (\`--data DIR\`, otherwise \`.w3filecoin\` in the working directory)

\`verify\` also needs to know whose signature counts, which a proof cannot say itself. There, \`--storefront\` and
\`W3FIL_STOREFRONT\` may be a DID, and then \`verify\` sends nothing. A URL is asked for its DID and keys. For a \`did:web\`,
pass its keys with \`--keys\`, or its saved DID document with \`--document\`.

| variable | meaning |
|---|---|
| \`W3FIL_STOREFRONT\` | URL of the storefront; for \`verify\` also its DID |
| \`W3FIL_TRACKER\` | URL of the deal tracker that \`verify --online\` asks |
| \`W3FIL_KEY\` | file with the key of your agent; the default is that of [@w3filecoin/client](../packages/client/README.md) |

\`w3fil dev\` lets the key of the user who starts it ask its deal tracker. Other keys, and those of production, must be
listed with \`w3fil client add\` or in the setting \`clients\` of the deal tracker, or have a delegation.

## Output

Results go to standard output. Progress, errors and hints go to standard error: on a terminal one line per unfinished file,
drawn in place; elsewhere a line whenever a file enters another stage.

With \`--json\`, standard output has exactly one line, the *envelope*. This also holds for a wrong command line. \`ok\` is true
if and only if the exit code is 0.

\`\`\`json
{"ok":true,"command":"add","result":[…]}
{"ok":false,"command":"add","error":{"code":"Unreachable","message":"…","hint":"…","retryable":true}}
\`\`\`

| field of \`error\` | meaning |
|---|---|
| \`code\` | the name of a failure in [protocol.md](protocol.md), a code of the client, or one of the list below |
| \`message\` | what happened, for people |
| \`hint\` | what to do, for people; \`null\` if the message says it |
| \`retryable\` | whether the same command may succeed later |

\`result\` is also there if a command failed, but has something to report: the files of an \`add\`, the stage of a pending piece,
the report of a proof whose deal is not active. Its fields; those marked with ? may be missing:

| command | \`result\` |
|---|---|
| \`add\` | a list of files: \`file\`, \`ok\`, \`bytes\`?, \`content\`?, \`piece\`?, \`task\`?, \`aggregate\`?, \`deal\`?, \`place\`?, \`proof\`? (path), \`error\`? (\`code\`, \`message\`) |
| \`cid\` | a list of files: \`file\`, \`bytes\`, \`content\`, \`piece\` |
| \`status\` | \`subject\`, \`stage\` (\`offered\`, \`submitted\`, \`queued\`, \`aggregated\`, \`retried\`, \`accepted\`, \`failed\` or \`unknown\`), \`since\`?, \`waitsFor\`?, \`piece\`?, \`task\`?, \`aggregates\`, \`deals\` (\`deal\`, \`provider\`, \`status\`, \`expiration\`, \`aggregate\`), \`places\` (as in [protocol.md](protocol.md#abilities-arguments-and-results), \`aggregate\`), \`history\` (\`stage\`, \`at\`), \`trouble\`?, \`failure\`? |
| \`proof\` | \`file\`, \`storefront\`, \`task\`, \`content\`, \`piece\`, \`aggregate\`, \`dealID\`?, \`place\`? |
| \`verify\` | \`proof\` (path), \`trusted\` (where the DID of the storefront is from), \`storefront\`, \`key\`, \`task\`, \`content\`, \`piece\`, \`aggregate\`, \`pieceBytes\`, \`aggregateBytes\`, \`deal\`, \`place\`, \`file\` (\`same\` or \`not checked\`), \`tracker\`?, \`node\`? (\`by\`, \`status\`, \`epoch\`?), \`proves\`, \`doesNotProve\` |
| \`key new\`, \`key show\` | \`did\`, \`file\` |
| \`delegate\` | \`file\`, \`delegation\`, \`audience\`, \`abilities\`, \`with\`, \`expires\` (\`null\`: never) |
| \`revoke\` | \`delegation\`, \`service\` |
| \`storefront add\`, \`aggregator add\`, \`client add\` | \`service\`, \`list\`, \`change\` (\`added\`, \`replaced\` or \`none\`), \`peer\` (the settings, as in [configuration.md](configuration.md)) |
| \`storefront ls\`, \`aggregator ls\`, \`client ls\` | \`service\`, \`list\`, \`more\` (there are more than \`--limit\`), \`peers\`: their settings, \`addedAt\` (milliseconds since 1970), \`problem\`? (why the service does not accept it) |
| \`storefront rm\`, \`aggregator rm\`, \`client rm\` | \`service\`, \`list\`, \`did\`, \`removed\` |
| \`ops trace\` | \`subject\`, \`more\` (there are more workflows than \`--limit\`), \`receipt\`? (of the task, if the subject is one), \`stories\`: \`kind\` (\`workflow\` or \`aggregate\`), \`piece\`?, \`content\`?, \`nonce\`?, \`group\`, \`space\`?, \`storefront\`?, \`stage\`, \`since\`?, \`reason\`?, \`contentAttempts\`?, \`aggregates\` (\`aggregate\`, \`nonce\`?, \`group\`, \`stage\`, \`deal\`?), \`steps\` (\`kind\`: \`stage\`, \`receipt\` or \`deal\`; \`at\`, \`service\`, …), \`open\` (\`service\`, \`table\`, \`key\`, \`stage\`, \`since\`?, \`next\`, \`trouble\`?, \`checkAt\`?, \`isOverdue\`, \`note\`?), \`tasks\` (\`name\`, \`task\`) |
| \`ops orders\` | \`orders\`: \`offer\`, \`order\` (its key in the offer), \`aggregate\`, \`copy\`, \`attempt\`, \`target\`, \`provider\`, \`stage\` (\`planned\`, \`asked\`, \`storing\`, \`live\`, \`refused\`, \`lost\` or \`ended\`), \`since\`, \`deadline\`?, \`place\`?, \`endsAt\`?, \`progress\`?, \`trouble\`?, \`reason\`?, \`stuck\`?, \`stuckAt\`?, \`isPardoned\`?; \`more\` (there are more than \`--limit\`); with \`--aggregate\` also \`offers\` (\`offer\`, \`aggregate\`, \`stage\`, \`storefront\`, \`group\`, \`offeredAt\`, \`waitsFor\`?) and \`wholes\`, the payloads (\`aggregate\`, \`stage\`, \`since\`, \`trouble\`?, \`fault\`?). Times are milliseconds since 1970 |
| \`ops order retry\` | \`offers\` (the ids of those that go on), \`permitted\` and \`others\`: orders, as above, after which further ones are permitted, or after which no permission is missing |
| \`ops order drop\` | \`offer\`, \`aggregate\`, \`reason\`, \`orders\` (as above, those that are not recalled) |
| \`ops target list\` | \`targets\`: \`name\`, \`state\` (\`open\`, \`paused\` or \`held\`), \`reason\`?, \`until\`? (milliseconds since 1970), \`check\`? (\`ok\`, or the problem), \`inFlight\`, \`moreInFlight\`; \`ordersRead\`, \`more\` (there are more open orders) |
| \`ops target pause\`, \`ops target resume\` | \`target\`, and \`paused\` with \`reason\`, or \`resumed\` |
| \`ops funds\` | \`targets\`: \`target\`, \`ok\`, \`problem\`?, \`message\`, \`since\`, \`checkedAt\` (milliseconds since 1970), \`isOld\` (its check does not run) |
| \`completion\` | \`shell\`, \`script\` |

Codes of the command itself: \`Usage\`, \`NoStorefront\`, \`NoTracker\`, \`NoFiles\`, \`TooManyFiles\`, \`FileExists\`, \`KeyExists\`,
\`NoKey\`, \`NotFound\` (\`ops trace\`, \`ops order\`, \`ops target\`, and \`rm\` of a peer), \`AlreadyListed\` (\`add\` of a peer that is listed with other settings), \`NeedsOperator\` (\`ops orders\` shows a stuck order, or \`ops funds\` a failing check), \`OrdersOpen\`, \`SeveralOffers\`, \`AlreadyAccepted\` and \`AlreadyFailed\` (\`ops order\`), \`DealNotActive\` (the proof is valid, but the deal tracker knows no active deal), \`SeveralFailed\` (files failed for
different reasons), \`Interrupted\`, \`Failed\` and \`InternalError\`. If all failed files of an \`add\` have the same code, it is
that of the command.

\`dev\`, \`ops dlq\`, \`ops reconcile\` and \`ops seal\` print many JSON lines instead: one per event, letter, record or seal.

## Exit codes

| code | meaning |
|---|---|
${Object.entries(EXIT_CODES)
  .map(([name, code]) => `| ${code} | ${MEANINGS[name as keyof typeof EXIT_CODES]} |`)
  .join('\n')}

## Commands
`

/** Returns the help as the command prints it, in lines of a fixed length. */
const helpOf = (command: Command): string => {
  let help = ''
  const writeOut = (text: string) => {
    help += text
  }
  command.configureOutput({ writeOut, getOutHelpWidth: () => 110, getOutHasColors: () => false }).outputHelp()
  return help.trimEnd()
}

const walk = (command: Command, path: string): string[] => {
  const title = `${path}${command.name()}`
  return [
    `### ${title}\n\n\`\`\`\n${helpOf(command)}\n\`\`\`\n`,
    ...command.commands.flatMap(sub => walk(sub, `${title} `)),
  ]
}

/** The page that the definitions give. */
export const w3filPage = (): string => {
  const program = createProgram({ run: async () => {}, stream: async () => {} })
  return [INTRO, ...program.commands.flatMap(command => walk(command, 'w3fil '))].join('\n')
}

export const page = new URL('../docs/w3fil.md', import.meta.url)

if (import.meta.main) {
  readOptions({ script: 'docs:w3fil', help: HELP, options: {} })
  writeFileSync(page, w3filPage())
}
