// Runs sst.config.ts with the components of SST under the mocks of Pulumi, and sends its parent process each resource that
// `sst deploy` would register. Nothing leaves the machine. Its only argument is a `Request` as JSON.
//
// SST's command is written in Go. It bundles sst.config.ts twice, for `app` and for `run`, and answers the requests of the
// components over HTTP. This file does the same, see pkg/js, pkg/project and pkg/server of SST.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { recordResources } from './record.ts'
import type { Edit, Request, Stack } from './stack.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const platform = join(root, '.sst', 'platform')
const require = createRequire(join(platform, 'package.json'))
const esbuild = require('esbuild')

const { stage, settings, secrets, edits }: Request = JSON.parse(process.argv[2]!)
const work = mkdtempSync(join(tmpdir(), 'stacks-'))

async function synthesize(): Promise<Stack> {
  const app = await readApp()
  await serveComponents()
  process.env.SST_AWS_REGION = 'us-east-1'
  for (const [name, value] of Object.entries(secrets)) process.env[`SST_SECRET_${name}`] = value

  const run = await bundle(
    `import { run } from '${platform}/src/auto/run.ts'
     import config from '${root}sst.config.ts'
     export default await run(config.run)`,
    {
      globals: `import * as aws from '@pulumi/aws'; import * as sst from '${platform}/src/components';`,
      inject: [join(platform, 'src/shim/run.js')],
      define: {
        $app: JSON.stringify(app),
        $dev: 'false',
        $cli: JSON.stringify({
          command: 'deploy',
          dev: false,
          paths: { home: work, root, work, platform },
          state: { version: {} },
        }),
      },
    },
  )
  return { app, ...(await recordResources(app.name, stage, run)) }
}

/** Evaluates `app` of sst.config.ts, with the defaults of SST. */
async function readApp(): Promise<Stack['app']> {
  const load = await bundle(
    `import config from '${root}sst.config.ts'
     export default config.app({ stage: '${stage}' })`,
    { banner: 'function $config(config) { return config }' },
  )
  const app = (await load()).default as Stack['app']
  return { ...app, stage, removal: app.removal ?? 'retain' }
}

interface BundleOptions {
  banner?: string
  /** Code at the head of each file outside of the platform. */
  globals?: string
  inject?: string[]
  define?: Record<string, string>
}

/** Bundles code as SST does, and returns a function that imports the bundle. */
async function bundle(code: string, { banner = '', globals = '', ...options }: BundleOptions) {
  const outfile = join(platform, `check-${process.pid}-${performance.now()}.mjs`)
  await esbuild.build({
    ...options,
    stdin: { contents: code, resolveDir: root, sourcefile: 'eval.ts', loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    mainFields: ['module', 'main'],
    nodePaths: [join(platform, 'node_modules')],
    external: ['@pulumi/*', '@aws-sdk/*', 'undici', 'esbuild', 'archiver', 'glob', 'vite'],
    banner: {
      js: `import { createRequire as makeRequire } from 'node:module'
const require = makeRequire(import.meta.url)
const __filename = import.meta.filename, __dirname = import.meta.dirname
${banner}`,
    },
    logLevel: 'silent',
    plugins: [
      { name: 'sources', setup: (build: Build) => build.onLoad({ filter: /\.(ts|js)$/ }, load(globals)) },
    ],
  })
  return async () => {
    try {
      return await import(pathToFileURL(outfile).href)
    } finally {
      rmSync(outfile)
    }
  }
}

/** Loads a source file for esbuild: with the settings and the edits of the request, and with the globals of SST. */
const load =
  (globals: string) =>
  ({ path }: { path: string }) => {
    if (path.startsWith(join(root, '.sst'))) return undefined
    const text =
      path === join(root, 'stacks/settings.ts')
        ? `export const STAGES = ${JSON.stringify({ [stage]: settings })}`
        : edits.filter(({ file }) => path === join(root, file)).reduce(applyEdit, readFileSync(path, 'utf8'))
    return { contents: `${globals}\n${text}`, loader: 'default' }
  }

const applyEdit = (text: string, { file, from, to }: Edit): string => {
  if (text.split(from).length !== 2)
    throw new Error(`${file} must have the text of an edit exactly once: ${from}`)
  return text.replace(from, () => to)
}

/** Answers the requests that the components send to the command of SST. Functions are not built: they have no code. */
async function serveComponents() {
  const empty = join(work, 'empty')
  const answers: Record<string, (request: { handler: string; functionID: string }) => unknown> = {
    'Provider.Aws.Bootstrap': () => ({ version: 7, asset: 'assets', state: 'state' }),
    'Provider.Aws.Appsync': () => ({ http: 'https://events.invalid', realtime: 'wss://events.invalid' }),
    'Runtime.AddTarget': () => true,
    'Runtime.Build': ({ handler }) => {
      const file = handler.replace(/\.[^.]*$/, '.ts')
      return {
        // SST names the bundle of every function so.
        handler: handler.replace(/.*\./, 'bundle.'),
        out: empty,
        errors: existsSync(join(root, file)) ? [] : [`No such file: ${file}`],
        sourcemaps: [],
      }
    },
  }
  mkdirSync(empty)
  writeFileSync(join(empty, 'bundle.mjs'), '')
  const server = createServer(async (request, response) => {
    const { method, params } = JSON.parse(Buffer.concat(await request.toArray()).toString())
    const answer = answers[method]
    response.end(
      JSON.stringify(answer ? { result: answer(params[0]) } : { error: `rpc: can't find method ${method}` }),
    )
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  process.env.SST_SERVER = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

interface Build {
  onLoad: (filter: { filter: RegExp }, load: (file: { path: string }) => unknown) => void
}

const fail = (error: unknown) => {
  process.send!({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, () =>
    end(1),
  )
}

const end = (code: number) => {
  rmSync(work, { recursive: true, force: true })
  process.exit(code)
}

// Pulumi reports an error within `apply` as an unhandled rejection, and would wait forever for the value.
process.on('unhandledRejection', fail)
process.on('disconnect', () => end(1)) // the parent process has ended
synthesize().then(stack => process.send!({ stack }, () => end(0)), fail)
