// `npm run test:browser` runs the client in Chromium, in a page and in a worker, against the whole system. `npm test` does not
// need a browser.
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { existsSync, mkdtempDisposableSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Proof, verify } from '@w3filecoin/client'
import { startLocal } from '@w3filecoin/local'
import { buildPage } from '@w3filecoin/page/build'
import { build } from 'esbuild'
import { chromium, type Page } from 'playwright-core'
import { readOptions, TEXT } from '../options.ts'
import { readPage, snippetsIn } from '../snippets.ts'
import { check } from './check.ts'
import { checkPage } from './page.ts'

const HELP = `Runs @w3filecoin/client in Chromium, against the whole system.

  npm run test:browser

  --chromium PATH  the browser (default: /usr/bin/chromium; on Debian: apt-get install chromium)
  --help           print this
`

const { chromium: executablePath } = readOptions({
  script: 'test:browser',
  help: HELP,
  options: { chromium: TEXT.default('/usr/bin/chromium') },
})
if (!existsSync(executablePath)) {
  console.error(`There is no browser at ${executablePath}. Install Chromium, or pass --chromium.`)
  process.exit(1)
}

/** The program of a page or worker: `run` takes content to a deal, and returns what it saw. */
const program = `
  import { connect, verify } from '@w3filecoin/client'
  globalThis.run = async (url, text) => {
    const w3 = await connect(url)
    const file = new File([text], 'photo.jpg')
    const events = []
    const proof = await w3.add(file, { onProgress: ({ type, stage }) => events.push(stage ?? type) })
    const report = await verify(proof, { storefront: w3.did, file })
    return { agent: w3.agent, events, report, bytes: [...proof.bytes] }
  }
  globalThis.save = async (url, text) => {
    const w3 = await connect(url)
    await (await w3.add(new Blob([text]))).save('photo.jpg.w3proof')
  }
  globalThis.hasReceipt = async (url, task) => {
    const w3 = await connect(url)
    return [await w3.receipt(task), await w3.receipt(task)].map(receipt => receipt !== undefined)
  }
  globalThis.readKey = () =>
    new Promise((resolve, reject) => {
      const opening = indexedDB.open('w3filecoin')
      opening.onsuccess = () => {
        const reading = opening.result.transaction('keys').objectStore('keys').get('agent')
        reading.onsuccess = () => resolve(Object.values(reading.result.keys)[0].extractable)
      }
      opening.onerror = reject
    })
  globalThis.onmessage = async ({ data }) => {
    if (data.run) postMessage(await run(...data.run).catch(error => ({ failure: String(error) })))
  }
`

interface Outcome {
  agent: string
  events: string[]
  report: { storefront: string; file: string }
  bytes: number[]
}

const bundle = async (program: string) => {
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: fileURLToPath(new URL('..', import.meta.url)) },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  })
  return outputFiles[0]!.contents
}

const PAGE = '<!doctype html><script type="module" src="/program.js"></script>'

/** Serves a page, and the program. */
const serve = async (code: Uint8Array, html = PAGE) => {
  const server = createServer((request, response) => {
    const isProgram = request.url === '/program.js'
    response.writeHead(200, { 'content-type': isProgram ? 'text/javascript' : 'text/html' })
    response.end(isProgram ? code : html)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() }
}

/** Serves a storefront, but answers the first question for a receipt as if there was none, which a cache may repeat for hours. */
const serveLate = async (url: string) => {
  let isLate = true
  const server = createServer(async (request, response) => {
    const isReceipt = request.url!.startsWith('/receipt/')
    if (isReceipt && isLate) {
      isLate = false
      response.writeHead(404, { 'cache-control': 'public, max-age=10800', vary: 'Accept', ...ANY_ORIGIN })
      return response.end()
    }
    const answer = await fetch(new URL(request.url!, url), { headers: { accept: request.headers.accept! } })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type')!, ...ANY_ORIGIN })
    response.end(await answer.bytes())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() }
}

const ANY_ORIGIN = { 'access-control-allow-origin': '*' }

const checkOutcome = async ({ events, report, bytes, agent }: Outcome, did: string, text: string) => {
  match(agent, /^did:key:z4MX/)
  equal(report.file, 'same')
  equal(report.storefront, did)
  deepEqual([...new Set(events)].slice(0, 5), ['hashing', 'identified', 'uploading', 'uploaded', 'offered'])
  equal(events.at(-1), 'accepted')
  await verify(Uint8Array.from(bytes), { storefront: did, file: new Blob([text]) })
}

const open = async (page: Page, url: string) => {
  await page.goto(url)
  await page.waitForFunction('globalThis.run !== undefined')
}

using data = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
const local = await startLocal({
  data: data.path,
  everySeconds: 1,
  page: await buildPage(join(data.path, 'page')),
})
const site = await serve(await bundle(program))
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
try {
  const storefront = local.services.storefront!
  const page = await (await browser.newContext({ acceptDownloads: true })).newPage()
  const failures: string[] = []
  page.on('pageerror', error => failures.push(error.message))
  await open(page, site.url)
  const runInPage = (text: string) =>
    page.evaluate(`run(${JSON.stringify(storefront.url)}, ${JSON.stringify(text)})`) as Promise<Outcome>

  let first: Outcome
  await check('a page takes a file to a deal, and the proof is valid in Node too', async () => {
    first = await runInPage('content of a page')
    await checkOutcome(first, storefront.did, 'content of a page')
  })
  await check('the key stays in IndexedDB, cannot be exported, and is the same after a reload', async () => {
    equal(await page.evaluate('readKey()'), false)
    await open(page, site.url)
    const again = await runInPage('content of a page')
    equal(again.agent, first.agent)
    deepEqual(again.bytes, first.bytes)
  })
  await check('a receipt is found although the browser has a cached answer that there is none', async () => {
    const { task } = await Proof.read(Uint8Array.from(first.bytes))
    const late = await serveLate(storefront.url)
    deepEqual(await page.evaluate(`hasReceipt('${late.url}', '${task}')`), [false, true])
    late.close()
  })
  await check('save starts a download of the proof', async () => {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.evaluate(`save(${JSON.stringify(storefront.url)}, 'content of a page')`),
    ])
    equal(download.suggestedFilename(), 'photo.jpg.w3proof')
    const bytes = await readFile(await download.path())
    deepEqual([...(await Proof.read(bytes)).bytes], first.bytes)
  })
  await check('a worker takes content to a deal, with the key of the page', async () => {
    const answer = page.evaluate(`new Promise(resolve => {
      const worker = new Worker('/program.js', { type: 'module' })
      worker.onmessage = ({ data }) => resolve(data)
      worker.postMessage({ run: [${JSON.stringify(storefront.url)}, 'content of a worker'] })
    })`) as Promise<Outcome & { failure?: string }>
    const outcome = await answer
    equal(outcome.failure, undefined)
    await checkOutcome(outcome, storefront.did, 'content of a worker')
    equal(outcome.agent, first.agent)
  })
  await check('the page in docs/store-files.md keeps the proof of a chosen file', async () => {
    const { code } = snippetsIn(readPage('docs/store-files.md')).find(({ language }) => language === 'html')!
    const [element, script = ''] = /<script type="module">(.*)<\/script>/s.exec(code)!
    const built = await bundle(script.replace('http://127.0.0.1:4001', storefront.url))
    const html = code.replace(element, '<script type="module" src="/program.js"></script>')
    const documented = await serve(built, `<!doctype html>${html}`)
    await page.goto(documented.url)
    const downloading = page.waitForEvent('download')
    const buffer = Buffer.from('content of a chosen file')
    await page.setInputFiles('#file', { name: 'photo.jpg', mimeType: 'image/jpeg', buffer })
    const download = await downloading
    equal(download.suggestedFilename(), 'photo.jpg.w3proof')
    const bytes = await readFile(await download.path())
    await verify(bytes, { storefront: storefront.did, file: new Blob([buffer]) })
    equal(await page.textContent('#stage'), 'accepted')
    documented.close()
  })
  await checkPage({ browser, local, data: data.path })
  await check('the pages raised no errors', async () => ok(failures.length === 0, failures.join('\n')))
} finally {
  await browser.close()
  site.close()
  await local.stop()
}
process.exit()
