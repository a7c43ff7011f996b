import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import type { Shell } from './completion.ts'
import type { Context } from './context.ts'
import type { Dealer } from './ops/dealer.ts'
import type { OpsOptions } from './ops/main.ts'
import type { TargetOptions } from './ops/open-target.ts'
import type { ListName, PeerOptions } from './ops/peers.ts'
import { type Outcome, usageError } from './outcome.ts'
import { wrap } from './text.ts'

type Action<Args extends unknown[]> = (...args: [...Args, Context]) => Promise<Outcome>

/** How the commands run. The reference page and the completion need only their definitions. */
export interface Runner {
  /** Runs a command that ends with an outcome. */
  run(command: string, work: (context: Context) => Promise<Outcome>): Promise<void>
  /** Runs `dev` or `ops`, which print by themselves. Resolves with the exit code. */
  stream(work: (context: Context) => Promise<number>): Promise<void>
}

const JSON_ENVELOPE = 'print one JSON envelope (see docs/w3fil.md), and nothing else, on stdout'

const EXIT_CODES_NOTE = `
Exit codes: 0 done, 1 failed, 2 wrong command line, 3 not yet, 4 unreachable,
5 invalid proof, 130 interrupted.`

/** Returns the command line. Every action is imported when it runs, so that the help appears at once. */
export const createProgram = ({ run, stream }: Runner): Command => {
  const program = new Command('w3fil')
    .description(
      'Stores files on Filecoin, verifies the proofs, and runs the W3 Filecoin system on this machine.',
    )
    .version('0.1.0', '--version', 'print the version')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .configureHelp({ showGlobalOptions: false })
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .hook('preAction', (_, command) => {
      for (const option of command.options)
        if ([command.getOptionValue(option.attributeName())].flat().includes(''))
          command.error(`${option.long} needs a value`)
      if (command.args.includes('')) command.error('an argument is empty')
    })
    .addHelpText(
      'after',
      reflow(`
Begin with a system on this machine, or with the address of a storefront in W3FIL_STOREFRONT:
  w3fil dev --no-journey
  w3fil add photos
  w3fil status photos/cat.jpg.w3proof
  w3fil verify photos/cat.jpg.w3proof --file photos/cat.jpg
${EXIT_CODES_NOTE}`),
    )

  /** Adds a command that ends with an outcome, and its options that all of these have. */
  const define = (parent: Command, name: string, description: string, examples: readonly string[]) =>
    parent
      .command(name)
      .description(description)
      .addHelpText('after', `\nExamples:\n${examples.map(line => `  ${line}`).join('\n')}`)
  const json = () => new Option('--json', JSON_ENVELOPE)
  const act =
    <Args extends unknown[]>(command: string, load: () => Promise<Action<Args>>) =>
    // Commander appends the command itself to the arguments.
    (...args: [...Args, unknown]) =>
      run(command, async context => (await load())(...(args.slice(0, -1) as Args), context))

  define(program, 'add', 'Stores files, and those in directories, on Filecoin, and saves their proofs', [
    'w3fil add photo.jpg                      # the proof is in photo.jpg.w3proof',
    'w3fil add photos --proofs proofs         # keeps the names of the files below proofs/',
    'w3fil add --no-wait photos               # ends after the offer; w3fil proof TASK fetches the proof later',
  ])
    .argument(
      '<path...>',
      'files and directories; hidden files and .w3proof files in directories are left out',
    )
    .option('--proofs <dir>', 'save the proofs in this directory (default: beside each file)')
    .option('--no-wait', 'end when the files are offered; the storefront continues')
    .option('--upload <url>', 'upload to this URL template, with {cid} (default: as the storefront says)')
    .option('--no-upload', 'upload nothing: the storefront can read the content already')
    .option('--nonce <text>', 'start another workflow for content that was added before')
    .addOption(
      new Option(
        '--receipts-to <url>',
        'have the storefront send the signed receipt of each file to this https address',
      ).argParser(webAddress),
    )
    .addOption(storefrontOption())
    .addOption(dataOption())
    .addOption(keyOption())
    .addOption(withOption())
    .addOption(delegationOption())
    .addOption(json())
    .addHelpText(
      'after',
      reflow(`
It waits until every file is stored, which takes days with real storage providers. Ctrl-C does no harm: the same command
continues the same workflows. A proof never replaces a different one.`),
    )
    .action(act('add', async () => (await import('./user/add.ts')).add))

  define(program, 'cid', 'Computes the content CID and the piece CID of files, without a connection', [
    'w3fil cid photo.jpg',
    'w3fil cid --json photos',
  ])
    .argument('<path...>', 'files and directories')
    .addOption(json())
    .action(act('cid', async () => (await import('./user/cid.ts')).cid))

  define(program, 'status', 'Shows how far a piece, a task or a proof is', [
    'w3fil status bafkzcib…                   # the CID of a piece or a task',
    'w3fil status --watch photo.jpg.w3proof   # waits until it is stored',
  ])
    .argument('<subject>', 'CID of a piece, CID of a task, or file with a proof')
    .option('--watch', 'wait for the end')
    .addOption(storefrontOption())
    .addOption(dataOption())
    .addOption(keyOption())
    .addOption(withOption())
    .addOption(delegationOption())
    .addOption(json())
    .addHelpText(
      'after',
      reflow('The exit code is 0 if the piece is stored, 3 if it is not yet, 1 if the workflow failed.'),
    )
    .action(act('status', async () => (await import('./user/status.ts')).status))

  define(program, 'proof', 'Fetches the proof of a task, verifies it, and saves it', [
    'w3fil proof bafyrei…                     # saves it as bafyrei….w3proof',
    'w3fil proof bafyrei… -o photo.w3proof',
  ])
    .argument('<task>', 'CID of the task that w3fil add and w3fil status show')
    .option('-o, --output <file>', 'save it here (default: TASK.w3proof)')
    .addOption(storefrontOption())
    .addOption(dataOption())
    .addOption(keyOption())
    .addOption(json())
    .addHelpText(
      'after',
      reflow(
        'The exit code is 3 if there is no outcome yet. The command never overwrites a file with other contents.',
      ),
    )
    .action(act('proof', async () => (await import('./user/proof.ts')).proof))

  define(program, 'verify', 'Verifies a proof against the keys of a storefront that you trust', [
    'w3fil verify photo.jpg.w3proof --file photo.jpg --storefront did:key:z6Mk…',
    'w3fil verify photo.jpg.w3proof --storefront did:web:storefront.example --document did.json',
    'w3fil verify photo.jpg.w3proof --online  # also asks the deal tracker of the local system',
    'w3fil verify photo.jpg.w3proof --rpc https://node.example/rpc/v1  # also asks a node of the chain',
  ])
    .argument('<proof>', 'file with a proof')
    .option('--file <file>', 'check that this file is the content of the proof')
    .option(
      '--storefront <did>',
      'the storefront whose signature counts: its DID, or the URL that tells it (default: W3FIL_STOREFRONT, then the local system)',
    )
    .addOption(list('--keys <did:key>', 'a key of a did:web storefront; may be repeated'))
    .addOption(
      new Option('--document <file>', 'the saved DID document of a did:web storefront').conflicts('keys'),
    )
    .option(
      '--online',
      'ask the deal tracker of W3FIL_TRACKER or of the local system whether the deal is active',
    )
    .option('--tracker <url>', 'ask this deal tracker')
    .option(
      '--rpc <url>',
      'ask this node of the chain whether the deal, the sector or the PDP data set contains the aggregate',
    )
    .option(
      '--pdp-verifier <address>',
      'the contract PDPVerifier whose data sets count (default: that of Filecoin mainnet, and of Calibration)',
    )
    .option(
      '--network <name>',
      'the network whose deals and sectors count (default: mainnet; calibrationnet for a sector of an address t0…)',
    )
    .addOption(dataOption())
    .addOption(keyOption())
    .addOption(withOption())
    .addOption(delegationOption())
    .addOption(json())
    .addHelpText(
      'after',
      reflow(`
Without --online, --tracker, --rpc and a URL in --storefront, it sends nothing. It also prints what the proof does not prove.
The exit code is 5 if the proof is invalid, the file is another one, or the chain has another piece at the place; 1 if the deal tracker or the
node knows no active deal or place, or the node cannot check it.`),
    )
    .action(act('verify', async () => (await import('./user/verify.ts')).verify))

  const key = program
    .command('key')
    .helpCommand(false)
    .description('Creates and shows the key that offers your files')
  define(key, 'new', 'Creates a key, and prints its DID', ['w3fil key new', 'w3fil key new --key ci.key'])
    .addOption(keyOption())
    .addOption(json())
    .action(act('key new', async () => (await import('./user/key.ts')).newKey))
  define(key, 'show', 'Prints the DID of your key, never the key itself', ['w3fil key show'])
    .addOption(keyOption())
    .addOption(json())
    .action(act('key show', async () => (await import('./user/key.ts')).showKey))

  define(
    program,
    'delegate',
    'Lets another agent use abilities of your key, and saves the delegation as a file',
    [
      "w3fil delegate did:key:z6Mk… --can 'filecoin/*' --valid 30d -o ci.delegation",
      'w3fil add photos --with YOUR-DID --delegation ci.delegation   # the other agent uses it',
    ],
  )
    .argument('<audience>', 'DID of the other agent: the output of its w3fil key show')
    .addOption(
      list(
        '--can <ability>',
        'an ability, e.g. filecoin/offer or filecoin/*; may be repeated',
      ).makeOptionMandatory(),
    )
    .addOption(withOption('the resource (default: the DID of your key)'))
    .option('--valid <time>', 'how long, e.g. 90s, 12h, 30d, or forever', parseTime, 30 * 86_400)
    .addOption(delegationOption('a delegation to your key that this one rests on; may be repeated'))
    .option('-o, --output <file>', 'save it here (default: CID.delegation)')
    .addOption(keyOption())
    .addOption(json())
    .action(act('delegate', async () => (await import('./user/delegation.ts')).delegate))

  define(program, 'revoke', 'Revokes a delegation at a service, which then refuses it at once', [
    'w3fil revoke ci.delegation',
    'w3fil revoke ci.delegation --service https://aggregator.example',
  ])
    .argument('<delegation>', 'file with a delegation')
    .option('--service <url>', 'revoke it at this service (default: the storefront)')
    .addOption(list('--via <file>', 'a delegation between yours and the revoked one; may be repeated'))
    .addOption(storefrontOption())
    .addOption(dataOption())
    .addOption(keyOption())
    .addOption(json())
    .action(act('revoke', async () => (await import('./user/delegation.ts')).revoke))

  for (const { name, description, lists, settings, examples } of PEER_COMMANDS) {
    const group = program.command(name).helpCommand(false).description(description)
    const definePeers = (verb: string, about: string, lines: readonly string[]) => {
      const command = define(group, verb, about, lines)
      if (lists.length > 1)
        command.addOption(
          new Option('--at <service>', 'the service whose list it is')
            .choices(lists.map(({ service }) => service))
            .default(lists[0]!.service),
        )
      return command.addOption(dataOption().conflicts('stage')).addOption(stageOption()).addOption(json())
    }
    const listOf = ({ at }: { at?: string }) => lists.find(({ service }) => service === at) ?? lists[0]!
    const load = () => import('./ops/peers.ts')

    const add = definePeers('add', `Lists ${settings.noun} in the table of the service`, examples)
      .argument('<did>', `DID of the ${name}`)
      .addOption(
        list('--key <did:key>', 'a key that signs for a did:web; may be repeated (default: its host says)'),
      )
      .option('--replace', 'replace the settings of an entry that is there')
    for (const option of settings.options()) add.addOption(option)
    add
      .addHelpText(
        'after',
        reflow(`
It is in force within 60 s, without a deploy. An entry of the configuration with the same DID wins. If the DID is listed with
the same settings, nothing changes; if with others, the command fails without --replace.${settings.note}`),
      )
      .action(
        act(`${name} add`, async () => {
          const { addPeer } = await load()
          return async (did: string, options: PeerOptions & { at?: string }, context: Context) => {
            const wrong = listOf(options).without?.find(option => options[option] !== undefined)
            if (wrong)
              throw usageError(
                `The ${options.at} has no setting ${wrong} for its ${listOf(options).list}`,
                `See w3fil ${name} add --help`,
              )
            return addPeer(listOf(options), did, options, context)
          }
        }),
      )
    definePeers('ls', `Shows the ${settings.list} in the table of the service`, [
      `w3fil ${name} ls --stage production`,
    ])
      .addOption(
        new Option('--limit <n>', 'at most this many').argParser(wholeNumber(1, 100_000)).default(100),
      )
      .addHelpText(
        'after',
        reflow(`
Entries that the service does not accept are shown with the reason. Those of the configuration are not shown: they count too.`),
      )
      .action(
        act(`${name} ls`, async () => {
          const { listPeers } = await load()
          return (options: PeerOptions & { at?: string }, context: Context) =>
            listPeers(listOf(options), options, context)
        }),
      )
    definePeers('rm', `Removes ${settings.noun} from the table of the service`, [
      `w3fil ${name} rm did:web:${name}.example --stage production`,
    ])
      .argument('<did>', `DID of the ${name}`)
      .addHelpText(
        'after',
        reflow('It is refused within 60 s. Receipts and deals of its earlier offers are not affected.'),
      )
      .action(
        act(`${name} rm`, async () => {
          const { removePeer } = await load()
          return (did: string, options: PeerOptions & { at?: string }, context: Context) =>
            removePeer(listOf(options), did, options, context)
        }),
      )
  }

  defineDev(program, stream)
  defineOps(program, { run, stream })

  program
    .command('completion')
    .description('Prints a script that completes w3fil in a shell')
    .addArgument(new Argument('<shell>', 'name of the shell').choices(['bash', 'zsh', 'fish']))
    .addOption(json())
    .addHelpText(
      'after',
      reflow(`
Examples:
  eval "$(npx w3fil completion bash)"   # in ~/.bashrc; for zsh in ~/.zshrc
  npx w3fil completion fish > ~/.config/fish/completions/w3fil.fish`),
    )
    .action((shell: Shell) =>
      run('completion', async () => {
        const script = (await import('./completion.ts')).completionScript(program, shell)
        return { result: { shell, script }, lines: [script.trimEnd()] }
      }),
    )
  return program
}

const storefrontOption = () =>
  new Option(
    '--storefront <url>',
    'address of the storefront (default: W3FIL_STOREFRONT, then the local system)',
  )
const dataOption = () =>
  new Option(
    '--data <dir>',
    'data directory of the local system (default: .w3filecoin in the working directory)',
  )
const stageOption = () =>
  new Option(
    '--stage <stage>',
    'a deployed stage, in the account and region that the AWS SDK finds (AWS_PROFILE, AWS_REGION, …)',
  )
const keyOption = () =>
  new Option('--key <file>', 'file with your key (default: W3FIL_KEY, then one for this user)')
const withOption = (description = 'act on this space (default: the DID of your key)') =>
  new Option('--with <did>', description)
const delegationOption = (description = 'a delegation of the space to your key; may be repeated') =>
  list('--delegation <file>', description)

/** An option that may be repeated. */
const list = (flags: string, description: string) =>
  new Option(flags, description).argParser<string[]>((value, former = []) => [...former, value])

const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 }

const parseTime = (text: string): number => {
  if (text === 'forever') return Number.POSITIVE_INFINITY
  const [, number, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(text) ?? []
  if (number === undefined)
    throw new InvalidArgumentError('It must be a time such as 90s, 12h or 30d, or forever.')
  return Number(number) * SECONDS[unit as keyof typeof SECONDS]
}

/** Returns a parser of whole numbers in a range. */
const wholeNumber = (min: number, max: number) => (text: string) => {
  if (/^\d+$/.test(text) && Number(text) >= min && Number(text) <= max) return Number(text)
  throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
}

/** Parses an address before files are read and uploaded. The storefront decides whether it calls it. */
const webAddress = (text: string) => {
  if (/^https?:$/.test(URL.parse(text)?.protocol ?? '')) return text
  throw new InvalidArgumentError('It must be an address such as https://agent.example/receipts.')
}

/** Parses the id of a message. It is part of a file's name. */
const messageId = (text: string) => {
  if (/^[\w-]{1,100}$/.test(text)) return text
  throw new InvalidArgumentError('It must be the id of a message: MESSAGE of ops dlq.')
}

/** Returns a parser of seconds. */
const seconds = (range: 'from 0' | 'above 0') => (text: string) => {
  if (/^\d+(\.\d+)?$/.test(text) && (range === 'from 0' || Number(text) > 0)) return Number(text)
  throw new InvalidArgumentError(`It must be a number of seconds ${range}.`)
}

const defineDev = (program: Command, stream: Runner['stream']): void => {
  program
    .command('dev')
    .description('Runs the whole W3 Filecoin system on this machine, and has files stored by it (npm start)')
    .addOption(
      new Option('--once', 'stop after the journey; exit code 0 if every file was read and stored').conflicts(
        'journey',
      ),
    )
    .option('--no-journey', 'only serve: take no files')
    .option(
      '--files <dir>',
      'take the files of this directory (default: samples/); hidden files and symbolic links are skipped',
    )
    .option(
      '--data <dir>',
      'keep all data in this directory; the next start continues from it (default: .w3filecoin)',
    )
    .addOption(
      new Option(
        '--engine <name>',
        'the engine for tables, to which a data directory belongs; dynamodb works on Linux x64 only',
      )
        .choices(['sqlite', 'dynamodb'])
        .default('sqlite'),
    )
    .addOption(
      new Option(
        '--deals <way>',
        'how files are stored, all with stand-ins: pdp (copies in data sets), curio (copies in sectors), offers (deals by the offer documents)',
      )
        .choices(['pdp', 'curio', 'offers'])
        .default('pdp'),
    )
    .option(
      '--port <base>',
      "listen on port BASE (storage providers' stand-in), BASE+1 (storefront), BASE+2 (aggregator), BASE+3 (dealer), BASE+4 (deal tracker) and BASE+5 (uploads); 0: any free ports",
      wholeNumber(0, 65_535 - 5),
      4000,
    )
    .addOption(
      list(
        '--fault <file>',
        'storage providers reject this file: it fails, and the other pieces of its aggregate are retried; may be repeated',
      ).default([]),
    )
    .option(
      '--timeout <sec>',
      'fail the remaining files after this many seconds without progress',
      seconds('above 0'),
      180,
    )
    .option('--json', 'print one JSON line per event')
    .addHelpText(
      'after',
      reflow(`
Everything listens on 127.0.0.1 only. DATA/local.json has the addresses,
DATA/keys.json the private keys, and DATA/logs/ the services' logs. w3fil ops
shows dead letters. Ctrl-C stops; a second Ctrl-C stops at once.

Examples:
  w3fil dev                         # has the samples stored, then serves
  w3fil dev --once --files photos
  w3fil dev --no-journey --port 0`),
    )
    .action(options =>
      stream(async context => {
        const { didOfUser } = await import('./user/key.ts')
        const { dev } = await import('./dev/main.ts')
        return dev({ ...options, user: await didOfUser(context) })
      }),
    )
}

/** Returns a parser of texts with at most so many characters. */
const textOf = (maxLength: number) => (text: string) => {
  if (text.length <= maxLength) return text
  throw new InvalidArgumentError(`It must have at most ${maxLength} characters.`)
}

/** Parses the name of a target, as the schema of the dealer's settings does. */
const targetName = (text: string) => {
  if (/^[a-z0-9-]{1,64}$/.test(text)) return text
  throw new InvalidArgumentError(
    'It must be the name of a target: 1 to 64 lower case letters, digits and hyphens.',
  )
}

const defineOps = (program: Command, { run, stream }: Runner): void => {
  const ops = program
    .command('ops')
    .helpCommand(false)
    .description(
      'Shows the state of the services and the history of a piece, finds and resends stuck work, seals groups, and decides about orders of copies: of the local system, or of a deployed stage (npm run ops)',
    )
    .addHelpText(
      'after',
      reflow(`
Exit codes: 0 if nothing was found, or everything was sent, requested or told; 3 if something was found, or needs attention; 1 if the
command failed, or failed for some queues; 2 for a wrong command line.

Examples:
  w3fil ops status
  w3fil ops trace bafkzcib…
  w3fil ops orders --stuck
  w3fil ops dlq
  w3fil ops reconcile --stage production --send
  w3fil ops seal local`),
    )
  const define = (
    name: string,
    description: string,
    json = 'print one JSON line per letter, record or seal, and nothing else',
    parent = ops,
  ) =>
    parent
      .command(name)
      .description(description)
      .addOption(
        new Option(
          '--data <dir>',
          'the local system of this data directory (default: .w3filecoin)',
        ).conflicts('stage'),
      )
      .addOption(stageOption())
      .option('--json', json)
  const limit = (what: string, fallback = 100) =>
    new Option('--limit <n>', `at most this many ${what}`).argParser(wholeNumber(1, 10_000)).default(fallback)
  const segments = () =>
    new Option('--segments <n>', 'parts of a table that --scan reads in parallel')
      .argParser(wholeNumber(1, 1_000))
      .default(8)
  const service = () =>
    new Option('--service <name>', 'only this service: storefront, aggregator, dealer or deal-tracker')
  const start = (command: OpsOptions['command'], options: object, group = '') =>
    stream(async context => (await import('./ops/main.ts')).ops({ command, group, ...options }, context))

  /** Runs a command on the dealer of the system that its options name. */
  const onDealer = (command: string, options: TargetOptions, work: (dealer: Dealer) => Promise<Outcome>) =>
    run(command, async context => (await import('./ops/dealer.ts')).withDealer(options, context, work))

  define('status', 'Shows what needs attention, and how the services are')
    .addOption(service())
    .addOption(limit('records of each table, approximately; if there are more, the counts say so', 1000))
    .addHelpText(
      'after',
      reflow(`
The first lines say what needs attention: failing checks of the configuration (a peer that is not reachable, is another one,
or refuses the service; a source that is blind; a hasher that did not load), records that no sweep checks in time, dead
letters. Then come the unfinished records by service and stage, with the oldest and why they wait; the last result of each
check; the sources of the deal tracker; the depth of each queue that is not empty. It reads the index that sweeps read, and
changes nothing. With --json it prints one line. The exit code is 0 if all is well, and 3 if something needs attention.

Examples:
  w3fil ops status
  w3fil ops status --stage production --service dealer`),
    )
    .action(options => start('status', options))

  define('page', 'Serves a web page on this machine, which shows how the services are')
    .addOption(service())
    .addOption(limit('records of each table, approximately', 1000))
    .addOption(
      new Option('--port <port>', 'listen on this port (default: any free port)').argParser(
        wholeNumber(0, 65_535),
      ),
    )
    .addHelpText(
      'after',
      reflow(`
It shows everything that status shows, and the times from offer to aggregate and to acceptance as percentiles of a sample of pieces. It listens on
127.0.0.1, and prints an address with a key, which is new at each start: without the key, it shows nothing. It reads with your
permissions, and changes nothing. With --json it prints the address as one JSON line. Ctrl-C stops it.

Examples:
  w3fil ops page
  w3fil ops page --stage production`),
    )
    .action(options => start('page', options))

  define('dlq', 'Shows the dead letters of every queue, with the reason')
    .addOption(service())
    .option('--queue <name>', 'only this queue, e.g. submit or aggregation')
    .addOption(limit('letters of each queue'))
    .option('--send', 'send the messages; without --send and --drop, nothing changes')
    .addOption(
      new Option('--drop <message>', 'remove the dead letter of this message, and keep a copy')
        .argParser(messageId)
        .conflicts(['send', 'limit']),
    )
    .option('--copy <file>', 'the new file for the copy of --drop (default: MESSAGE.dead-letter.json)')
    .addHelpText(
      'after',
      reflow(`
A message that failed all its attempts is in the dead-letter queue of its queue, with the reason and the line of code. With
--send, each is sent to its queue again and then deleted here. If that is interrupted, a message may be sent twice, which
does no harm. With --drop, one letter is deleted, after a copy of its body, its attributes and its reason is on the disk. A file
is never overwritten. Otherwise nothing changes: the letters are visible to others again after a second.

Examples:
  w3fil ops dlq
  w3fil ops dlq --service dealer --send
  w3fil ops dlq --drop 015dc8d0-65fb-466e-9b9f-7f4a2de3864e`),
    )
    .action((options, command: Command) => {
      if (options.copy !== undefined && options.drop === undefined) command.error('--copy needs --drop')
      return start('dlq', options)
    })

  define('reconcile', 'Shows the unfinished records that no sweep checks in time, or that need an operator')
    .addOption(service())
    .option('--all', 'every unfinished record, also those that are not overdue')
    .option(
      '--scan',
      'read whole tables: finds the records too that are missing from the index of the sweeps',
    )
    .addOption(segments())
    .option('--overdue <sec>', 'tolerate checks that are late by this many seconds', seconds('from 0'), 300)
    .addOption(limit('records of each table'))
    .option('--send', 'send the messages; without it, nothing changes')
    .addHelpText(
      'after',
      reflow(`
SQS cannot say whether it has a message for a record. But every unfinished record has a time of its next check, and a sweep
runs each minute. This command reads the index that sweeps read, and shows records overdue by more than --overdue, and
records whose time lies so far ahead that a wrong clock has set it. With --send they get the message that the sweep would
send, and a new time. While sweeps run, there should be none. A record without such a time is not in that index: only
--scan finds it, which reads whole tables, in parallel segments. It takes longer and costs more. The command also shows
aggregates that the dealer can neither accept nor fail after their deadline, with the reason: the deal tracker must see the
chain again, or an operator must report them to the dealer's queue report. With --all it shows every unfinished record, also
those that are not overdue, and with --send sends the message of each now: after the loss of a queue, that is faster than
waiting. A duplicate of a message does no harm.

Examples:
  w3fil ops reconcile
  w3fil ops reconcile --scan --segments 32 --stage production
  w3fil ops reconcile --all --send`),
    )
    .action(options => start('reconcile', options))

  define('trace', 'Shows the whole history of a piece, a content, a task or an aggregate', JSON_ENVELOPE)
    .argument('<cid>', 'CID of a piece (v1 or v2), a content, a task or an aggregate')
    .addOption(
      new Option('--limit <n>', 'at most this many workflows').argParser(wholeNumber(1, 1_000)).default(10),
    )
    .option('--scan', 'if nothing is found by keys and indexes, read whole tables')
    .addOption(segments())
    .addHelpText(
      'after',
      reflow(`
Prints every record and receipt of the four services in the order of time: the stages with their duration, the receipts with
issuer, outcome and effects, the earlier aggregates of a piece that was retried, the orders of copies,
and the places on chain, with their ends. For unfinished work it prints
what is next, why that did not happen yet, and when it is tried again. It changes nothing.

Examples:
  w3fil ops trace bafkzcib…
  w3fil ops trace bafyrei… --stage production --json`),
    )
    .action((cid, options) =>
      run('ops trace', async context => (await import('./ops/trace.ts')).trace(cid, options, context)),
    )

  define('seal', 'Seals a group that waits below its minimum')
    .argument('<group>', 'name of the group')
    .option('--storefront <did>', 'the storefront of the group, if several have a group of this name')
    .addHelpText(
      'after',
      reflow(`
A group below its minimum (minPaddedBytes) waits for more pieces, however long. This command has the aggregator make one
aggregate of the pieces that the group has now. Every aggregate costs its copies.

Examples:
  w3fil ops seal did:web:storage.example --stage production`),
    )
    .action((group, options) => start('seal', options, group))

  const offer = () =>
    new Argument(
      '<offer>',
      'piece CID (v2) of an aggregate, or id of one offer of it, as ops orders shows (behind -- if it begins with -)',
    )
  define(
    'orders',
    'Shows the orders of copies at storage providers, and which ones need an operator',
    JSON_ENVELOPE,
  )
    .option(
      '--aggregate <offer>',
      'all orders of this aggregate, by its piece CID (v2) or by the id of an offer',
    )
    .option('--stuck', 'only orders that need an operator')
    .addOption(limit('orders'))
    .addHelpText(
      'after',
      reflow(`
It shows the accepted aggregates that lack copies, then the orders: those that are stuck, those whose copies are not live yet, and the
live ones, each with target, stage, place and deadline, and below it its last progress, its end, or the reason of that. With --aggregate it also shows orders that have ended, and the state
of the payload from which targets fetch the aggregate. It changes nothing. The exit code is 3 if an order that it shows is stuck,
or an aggregate lacks copies.

Examples:
  w3fil ops orders --stuck --stage production
  w3fil ops orders --aggregate bafkzci…`),
    )
    .action(options =>
      onDealer('ops orders', options, async dealer =>
        (await import('./ops/orders.ts')).listOrders(dealer, options),
      ),
    )

  const order = ops
    .command('order')
    .helpCommand(false)
    .description('Decides about the orders of an aggregate')
  define(
    'retry',
    'Permits further orders where the dealer stopped, and has it go on now',
    JSON_ENVELOPE,
    order,
  )
    .addArgument(offer())
    .addHelpText(
      'after',
      reflow(`
The dealer orders a copy at most as often as its policy says (attempts), then it asks an operator. This permits as many
orders again. An order that is stuck for want of a target needs another target instead.

Examples:
  w3fil ops order retry bafkzci… --stage production`),
    )
    .action((subject, options) =>
      onDealer('ops order retry', options, async dealer =>
        (await import('./ops/orders.ts')).retryOrders(dealer, subject),
      ),
    )
  define('drop', 'Fails an aggregate that gets no copy: its pieces are offered again', JSON_ENVELOPE, order)
    .addArgument(offer())
    .addOption(
      new Option('--reason <text>', 'why; the receipt of the aggregate quotes it')
        .argParser(textOf(1_000))
        .makeOptionMandatory(),
    )
    .option('--force', 'also if a copy of it is live, or may become live: that copy is paid, and not used')
    .addHelpText(
      'after',
      reflow(`
It sends the report that deal making would send. The dealer then issues the receipt of the failure. Without --force it refuses if an order
of the aggregate is live or in flight.

Examples:
  w3fil ops order drop bafkzci… --reason 'No provider takes it' --stage production`),
    )
    .action((subject, options) =>
      onDealer('ops order drop', options, async dealer =>
        (await import('./ops/orders.ts')).dropOffer(dealer, subject, options),
      ),
    )

  const target = ops
    .command('target')
    .helpCommand(false)
    .description('Pauses and resumes the storage providers that get orders')
  const name = () =>
    new Argument('<name>', 'name of the target in the settings of the dealer').argParser(targetName)
  define('list', 'Shows the targets, and which ones get no orders', JSON_ENVELOPE, target)
    .addOption(limit('open orders are read, for the targets that they name', 1000))
    .addHelpText(
      'after',
      reflow(`
A target is paused by an operator, or held for a day after it refused an order for a reason that is its own, e.g. an expired key. The
settings of the dealer cannot be read from outside, so the list has the targets that the dealer checks, those that are paused or held, and
those that open orders name.

Examples:
  w3fil ops target list --stage production`),
    )
    .action(options =>
      onDealer('ops target list', options, async dealer =>
        (await import('./ops/targets.ts')).listTargets(dealer, options),
      ),
    )
  define('pause', 'Has the dealer send no further orders to a target', JSON_ENVELOPE, target)
    .addArgument(name())
    .addOption(
      new Option('--reason <text>', 'why, for ops target list')
        .argParser(textOf(500))
        .default('An operator paused it'),
    )
    .addHelpText(
      'after',
      reflow(`
Orders that the target has go on. It is in force at once, until ops target resume.

Examples:
  w3fil ops target pause example-pdp --reason 'It moves' --stage production`),
    )
    .action((target, options) =>
      onDealer('ops target pause', options, async dealer =>
        (await import('./ops/targets.ts')).pauseTarget(dealer, target, options),
      ),
    )
  define('resume', 'Ends the pause of a target, or the day for which it is held', JSON_ENVELOPE, target)
    .addArgument(name())
    .addHelpText(
      'after',
      reflow(`
Examples:
  w3fil ops target resume example-pdp --stage production`),
    )
    .action((target, options) =>
      onDealer('ops target resume', options, async dealer =>
        (await import('./ops/targets.ts')).resumeTarget(dealer, target),
      ),
    )

  define('funds', 'Shows whether targets take orders: funds of payers, keys and accounts', JSON_ENVELOPE)
    .addHelpText(
      'after',
      reflow(`
It prints the last checks of the targets, which the dealer makes every five minutes, because only the dealer has the key that signs orders.
For a target with PDP: until when the payer is funded, whether it approved the service, and when the key that signs expires. A check
fails 30 days before the end. For a target with Curio: whether the provider knows the account and takes whole aggregates. The exit code is 3
if a check fails or is old.

Examples:
  w3fil ops funds --stage production`),
    )
    .action(options =>
      onDealer('ops funds', options, async dealer => (await import('./ops/targets.ts')).showFunds(dealer)),
    )

  define('doctor', 'Checks a system from outside, e.g. after a deploy: names, keys, clocks, queues, peers')
    .addOption(service())
    .option('--canary', 'also offer a tiny new piece to the storefront, and follow it')
    .option('--wait <sec>', 'follow the piece for at most this many seconds', seconds('above 0'), 60)
    .addOption(keyOption())
    .addOption(withOption('offer the piece from this space (default: the DID of your key)'))
    .addOption(delegationOption())
    .addHelpText(
      'after',
      reflow(`
It prints a line for each check: ✓ or ✗, the service, the check, and the finding. A line below ✗ says what to do. It shows the
checks that the services themselves run on schedule, e.g. of their peers and of the sources of the deal tracker, and does not repeat them.
Nothing changes, except that --canary adds a piece to an aggregate. Storing takes days, so the piece is fine when it is queued at
the aggregator. The exit code is 0 if all is well, and 3 if there is a ✗.

Examples:
  w3fil ops doctor
  w3fil ops doctor --stage production --canary`),
    )
    .action(options => start('doctor', options))
}

interface PeerCommand {
  name: 'storefront' | 'aggregator' | 'client' | 'broker'
  description: string
  /** The lists of services that it changes; the first one is the default. `without` are options that a list does not have. */
  lists: readonly (ListName & { without?: readonly (keyof PeerOptions)[] })[]
  settings: { noun: string; list: string; note: string; options: () => Option[] }
  examples: readonly string[]
}

const urlOption = (purpose: string) =>
  new Option('--url <url>', `address ${purpose}; on a stage https and public`)

/** The commands that change the tables of peers. */
const PEER_COMMANDS: readonly PeerCommand[] = [
  {
    name: 'storefront',
    description: 'Lists the storefronts that may offer pieces to the aggregator, or have deals at the dealer',
    lists: [
      { service: 'aggregator', list: 'storefronts' },
      { service: 'dealer', list: 'storefronts', without: ['piecesPerDay', 'delegation'] },
    ],
    settings: {
      noun: 'a storefront',
      list: 'storefronts',
      note: `

At the aggregator it may offer pieces. At the dealer (--at dealer) it may authorize deals itself, as a tenant, with a delegation
to an aggregator: that is not necessary if the dealer lets the aggregator name it.`,
      options: () => [
        urlOption('to which the aggregator delivers receipts'),
        new Option(
          '--pieces-per-day <n>',
          'refuse further new pieces of it on a day (default: no bound)',
        ).argParser(wholeNumber(1, Number.MAX_SAFE_INTEGER)),
        new Option(
          '--delegation <file>',
          'its delegation of aggregate/offer to the aggregator, so that it authorizes its deals',
        ),
      ],
    },
    examples: [
      'w3fil storefront add did:key:z6Mk… --url http://127.0.0.1:8080',
      'w3fil storefront add did:web:storefront.example --stage production --pieces-per-day 100000',
      'w3fil storefront add did:key:z6Mk… --at dealer --stage production',
    ],
  },
  {
    name: 'aggregator',
    description: 'Lists the aggregators that may offer aggregates to the dealer',
    lists: [{ service: 'dealer', list: 'aggregators' }],
    settings: {
      noun: 'an aggregator',
      list: 'aggregators',
      note: '',
      options: () => [
        urlOption('to which the dealer delivers receipts and pieces of failed aggregates'),
        list(
          '--tenant <did>',
          'a storefront that it may name as tenant without its delegation, or all; may be repeated',
        ),
      ],
    },
    examples: [
      'w3fil aggregator add did:web:aggregator.example --url https://aggregator.example --stage production',
      'w3fil aggregator add did:key:z6Mk… --tenant did:key:z6Mn… --tenant did:key:z6Mp…',
    ],
  },
  {
    name: 'broker',
    description: 'Lists the brokers that make deals for the dealer without access to AWS',
    lists: [{ service: 'dealer', list: 'brokers' }],
    settings: {
      noun: 'a broker',
      list: 'brokers',
      note: `

It may list the open offers of all tenants, and report that an offer gets no deal, which makes the offer fail. List only brokers that
you trust with that.`,
      options: () => [],
    },
    examples: ['w3fil broker add did:key:z6Mk… --stage production'],
  },
  {
    name: 'client',
    description: 'Lists the clients that may ask the deal tracker for deals, and report deals to it',
    lists: [{ service: 'deal-tracker', list: 'clients' }],
    settings: { noun: 'a client', list: 'clients', note: '', options: () => [] },
    examples: ['w3fil client add did:key:z6Mk… --stage production'],
  },
]

/** Width of the texts behind the options: that of the smallest usual terminal. */
const HELP_COLUMNS = 80

/** Breaks the paragraphs of a text anew. Indented lines are examples, and stay whole. */
const reflow = (text: string): string =>
  text
    .trim()
    .split('\n\n')
    .map(part =>
      part
        .split(/\n(?= )/)
        .flatMap(line => (line.startsWith(' ') ? line : wrap(line.replaceAll('\n', ' '), HELP_COLUMNS)))
        .join('\n'),
    )
    .join('\n\n')
    .replace(/^/, '\n')
