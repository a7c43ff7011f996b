import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Message } from '@ucanto/core'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR } from '@ucanto/transport'
import {
  describePlace,
  type FilecoinInfoSuccess,
  type Place,
  type Tasks as TaskBuilders,
  Tasks,
  toMetadata,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { connect, identify, Proof, verify } from '@w3filecoin/client'
import type { Local } from '@w3filecoin/local'
import { issueReceipt } from '@w3filecoin/runtime'
import type { Browser, Page } from 'playwright-core'
import { check } from './check.ts'

/** A message in the form that `@ucanto/core` decodes it to. */
interface Messages {
  invocations: readonly Invocation[]
  get(task: string): Receipt
}

const decode = async (codec: { decode(message: never): unknown }, body: Uint8Array): Promise<Messages> =>
  (await codec.decode({ headers: { 'content-type': 'application/vnd.ipld.car' }, body } as never)) as Messages

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const PHONE = { width: 390, height: 844 }
const DESKTOP = { width: 1100, height: 900 }
const TEXT = 'content of a visitor'

const MARKET: Place = { type: 'market', dealID: 81_234_567 }
const SECTOR: Place = { type: 'sector', miner: 'f020378', sector: 77 }
const PDP: Place = { type: 'pdp', chain: 314, verifier: `0x${'ab'.repeat(20)}`, dataSet: 12, piece: 0 }

/** Checks the storefront's page: see docs/store-files.md. A folder in SCREENSHOTS gets a picture of each state. */
export const checkPage = async ({
  browser,
  local,
  data,
}: {
  browser: Browser
  local: Local
  /** The data directory of the local system. */
  data: string
}): Promise<void> => {
  const { url, key, did } = local.services.storefront!
  const storefront = ed25519.parse(key) as Signer
  const failures: string[] = []
  const context = await browser.newContext({ acceptDownloads: true, viewport: DESKTOP })
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])

  const open = async (path = '/') => {
    const page = await context.newPage()
    page.on('pageerror', error => failures.push(error.message))
    page.on('console', message => {
      if (/Content Security Policy/.test(message.text())) failures.push(message.text())
    })
    await page.goto(`${url}${path}`)
    return page
  }
  const show = (page: Page, words: string | RegExp) =>
    page.locator('#result').getByText(words).first().waitFor({ timeout: 30_000 })
  const choose = (page: Page, ...files: [name: string, bytes: Uint8Array | string][]) =>
    page.setInputFiles(
      '#chosen',
      files.map(([name, bytes]) => ({
        name,
        mimeType: 'application/octet-stream',
        buffer: Buffer.from(bytes),
      })),
    )
  /** No state of the page may have a fault that axe finds, on a desktop or a phone, light or dark. */
  const inspect = async (page: Page, name: string) => {
    for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE }))
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.setViewportSize(viewport)
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        if (process.env.SCREENSHOTS)
          await page.screenshot({
            path: `${process.env.SCREENSHOTS}/${name}-${size}-${colorScheme}.png`,
            fullPage: true,
          })
        await page.evaluate(axe)
        const { passes, violations } = (await page.evaluate(
          `axe.run().then(({ passes, violations }) => ({
            passes: passes.length,
            violations: violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html.slice(0, 120)).join(' | ')),
          }))`,
        )) as { passes: number; violations: string[] }
        ok(passes > 5, 'axe has checked nothing')
        deepEqual(violations, [], `${name}, ${size}, ${colorScheme}`)
        const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
        ok((overflow as number) <= 0, `${name} is ${overflow} pixels too wide for ${size}`)
      }
    await page.setViewportSize(DESKTOP)
  }

  let proof!: Proof
  await check('page: a file goes from the browser to a verified proof, followed live', async () => {
    const page = await open()
    match((await page.textContent('#service'))!, /Storefront/)
    await inspect(page, 'home')
    await choose(page, ['photo.jpg', TEXT])
    await show(page, 'Store photo.jpg')
    await inspect(page, 'store')
    await page.getByRole('button', { name: 'Store it on Filecoin' }).click()
    await page.waitForURL(/\/receipt\/bafy/)
    await show(page, 'Verified in this browser')
    await show(page, 'Stored on Filecoin')
    const abilities = await page.locator('.chain .ability').allTextContents()
    deepEqual(abilities, [
      'filecoin/submit',
      'piece/offer',
      'piece/accept',
      'aggregate/offer',
      'aggregate/accept',
      'filecoin/accept',
    ])
    equal(await page.locator('.chain .badge.verified').count(), 6)
    const downloading = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Download the proof' }).click()
    proof = await Proof.read(await readFile(await (await downloading).path()))
    await verify(proof, { storefront: did, file: new Blob([TEXT]) })
    await inspect(page, 'accepted')
    await page.reload()
    await show(page, 'Verified in this browser')
    await page.close()
  })

  await check('page: a proof is verified, with its file', async () => {
    const page = await open()
    await choose(page, ['photo.jpg.w3proof', proof.bytes], ['photo.jpg', TEXT])
    await show(page, 'Verified in this browser')
    await show(page, 'the file has this piece')
    await inspect(page, 'proof')
    await page.close()
  })

  const offered = async () => {
    const { content, piece } = await identify(new Blob([TEXT]))
    return { content, piece } as Parameters<typeof TaskBuilders.filecoinAccept>[1]
  }
  const issue = async ({ by = storefront, change = {} }: { by?: Signer; change?: object } = {}) => {
    const task = await Tasks.filecoinAccept(by, await offered())
    const out = { ok: { ...proof.receipt.out.ok, ...change } }
    return (await Proof.fromReceipt((await issueReceipt(by, task, { out })) as never)).bytes
  }
  const stranger = (await ed25519.generate()) as Signer
  const { inclusion, aux } = proof.receipt.out.ok!
  const [offset, path] = inclusion.subtree
  const other = path.map((node, n) => (n === 3 ? node.map(byte => byte ^ 1) : node))
  const forgeries: [string, () => Promise<Uint8Array>, RegExp][] = [
    [
      'a forged signature',
      () => issue({ by: stranger.withDID(did as never) as Signer }),
      /did not sign the receipt/,
    ],
    [
      'a forged path',
      () => issue({ change: { inclusion: { ...inclusion, subtree: [offset, other] } } }),
      /proof leads to/,
    ],
    [
      'a forged index entry',
      () => issue({ change: { inclusion: { ...inclusion, index: [1, inclusion.index[1]] } } }),
      /proof leads to/,
    ],
    ['another piece', () => issue({ change: { piece: proof.aggregate } }), /the receipt is for the piece/],
    ['no deal', () => issue({ change: { aux: { ...aux, dataSource: {} } } }), /names no place/],
    ...[MARKET, SECTOR, PDP].map((place): (typeof forgeries)[number] => [
      `a forged place of type ${place.type}`,
      () =>
        issue({
          by: stranger.withDID(did as never) as Signer,
          change: { aux: toMetadata(place, 6_543_210) },
        }),
      /did not sign the receipt/,
    ]),
    ...[SECTOR, PDP].map((place): (typeof forgeries)[number] => [
      `a malformed place of type ${place.type}`,
      () => {
        const { dataType, dataSource } = toMetadata(place, 6_543_210)
        return issue({ change: { aux: { dataType, dataSource: { ...dataSource, network: 'fil:x' } } } })
      },
      /names no place/,
    ]),
    ['a wrong storefront', () => issue({ by: stranger }), /it is about a task of/],
    ['a changed byte', async () => proof.bytes.map((byte, n) => (n === 200 ? byte ^ 1 : byte)), /not valid/],
  ]
  for (const place of [MARKET, SECTOR, PDP])
    await check(`page: a proof with a place of type ${place.type} is verified`, async () => {
      const page = await open()
      const bytes = await issue({ change: { aux: toMetadata(place, 6_543_210) } })
      await choose(page, ['photo.jpg.w3proof', bytes], ['photo.jpg', TEXT])
      await show(page, 'Verified in this browser')
      await show(page, describePlace(place))
      await inspect(page, `proof-${place.type}`)
      await page.close()
    })

  for (const [name, forge, reason] of forgeries)
    await check(`page: a proof with ${name} is shown as not verified`, async () => {
      const page = await open()
      await choose(page, ['photo.jpg.w3proof', await forge()], ['photo.jpg', TEXT])
      await show(page, 'This proof is not verified')
      await show(page, reason)
      equal(await page.locator('#result .badge.verified').count(), 0)
      if (name === 'a forged path') await inspect(page, 'forged')
      await page.close()
    })

  await check('page: a changed file is shown as another one', async () => {
    const page = await open()
    await choose(page, ['photo.jpg.w3proof', proof.bytes], ['other.jpg', 'other content'])
    await show(page, 'other.jpg is not the file of this proof')
    equal(await page.locator('#result .badge.verified').count(), 0)
    await page.close()
  })

  await check('page: forged receipts on the way are shown as not verified', async () => {
    const w3 = await connect(url, { signer: stranger })
    const info = await w3.info(proof.piece, { task: proof.task })
    const submit = await w3.receipt(`${info.task!.submit}`)
    const task = submit!.ran
    const forged = await issueReceipt(stranger.withDID(did as never) as Signer, task as never, {
      out: submit!.out,
    })
    const body = await CAR.response.encode((await Message.build({ receipts: [forged] as never })) as never)
    const page = await context.newPage()
    await page.route(`**/receipt/${info.task!.submit}`, route =>
      route.fulfill({
        status: 200,
        contentType: 'application/vnd.ipld.car',
        body: Buffer.from(body.body),
        headers: { 'access-control-allow-origin': '*' },
      }),
    )
    await page.goto(`${url}/receipt/${proof.task}`)
    await show(page, 'This receipt is not verified')
    equal(await page.locator('.chain li').first().locator('.badge.not-verified').count(), 1)
    await inspect(page, 'forged-chain')
    await page.close()
  })

  await check('page: a piece is shown with its aggregates and deals, and without its content', async () => {
    const page = await open(`/?of=${proof.piece}`)
    await show(page, 'The piece is in this aggregate')
    await show(page, `${proof.dealID}`)
    ok(!(await page.content()).includes(`${proof.content}`))
    await inspect(page, 'piece')
    await page.close()
  })

  /** Opens the page of the piece, where the storefront signs another answer to `filecoin/info`. */
  const openChanged = async (change: (info: FilecoinInfoSuccess) => object) => {
    const page = await context.newPage()
    await page.route(`${url}/`, async route => {
      const request = route.request()
      if (request.method() !== 'POST') return route.continue()
      const asked = await decode(CAR.request, request.postDataBuffer()!)
      const answer = await route.fetch()
      const told = await decode(CAR.response, await answer.body())
      const [ran] = asked.invocations
      const { ok: info } = told.get(`${ran!.cid}`).out as { ok: FilecoinInfoSuccess }
      const ok = { ...info, ...change(info) }
      const changed = await issueReceipt(storefront, ran as never, { out: { ok } })
      const { body } = await CAR.response.encode(
        (await Message.build({ receipts: [changed] as never })) as never,
      )
      return route.fulfill({ response: answer, body: Buffer.from(body) })
    })
    await page.goto(`${url}/?of=${proof.piece}`)
    return page
  }

  await check('page: an aggregate whose inclusion proof is forged is shown as not verified', async () => {
    const page = await openChanged(info => ({
      aggregates: info.aggregates.map(one => ({
        ...one,
        inclusion: { ...inclusion, subtree: [offset, other] },
      })),
    }))
    await show(page, 'The inclusion proof is not valid')
    equal(await page.locator('#result .badge.verified').count(), 0)
    await page.close()
  })

  await check('page: a piece is shown with its places other than deals', async () => {
    const { aggregate } = proof
    const known = { aggregate, provider: 'f020378', status: 'Active', epoch: 6_543_210 } as const
    const page = await openChanged(() => ({
      deals: [],
      places: [
        { ...known, type: 'sector', key: toPlaceKey(SECTOR), expiration: '2028-05-14T20:30:00.000Z' },
        { ...known, type: 'pdp', key: toPlaceKey(PDP), provider: 'pdp:3', faulty: true },
        { ...known, type: 'provider', key: 'f020378' },
      ],
    }))
    for (const place of [SECTOR, PDP]) await show(page, describePlace(place))
    await show(page, 'Active, misses proofs')
    await show(page, 'a place without a deal')
    await inspect(page, 'places')
    await page.close()
  })

  await check('page: an unknown task, and a text that is not a CID', async () => {
    const unknown = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
    const page = await open()
    await page.fill('#of', unknown)
    await page.keyboard.press('Enter')
    await show(page, 'Unknown task')
    equal(new URL(page.url()).pathname, `/receipt/${unknown}`)
    await inspect(page, 'unknown')
    await page.fill('#of', 'no CID')
    await page.keyboard.press('Enter')
    await show(page, 'This could not be read')
    await page.goBack()
    await show(page, 'Unknown task')
    await page.close()
  })

  await check('page: a service that is down, and that comes back', async () => {
    const page = await open()
    // A request that the storefront redirects to another service does not arrive.
    await page.route('**/receipt/*', async route => {
      const response = await route.fetch({ maxRedirects: 0 })
      return response.status() === 307 ? route.abort() : route.fulfill({ response })
    })
    await page.fill('#of', proof.task)
    await page.keyboard.press('Enter')
    await show(page, 'This receipt could not be read')
    await show(page, 'Verified in this browser')
    await inspect(page, 'aggregator-down')
    await page.route('**/receipt/**', route => route.abort())
    await page.fill('#of', proof.task)
    await page.keyboard.press('Enter')
    await show(page, 'This could not be read')
    await page.unrouteAll()
    await page.getByRole('button', { name: 'Try again' }).click()
    await show(page, 'Verified in this browser')
    await page.close()
  })

  await check('page: a keyboard reaches everything, and names have labels', async () => {
    const page = await open(`/receipt/${proof.task}`)
    await show(page, 'Verified in this browser')
    await page.keyboard.press('Tab')
    equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the result')
    await page.keyboard.press('Enter')
    equal(await page.evaluate('document.activeElement.id'), 'result')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    equal(await page.evaluate('navigator.clipboard.readText()'), proof.task)
    await page.close()
  })

  await check("page: the operator's page shows the services, and nothing without its key", async () => {
    const command = fileURLToPath(new URL('../../packages/cli/bin/w3fil', import.meta.url))
    const peer = (await ed25519.generate()).did()
    const args = ['storefront', 'add', peer, '--data', data, '--pieces-per-day', '1234']
    await promisify(execFile)(command, args)
    const process = spawn(command, ['ops', 'page', '--data', data, '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [line] = (await once(createInterface(process.stdout), 'line')) as [string]
      const address = new URL((JSON.parse(line) as { url: string }).url)
      match(address.host, /^127\.0\.0\.1:/)
      const page = await context.newPage()
      page.on('pageerror', error => failures.push(error.message))
      await page.goto(address.href)
      for (const title of ['Attention', 'Times of pieces', 'Sources of the deal tracker', 'Queues'])
        await show(page, title)
      await show(page, 'Peers in the table of the aggregator')
      await show(page, '0 of 1,234')
      await inspect(page, 'operator')
      for (const key of ['', '#wrong']) {
        const keyless = await context.newPage()
        await keyless.goto(`${address.origin}/${key}`)
        await show(keyless, 'The key is missing')
        ok(!(await keyless.content()).includes('Times of pieces'))
        if (key === '') await inspect(keyless, 'operator-without-key')
        equal((await fetch(`${address.origin}/status`)).status, 401)
        await keyless.close()
      }
      await page.close()
    } finally {
      process.kill()
    }
  })

  await check('page: the pages raised no errors, and kept to their content security policy', async () =>
    deepEqual(failures, []),
  )
  await context.close()
}
