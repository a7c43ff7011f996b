// Runs every npm script: installs the packages if necessary, then runs a command with Node 24.
//
//   node scripts/run.mjs                     only installs
//   node scripts/run.mjs COMMAND [ARGS...]   installs, then runs COMMAND from node_modules/.bin or PATH
//   node scripts/run.mjs --environment       installs, then prints the environment of a command, for scripts/run
//
// It runs before the packages are installed, and on Node 20. So it is plain JavaScript without dependencies.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { isatty } from 'node:tty'
import { ensure, root } from './setup.mjs'

const modules = join(root, 'node_modules')
const bin = join(modules, '.bin')

/** Written after an install: the fingerprint of the files that node_modules was installed from. */
const record = join(modules, '.installed-from')
/** Written by npm: npm installed node_modules, which then lacks the dependencies of the workspace's packages. */
const npmRecord = join(modules, '.package-lock.json')

/** Hashes the files that determine the result of an install: lockfile and manifests. Returns hexadecimal. */
function computeFingerprint() {
  const folders = [
    '.',
    'stacks',
    'test',
    'bench',
    'scripts/api-reference',
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
  return existsSync(record) && !existsSync(npmRecord) && readFileSync(record, 'utf8') === computeFingerprint()
}

function install() {
  let fingerprint
  return ensure('packages', {
    done: isInstalled,
    title: existsSync(join(modules, '.modules.yaml'))
      ? 'Packages have changed: installing…'
      : 'Setting up (first time): installing packages…',
    before() {
      fingerprint = computeFingerprint()
      rmSync(existsSync(npmRecord) ? modules : record, { recursive: true, force: true })
    },
    command: () => {
      const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
      // With --package, because an outer npx (`npx -p node@22 npm start`) leaves its own packages in the environment.
      const pnpm = ['npx', '--yes', '--package', packageManager, 'pnpm']
      return [...pnpm, 'install', '--frozen-lockfile', '--ignore-scripts']
    },
    // pnpm checked the age of each version when it entered the lockfile. A second check doubles the time of an install.
    env: { pnpm_config_minimum_release_age: '0' },
    after: () => {
      linkCommand()
      writeFileSync(record, fingerprint)
    },
  })
}

/**
 * Makes `npx w3fil` run the command of this repository. A dependency of the root on packages/cli would do the same, but npm
 * cannot install it.
 */
function linkCommand() {
  const path = join(bin, 'w3fil')
  rmSync(path, { force: true })
  symlinkSync(join('..', '..', 'packages', 'cli', 'bin', 'w3fil'), path)
}

/**
 * Finds Node 24 or later: the running one, or the one installed with the packages. Returns its path. A distribution may build
 * Node without node:sqlite.
 */
function findNode24() {
  const [major] = process.versions.node.split('.')
  const isNode24 = Number(major) >= 24
  // Node 22 warns on the terminal when it loads the module.
  const hasSqlite = isNode24 && process.getBuiltinModule('node:sqlite') !== undefined
  if (hasSqlite) return process.execPath
  const own = join(bin, 'node')
  if (existsSync(own)) return own
  console.error(
    `This repository needs Node 24 or later with node:sqlite, but this is ${process.version}${isNode24 ? ' without it' : ''}. Install it from https://nodejs.org and try again.`,
  )
  process.exit(1)
}

/** Returns the variables with which a command runs, in addition to those of this process. */
function computeEnvironment() {
  return {
    // Node caches compiled code and stripped TypeScript here: the system starts with two thirds of the processor time.
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(modules, '.cache', 'node'),
    PATH: [bin, dirname(findNode24()), process.env.PATH].join(delimiter),
  }
}

function run(command, args) {
  const env = { ...process.env, ...computeEnvironment() }
  const child = spawn(command, args, { env, stdio: 'inherit' })
  child.on('error', error => {
    console.error(`${command}: ${error.code === 'ENOENT' ? 'command not found' : error.message}`)
    process.exit(127)
  })
  // The terminal sends Ctrl-C to the child too. Do not send it twice: a second one may make the child stop at once.
  process.on('SIGINT', () => isatty(0) || child.kill('SIGINT'))
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

// Both `npm install` and `pnpm install` run this file as the `prepare` script. After npm, install the packages with pnpm;
// after pnpm, they are installed already.
const { npm_lifecycle_event, npm_config_user_agent = '' } = process.env
const installedByPnpm = npm_lifecycle_event === 'prepare' && npm_config_user_agent.startsWith('pnpm')
if (installedByPnpm) linkCommand()
else await install()

const [command, ...args] = process.argv.slice(2)
if (command === '--environment') {
  for (const [name, value] of Object.entries(computeEnvironment()))
    console.log(`export ${name}='${value.replaceAll("'", `'\\''`)}'`)
} else if (command !== undefined) run(command, args)
