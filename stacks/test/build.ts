import { spawn } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { STAGES } from '../settings.ts'
import { changedResources, listResources } from './list.ts'
import { KEYS, type Stack, synthesize } from './stack.ts'

/** The resources that SST registers for a stage. */
export type Registered = Pick<Stack, 'outputs' | 'resources'> & { app: Pick<Stack['app'], 'stage'> }

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The greatest duration of a build. It takes about 80 s of processor time. */
const TIMEOUT_MS = 600_000

/** Returns the archive that SST uploads as the code of a function. `name` is that of its component, e.g. `StorefrontSubmit`. */
export const zipOf = (name: string): string => join(root, '.sst', 'artifacts', name, 'code.zip')

/**
 * Builds every function of a stage with SST itself: `sst diff`, with stand-ins for the two services that it needs, AWS and the
 * command of Pulumi. Returns the resources that SST would register. SST runs `npm install` for each function that has native code.
 *
 * Rejects with the output of SST if a function cannot be built.
 */
export const buildFunctions = async (stage: string): Promise<Registered> => {
  const home = mkdtempSync(join(tmpdir(), 'sst-'))
  const aws = await serveAws()
  const typed = findTypes()
  try {
    // SST runs the Pulumi that it has downloaded into its directory.
    const bin = join(home, 'sst', 'bin')
    const stack = join(home, 'stack.json')
    mkdirSync(bin, { recursive: true })
    const pulumi = fileURLToPath(new URL('pulumi.ts', import.meta.url))
    writeFileSync(join(bin, 'pulumi'), `#!/bin/sh\nexec '${process.execPath}' '${pulumi}' "$@"\n`, {
      mode: 0o755,
    })
    await runSst(['diff', '--json', '--stage', stage], {
      XDG_CONFIG_HOME: home,
      STACK_FILE: stack,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'stand-in',
      AWS_SECRET_ACCESS_KEY: 'stand-in',
      AWS_ENDPOINT_URL: aws.url,
      SST_SKIP_DEPENDENCY_CHECK: '1',
      SST_NO_BUN: '1',
      SST_TELEMETRY_DISABLED: '1',
      // npm asks the registry about one package for each of 25 functions. Its cache has the answer of the first one.
      npm_config_prefer_offline: 'true',
      ...Object.fromEntries(Object.entries(KEYS).map(([name, key]) => [`SST_SECRET_${name}`, key])),
    })
    return { app: { stage }, ...JSON.parse(readFileSync(stack, 'utf8')) }
  } finally {
    aws.stop()
    rmSync(home, { recursive: true, force: true })
    for (const file of findTypes()) if (!typed.includes(file)) rmSync(file)
  }
}

/** Returns the files of types that SST writes beside each package.json. The published client must not contain one. */
const findTypes = () =>
  globSync(`{.,*,packages/*,packages/client/src}/sst-env.d.ts`, { cwd: root }).map(file => join(root, file))

/** Returns a line for each resource that SST registers with other properties than `synthesize` yields, for the same settings. */
export const compareStacks = async (registered: Registered): Promise<string[]> => {
  const { stage } = registered.app
  const synthesized = await synthesize(stage, STAGES[stage] ?? {})
  return changedResources(
    listResources([synthesized]),
    listResources([{ ...synthesized, ...registered, app: synthesized.app }]),
  ).map(name => `SST registers ${name} with other properties than stacks/test/synthesize.ts yields`)
}

const runSst = (args: string[], env: Record<string, string>) =>
  new Promise<void>((resolve, reject) => {
    const child = spawn('sst', args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
    })
    const kill = () => child.kill()
    process.once('exit', kill)
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', text => {
        output += text
      })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      process.off('exit', kill)
      if (code === 0) resolve()
      else reject(new Error(`sst ${args.join(' ')} ended with ${signal ?? code}:\n${output}`))
    })
  })

/** Answers the requests of SST: where its assets and its state are, and that there is no state yet. */
const serveAws = async () => {
  const parameters = new Map([
    [
      '/sst/bootstrap',
      // A later version than SST's, so that it creates nothing.
      JSON.stringify({
        version: 99,
        asset: 'assets',
        assetEcrRegistryId: '0',
        assetEcrUrl: '-',
        state: 'state',
        appsyncHttp: '-',
        appsyncRealtime: '-',
      }),
    ],
  ])
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString()
    const json = (status: number, answer: object) =>
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(answer))
    switch (request.headers['x-amz-target']) {
      case 'AmazonSSM.GetParameter': {
        const { Name } = JSON.parse(body)
        const Value = parameters.get(Name)
        return Value === undefined
          ? json(400, { __type: 'ParameterNotFound' })
          : json(200, { Parameter: { Name, Value, Type: 'String' } })
      }
      case 'AmazonSSM.PutParameter': {
        const { Name, Value } = JSON.parse(body)
        parameters.set(Name, Value)
        return json(200, { Version: 1 })
      }
      default:
        // S3 has no object.
        response
          .writeHead(404, { 'content-type': 'application/xml' })
          .end('<Error><Code>NoSuchKey</Code></Error>')
    }
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
