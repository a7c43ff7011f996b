import { execFile, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { PieceLink } from '@w3filecoin/capabilities'
import { aggregator, decodeDelegation, identify, openSigner, Proof, verify } from '@w3filecoin/client'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { randomContent } from './content.ts'
import { joinSnippets, readPage, type Snippet, snippetsIn } from './snippets.ts'
import { useSystem } from './system.ts'

/**
 * The code of the documentation, run against the running system as a reader would run it. The blocks `js` of a page are one
 * program, in their order, except that a block whose first line names a file is that file. The blocks `sh` run in the same
 * directory, which lies beside a directory with the data of the system. Every other block with a language says why it is not run.
 */
const PAGES = [
  'README.md',
  'docs/store-files.md',
  'docs/run-a-storefront.md',
  'docs/operations.md',
  'docs/deploy.md',
  'docs/performance.md',
  'packages/client/README.md',
]

const root = fileURLToPath(new URL('..', import.meta.url))
const home = mkdtempSync(join(tmpdir(), 'documentation-'))
/** The directory of a reader, and the clone of this repository beside it. */
const reader = join(home, 'reader')
const clone = join(home, 'w3filecoin')

/** The address of the reader's storefront: a port that is free now. */
const port = await new Promise<number>(resolve => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address() as { port: number }
    server.close(() => resolve(port))
  })
})
await mkdir(reader)

const system = useSystem()
const { at } = system

/** Replaces the addresses of `npm start`, and that of the reader's storefront, by those of this system. */
const localize = (code: string): string =>
  ['storefront', 'aggregator', 'dealer', 'dealTracker'].reduce(
    (code, role, n) => code.replaceAll(`http://127.0.0.1:${4001 + n}`, at(role).url),
    code
      .replace('listen(8080,', `listen(${port},`)
      .replace('http://127.0.0.1:8080', `http://127.0.0.1:${port}`),
  )

/** The environment of a reader, without the settings of this process. */
const environment = {
  PATH: `${join(home, 'bin')}:${process.env.PATH}`,
  HOME: reader,
  XDG_CONFIG_HOME: join(reader, '.config'),
}

const run = async (file: string, args: string[]): Promise<string> => {
  const options = { cwd: reader, env: environment, timeout: 150_000 }
  const { stdout, stderr } = await promisify(execFile)(file, args, options)
  expect(stderr).toBe('')
  return stdout
}

const runnable = (page: string, language: string): Snippet[] =>
  snippetsIn(readPage(page)).filter(snippet => snippet.language === language && !snippet.notRun)

/** Runs the blocks `js` of a page as one program. Returns its output. */
const runProgram = async (page: string): Promise<string> => {
  const files = runnable(page, 'js')
  for (const { file, code } of files) if (file) await writeFile(join(reader, file), localize(code))
  const program = join(reader, 'page.mjs')
  await writeFile(program, localize(joinSnippets(files.filter(({ file }) => !file))))
  return run(process.execPath, [program])
}

/** Runs the blocks `sh` of a page, or those that `isRun` accepts. Returns their output. */
const runShell = async (page: string, isRun = (_: Snippet) => true): Promise<string> => {
  const outputs: string[] = []
  for (const { code } of runnable(page, 'sh').filter(isRun))
    outputs.push(await run('sh', ['-euc', localize(code)]))
  return outputs.join('\n')
}

/** Runs the blocks `js` of a page, and then its blocks `sh`. Returns the output of both. */
const runPage = async (page: string): Promise<string> => `${await runProgram(page)}\n${await runShell(page)}`

const link = async (target: string, path: string) => {
  await mkdir(join(path, '..'), { recursive: true })
  await symlink(target, path)
}

beforeAll(async () => {
  await link(system.data, join(clone, '.w3filecoin'))
  await link(join(root, 'packages/client/src'), join(reader, 'node_modules/@w3filecoin/client'))
  for (const name of [
    '@storacha/filecoin-client',
    '@ucanto/client',
    '@ucanto/principal',
    '@ucanto/transport',
    'multiformats',
  ])
    await link(join(root, 'test/node_modules', name), join(reader, 'node_modules', name))
  for (const name of ['photo.jpg', 'other.jpg'])
    await writeFile(join(reader, name), (await randomContent(40_000)).bytes)
  await mkdir(join(home, 'bin'))
  await writeFile(
    join(home, 'bin', 'npx'),
    `#!/bin/sh
[ "$1" = w3fil ] || { echo "npx $* is not run: mark its block" >&2; exit 1; }
shift
exec "${process.execPath}" "${join(root, 'packages/cli/src/main.ts')}" "$@"
`,
    { mode: 0o755 },
  )
  // `npm run ops` of a clone whose system has this data. Exit code 3 means that something was found.
  await writeFile(
    join(home, 'bin', 'npm'),
    `#!/bin/sh
[ "$1 $2 $3" = "run ops --" ] || { echo "npm $* is not run: mark its block" >&2; exit 1; }
shift 3
"${process.execPath}" "${join(root, 'packages/cli/src/main.ts')}" ops "$@" --data "${system.data}" || [ $? = 3 ]
`,
    { mode: 0o755 },
  )
})
afterAll(() => rm(home, { recursive: true, force: true }))

test.each(PAGES)('%s has no block of code without a test or a reason', page => {
  const left = snippetsIn(readPage(page)).filter(
    ({ language, notRun }) => !notRun && !['', 'js', 'sh', 'json'].includes(language),
  )
  expect(left.map(({ line, language }) => `line ${line}: ${language}`)).toEqual([])
  for (const { code } of runnable(page, 'json')) JSON.parse(code)
})

/** Reads the proof that a page kept, and verifies it. Removes it, so that it is not that of an earlier page. */
const takeProof = async () => {
  const path = join(reader, 'photo.jpg.w3proof')
  const proof = await Proof.read(path)
  const report = await verify(proof, { storefront: at('storefront').did, file: join(reader, 'photo.jpg') })
  expect(report.file).toBe('same')
  await rm(path)
  return proof
}

test('README.md: a program of at most five lines takes a file to a proof', async () => {
  const [program] = runnable('README.md', 'js')
  expect(program!.code.trim().split('\n').length).toBeLessThanOrEqual(5)
  await runPage('README.md')
  const { content, piece } = await takeProof()
  // Another page continues from a journey of `npm start`.
  const journey = [{ file: 'photo.jpg', content: `${content}`, piece: `${piece}` }]
  await writeFile(join(system.data, 'journey.json'), JSON.stringify(journey))
})

test('packages/client/README.md: a program takes a file to a proof, and verifies it', async () => {
  expect(await runPage('packages/client/README.md')).toContain("file: 'same'")
  await takeProof()
})

test('docs/store-files.md: a user adds a file, resumes, verifies offline, and acts for a space; a published client offers', async () => {
  const output = await runPage('docs/store-files.md')
  for (const text of [
    "stage: 'aggregated'",
    'TimeoutError',
    'That the storage provider serves',
    'Active f0',
    'InvalidSource',
    '\ntrue\n',
    'filecoin/accept {',
  ])
    expect(output).toContain(text)
  await takeProof()
  expect((await stat(join(reader, '.config/w3filecoin/agent.key'))).mode & 0o777).toBe(0o600)
})

test('docs/run-a-storefront.md: a storefront with a new key is listed, offers 1,000 pieces, verifies their proofs, receives their receipts, and is refused within a minute after it is removed', async () => {
  const page = 'docs/run-a-storefront.md'
  const pieces = 1_000
  await mkdir(join(reader, 'photos'))
  for (let n = 0; n < pieces; n++)
    await writeFile(join(reader, 'photos', `${n}.jpg`), `photo ${n}`.repeat(20))
  const lastProgram = runnable(page, 'js').at(-1)!.line
  // The shell creates the key, and lists the storefront.
  const shell = await runShell(page, ({ line }) => line < lastProgram)
  const [did] = /^did:key:z6Mk\w+$/m.exec(shell)!
  expect(shell).toContain(`${did} is now in storefronts of the aggregator`)
  const { file, code } = runnable(page, 'js').find(({ file }) => file)!
  await writeFile(join(reader, file!), localize(code))
  const receiver = spawn(process.execPath, [file!], { cwd: reader, env: environment })
  let received = ''
  for (const stream of [receiver.stdout, receiver.stderr])
    stream.setEncoding('utf8').on('data', text => {
      received += text
    })
  try {
    const output = await runProgram(page)
    for (const text of [
      did,
      'queued, task bafyrei',
      'is in bafkzci',
      'has deal 1',
      'the piece is in the aggregate',
    ])
      expect(output).toContain(text)
    expect(output).not.toContain('failed')
    const count = (text: string, pattern: RegExp) => new Set(text.match(pattern)).size
    expect(count(output, /^bafkzci\w+ has deal \d+$/gm)).toBe(pieces)
    expect(output.match(/^the piece is in the aggregate$/gm)).toHaveLength(pieces)
    // The receiver verifies the proof in each receipt. A message with 50 of them is delivered once, and on a busy machine it may be
    // too late: the program has fetched all of them.
    const wait = { timeout: 60_000, interval: 500 }
    const delivered = () => count(received, /^piece\/accept bafyrei\w+ ok$/gm)
    await vi.waitFor(() => expect(delivered()).toBeGreaterThan(pieces - 3 * 50), wait)
    await vi.waitFor(() => expect(received).toMatch(/^aggregate\/accept bafyrei\w+ ok$/m), wait)
  } finally {
    receiver.kill()
  }
  expect(await runShell(page, ({ line }) => line > lastProgram)).toContain(did)
  const w3 = await aggregator(at('aggregator').url, {
    signer: await openSigner(join(reader, 'storefront.key')),
  })
  const { piece } = await identify(new Blob(['a piece after the removal']))
  await vi.waitFor(
    async () => {
      const { out } = await w3.invoke('piece/offer', { piece: piece as PieceLink, group: 'removed' })
      expect(out.error?.name).toBe('UnknownStorefront')
    },
    { timeout: 60_000, interval: 1_000 },
  )
}, 400_000)

test('docs/operations.md: an operator finds nothing to repair', async () => {
  expect(await runPage('docs/operations.md')).toContain('No dead letters')
})

test('docs/deploy.md: an operator creates keys and a delegation, and the doctor finds the system well', async () => {
  const output = await runPage('docs/deploy.md')
  const keys = 'trial-keys'
  const dids = output.match(/^did:key:z6Mk\w+$/gm)!
  // Of four keys; one is shown again, a new one is created, and the present one is shown.
  expect([dids.length, new Set(dids).size]).toEqual([7, 5])
  expect((await stat(join(reader, keys, 'dealer.key'))).mode & 0o777).toBe(0o600)
  expect((await stat(join(reader, keys))).mode & 0o777).toBe(0o700)
  const aggregator = await openSigner(join(reader, keys, 'aggregator.key'))
  const delegation = await decodeDelegation(await readFile(join(reader, 'storefront.delegation')))
  expect([delegation.issuer.did(), delegation.audience.did()]).toEqual([aggregator.did(), dids[0]])
  expect(delegation.capabilities.map(({ can }) => can)).toEqual(['piece/offer', 'piece/info'])
  for (const service of ['storefront', 'aggregator', 'dealer', 'deal-tracker'])
    expect(output).toMatch(new RegExp(`^✓ ${service} +identity `, 'm'))
})

test('docs/deploy.md names the check that stands in for each command that needs AWS', () => {
  const reasons = snippetsIn(readPage('docs/deploy.md')).flatMap(({ notRun }) => notRun ?? [])
  const ofAws = reasons.filter(reason => reason.includes('AWS account'))
  expect(ofAws.length).toBeGreaterThan(8)
  for (const reason of ofAws) expect(reason).toMatch(/Checked instead: \S/)
})

test('every relative link of the documentation leads to a file, and to a heading of it', async () => {
  const { stdout } = await promisify(execFile)(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'],
    { cwd: root },
  )
  const broken: string[] = []
  const headings = new Map<string, Set<string>>()
  const headingsOf = async (path: string) => {
    const known = headings.get(path) ?? anchorsIn(await readFile(path, 'utf8'))
    headings.set(path, known)
    return known
  }
  for (const page of stdout.trim().split('\n')) {
    const markdown = (await readFile(join(root, page), 'utf8')).replaceAll(
      /^```[\s\S]*?^```$|`[^`\n]*`/gm,
      '',
    )
    for (const [, target = ''] of markdown.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [file = '', anchor] = target.split('#')
      const path = file === '' ? join(root, page) : join(root, page, '..', file)
      const exists = await stat(path).catch(() => undefined)
      if (!exists || (anchor !== undefined && !(await headingsOf(path)).has(anchor)))
        broken.push(`${page}: ${target}`)
    }
  }
  expect(broken).toEqual([])
})

/** The anchors that GitHub gives to the headings of a page, and those that the page sets. */
const anchorsIn = (markdown: string): Set<string> => {
  const anchors = new Set<string>()
  for (const [, heading, id] of markdown.matchAll(/^#+ (.+)$|<a id="(.+?)"/gm)) {
    const slug =
      id ??
      heading!
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-')
    let anchor = slug
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`
    anchors.add(anchor)
  }
  return anchors
}
