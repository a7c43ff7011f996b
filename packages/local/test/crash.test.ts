import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { queueUrl } from '../src/provision.ts'
import type { TableEngine } from '../src/table-engine.ts'
import { readSeen, temporaryDirectory } from './echo/index.ts'
import { eventually } from './eventually.ts'

const START = fileURLToPath(new URL('./echo/start.ts', import.meta.url))

/** Parts of a crash that `test/crash.test.ts` does not cover with the whole system. */
describe('a system that is killed', () => {
  let directory: ReturnType<typeof temporaryDirectory>
  let systems: ChildProcess[] = []

  beforeEach(() => {
    directory = temporaryDirectory()
  })
  afterEach(async () => {
    await Promise.all(systems.map(kill))
    systems = []
    directory[Symbol.dispose]()
  })

  const data = () => join(directory.path, 'data')
  const seen = () => join(directory.path, 'seen')
  const engine = () => Number(readFileSync(join(data(), 'dynamodb.pid'), 'utf8'))

  const start = async (engine: TableEngine = 'sqlite') => {
    const child = spawn(process.execPath, [START, data(), seen(), engine], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    systems.push(child)
    const [line] = await once(child.stdout, 'data')
    return { child, ...(JSON.parse(`${line}`) as { url: string; did: string; sqs: string }) }
  }
  const kill = async (child: ChildProcess) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  const isRunning = (pid: number) => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }

  it.skipIf(`${process.platform}-${process.arch}` !== 'linux-x64')('leaves no engine running', async () => {
    const { child } = await start('dynamodb')
    const pid = engine()
    expect(isRunning(pid)).toBe(true)
    await kill(child)
    await eventually('the end of the engine', () => !isRunning(pid))
  })

  it('retries a message in flight at once', async () => {
    const { child, sqs: endpoint } = await start()
    const sqs = new SQSClient({
      region: 'us-east-1',
      endpoint,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    })
    const QueueUrl = queueUrl(endpoint, 'echo-take-note')
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: '{"never":true}' }))
    const taken = () => readSeen(seen()).filter(what => 'queue' in what).length
    await eventually('the run of the function', () => taken() === 1)
    await kill(child)
    await start()
    await eventually('another run', () => taken() === 2, { seconds: 15 })
  })
})
