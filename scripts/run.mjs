// Every npm script goes through here: install what is missing, then run a command with Node 24.
//
//   node scripts/run.mjs                     only installs
//   node scripts/run.mjs COMMAND [ARGS...]   installs, then runs COMMAND from node_modules/.bin or PATH
//
// It runs before anything is installed and on Node 20, hence plain JavaScript without dependencies.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { isatty } from 'node:tty'
import { ensure, root } from './setup.mjs'

const modules = join(root, 'node_modules')
const bin = join(modules, '.bin')

/** Written when an install has finished: what node_modules was made from. */
const record = join(modules, '.installed-from')
/** Left by npm: what is in node_modules is npm's work, and lacks what the packages of this workspace need. */
const npmRecord = join(modules, '.package-lock.json')

/** Everything that decides what an install puts on the disk. */
function fingerprint() {
  const folders = [
    '.',
    'stacks',
    'test',
    'bench',
    ...readdirSync(join(root, 'packages')).map(name => `packages/${name}`),
  ]
  const files = [
    'pnpm-lock.yaml',
    'pnpm-workspace.yaml',
    ...folders.sort().map(folder => `${folder}/package.json`),
  ]
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`)
  for (const file of files.filter(file => existsSync(join(root, file)))) {
    hash.update(`\0${file}\0`).update(readFileSync(join(root, file)))
  }
  return hash.digest('hex')
}

function isInstalled() {
  return existsSync(record) && !existsSync(npmRecord) && readFileSync(record, 'utf8') === fingerprint()
}

function install() {
  let made
  return ensure('packages', {
    done: isInstalled,
    title: existsSync(join(modules, '.modules.yaml'))
      ? 'Packages have changed: installing…'
      : 'Setting up (first time): installing packages…',
    before() {
      made = fingerprint()
      rmSync(existsSync(npmRecord) ? modules : record, { recursive: true, force: true })
    },
    command: () => {
      const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
      return ['npx', '--yes', packageManager, 'install', '--frozen-lockfile', '--ignore-scripts']
    },
    // The age of every version was checked when it entered the lockfile; asking again doubles the time.
    env: { pnpm_config_minimum_release_age: '0' },
    after: () => writeFileSync(record, made),
  })
}

/** Where Node 24 or later is: the running one, or the one that came with the packages. */
function node24() {
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath
  const own = join(bin, 'node')
  if (existsSync(own)) return own
  console.error(
    `This needs Node 24 or later, and here is ${process.version}: install it from https://nodejs.org and try again.`,
  )
  process.exit(1)
}

function run(command, args) {
  const env = {
    // Node keeps what it compiled, and TypeScript without its types: the system starts in two thirds of the time.
    NODE_COMPILE_CACHE: join(modules, '.cache', 'node'),
    ...process.env,
    PATH: [bin, dirname(node24()), process.env.PATH].join(delimiter),
  }
  const child = spawn(command, args, { env, stdio: 'inherit' })
  child.on('error', error => {
    console.error(`${command}: ${error.code === 'ENOENT' ? 'no such command' : error.message}`)
    process.exit(127)
  })
  // Ctrl-C reaches the child from the terminal by itself; a second one could mean "at once" to it.
  process.on('SIGINT', () => isatty(0) || child.kill('SIGINT'))
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

// `npm install` comes by here as the `prepare` script and gets the right packages after all. So does
// `pnpm install`, which has put them there itself.
const { npm_lifecycle_event, npm_config_user_agent = '' } = process.env
const installedByPnpm = npm_lifecycle_event === 'prepare' && npm_config_user_agent.startsWith('pnpm')
if (!installedByPnpm) await install()

const [command, ...args] = process.argv.slice(2)
if (command !== undefined) run(command, args)
