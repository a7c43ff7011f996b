import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { readOptions, refuseToRun, TEXT } from '../options.ts'
import type { Element } from './elements.ts'

const HELP = `Puts deliberate faults into a copy of the code, one at a time, and checks that the simulation notices each.

  npm run mutants -- [options]

  --only TEXT      only the faults whose description contains TEXT, e.g. --only retries
  --help           print this

Exit code 0 if every fault was noticed, 1 if one was missed, 2 if an option is wrong or selects no fault.
`

const { only = '' } = readOptions({ script: 'mutants', help: HELP, options: { only: TEXT.optional() } })

/** A fault that the simulation must notice: an unnoticed one shows a hole in the simulation or in its invariants. */
interface Mutant {
  /** Describes the fault, e.g. `seal newer pieces first`. */
  what: string
  /** The path below `packages`. */
  file: string
  /** Text that occurs once in the file, and its replacement. */
  from: string
  to: string
  /** The element of seeds that notice the fault. Without it, seeds choose their elements. */
  element?: Element
  /** Tests that notice the fault if the simulation does not, or takes long to. */
  tests?: string
}

const MUTANTS: Mutant[] = [
  {
    what: 'drop the condition of a seal',
    file: 'aggregator/src/consumers/seal.ts',
    from: 'current.sequence === group.sequence',
    to: 'true',
    tests: 'packages/aggregator/test/seal.test.ts',
  },
  {
    what: 'forget the pieces of open seals',
    file: 'aggregator/src/sealing/choose-pieces.ts',
    from: '!sealedBefore.has(id) && !taken.has(piece)',
    to: '!taken.has(piece)',
  },
  {
    what: 'seal newer pieces first',
    file: 'aggregator/src/sealing/choose-pieces.ts',
    from: 'for (const [n, row] of rows.entries()) {',
    to: 'for (const [n, row] of [...rows.entries()].reverse()) {',
    tests: 'packages/aggregator/test/aggregator.test.ts',
  },
  {
    what: 'answer a repeated offer without adding its piece to the list',
    file: 'aggregator/src/offers/enqueue-piece.ts',
    from: "if (offered.record.stage === 'pending')",
    to: 'if (offered.isNew)',
  },
  {
    what: 'add a piece to the list after its offer is answered',
    file: 'aggregator/src/offers/enqueue-piece.ts',
    from: 'await dependencies.list(message, offered)',
    to: 'void dependencies.list(message, offered).catch(() => {})',
  },
  {
    what: 'leave an idle group asleep when a piece is added to its list',
    file: 'aggregator/src/offers/list-pieces.ts',
    from: 'else if (known.idleSince !== undefined)',
    to: 'else if (known.idleSince === 0)',
    tests: 'packages/aggregator/test/forgotten-group.test.ts',
  },
  {
    what: 'mark a range as included before its pieces are',
    file: 'aggregator/src/consumers/include.ts',
    from: 'const entries = await readRange(stores, aggregate, range)',
    to: 'await update(stores.aggregate, { id: aggregate.id }, current => closeRange(current, range, now(), timing)); const entries = await readRange(stores, aggregate, range)',
  },
  {
    what: 'forget the sweep of the aggregates of the aggregator',
    file: 'aggregator/src/sweep.ts',
    from: 'resend: records => sendAll(queues, unfinished.aggregate.messages(records)),',
    to: 'resend: async () => {},',
  },
  {
    what: 'forget the sweep of the pieces of the storefront',
    file: 'storefront/src/sweep.ts',
    from: 'resend: records => sendAll(queues, unfinished.piece.messages(records)),',
    to: 'resend: async () => {},',
  },
  {
    what: 'swallow errors of a consumer',
    file: 'runtime/src/messages/consumer.ts',
    from: 'return { error: cause instanceof Error ? cause',
    to: 'return true ? DONE : { error: cause instanceof Error ? cause',
    tests: 'packages/runtime/test/records.test.ts',
  },
  {
    what: 'stop after the first conflict on a record',
    file: 'runtime/src/records/record.ts',
    from: 'const MAX_UPDATE_ATTEMPTS = 20',
    to: 'const MAX_UPDATE_ATTEMPTS = 1',
    tests: 'packages/runtime/test/records.test.ts',
  },
  {
    what: 'store the end of a piece without its receipt',
    file: 'storefront/src/workflow/end-piece.ts',
    from: 'await stores.receipts.putMany(\n    await Promise.all(ends.map(({ out }, n) => issueReceipt(id, accepts[n] as Task, { out }))),\n  )',
    to: 'await Promise.all(ends.map(({ out }, n) => issueReceipt(id, accepts[n] as Task, { out })))',
  },
  {
    what: 'let a later receipt of a task replace the first',
    file: 'runtime/src/receipts/receipt-log.ts',
    from: 'const inserted = await this.#table.insert(record)',
    to: 'await this.#table.putMany([record]); const inserted = { ok: record, error: undefined as never }',
    tests: 'packages/runtime/test/records.test.ts',
  },
  {
    what: 'forget the polls of groups with queued pieces',
    file: 'storefront/src/sweep.ts',
    from: 'resend: records => sendAll(queues, unfinished.group.messages(records)),',
    to: 'resend: async () => {},',
    tests: 'packages/storefront/test/poll.test.ts',
  },
  {
    what: 'write the offer document before the record',
    file: 'dealer/src/offers/offer-aggregate.ts',
    from: 'await stores.blocks.put(piecesBytes as Uint8Array, CBOR)',
    to: 'await stores.blocks.put(piecesBytes as Uint8Array, CBOR); await writeDocument(dependencies, newAggregate({ ...fields, id: aggregateId(fields) }, now(), timing), checked.ok)',
    tests: 'packages/dealer/test/failure.test.ts',
  },
  {
    what: 'retry a message because a service is unreachable',
    file: 'runtime/src/ucan/peer.ts',
    from: "return { error: failure('PeerUnreachable'",
    to: "throw cause; return { error: failure('PeerUnreachable'",
  },
  {
    what: 'mark retries as sent before they are',
    file: 'dealer/src/consumers/retry.ts',
    from: 'const ranges = await getValue<string[]>(stores.blocks, record.retriesCid as string)',
    to: 'await update(stores.aggregate, { id }, current => closeRange(current, range, now(), timing)); const ranges = await getValue<string[]>(stores.blocks, record.retriesCid as string)',
  },
  {
    what: 'retry an aggregate under the nonce of its first attempt',
    file: 'capabilities/src/tasks.ts',
    from: '  nonce === undefined ? `$',
    to: '  true ? `$',
  },
  {
    what: 'believe a file of deals that has shrunk',
    file: 'deal-tracker/src/domain/report-check.ts',
    from: 'if (lost > live * maxLossShare)',
    to: 'if (lost > live * 2)',
    tests: 'packages/deal-tracker/test',
  },
  {
    what: 'read only the first page of a list',
    file: 'aggregator/src/sealing/choose-pieces.ts',
    from: 'after = page.next',
    to: 'after = undefined',
  },
  {
    what: 'treat all ranges as included when one is',
    file: 'aggregator/src/domain/aggregate.ts',
    from: 'rangesToInclude: record.rangesToInclude.filter(open => open !== range)',
    to: 'rangesToInclude: []',
  },
  {
    what: 'treat all retries as sent when one range is',
    file: 'dealer/src/domain/aggregate.ts',
    from: 'rangesToRetry: record.rangesToRetry.filter(open => open !== range)',
    to: 'rangesToRetry: []',
  },
  {
    what: 'forget the next page of the pieces of an aggregate',
    file: 'storefront/src/consumers/outcome.ts',
    from: 'await queues.outcome.send([{ ...message, after: page.next }])',
    to: 'void page.next',
    tests: 'packages/storefront/test/storefront.test.ts',
  },
  {
    what: 'use the result of one run for an aggregate, instead of the filed receipt',
    file: 'dealer/src/settlement/settle-aggregate.ts',
    from: 'const receipt = await stores.receipts.put(await issueReceipt(id, accept, outcome))',
    to: 'const receipt = await issueReceipt(id, accept, outcome); await stores.receipts.put(receipt)',
    tests: 'packages/dealer/test/failure.test.ts',
  },
  {
    what: 'answer an offer without filing the receipt',
    file: 'storefront/src/handlers/filecoin-offer.ts',
    from: '{ keep: true }',
    to: '{ keep: false }',
  },
  {
    what: 'stop checking an aggregate that has ended',
    file: 'storefront/src/domain/aggregate.ts',
    from: '  ...record,\n  ...dueAt(record.id, now + pollMs),',
    to: '  ...record,\n  ...(now + pollMs > 0 ? notDue : {}),',
  },
  {
    what: 'rely on a check that is due soon for a piece that arrives late',
    file: 'storefront/src/domain/aggregate.ts',
    from: '(record.checkAt ?? 0) < now + timing.pollMs / 2',
    to: 'record.checkAt === undefined',
    tests: 'packages/storefront/test/domain.test.ts',
  },
  {
    what: 'accept damaged content as proof against the piece',
    file: 'storefront/src/content/read.ts',
    from: 'if (hash?.matches() === false)',
    to: 'if (hash?.matches() === null)',
  },
  {
    what: 'A1: fail an aggregate although a source of deals is blind',
    file: 'dealer/src/domain/deadline.ts',
    from: 'if (blind.length === 0) return undefined',
    to: 'if (blind.length >= 0) return undefined',
    element: 'blind-chain',
    tests: 'packages/dealer/test/verdict.test.ts',
  },
  {
    what: 'A1: count a run of a source as good before its deals are written',
    file: 'deal-tracker/src/domain/source.ts',
    from: 'record.rangesToWrite.length === 0 && isComplete(record)',
    to: 'isComplete(record)',
    tests: 'packages/deal-tracker/test/source.test.ts',
  },
  {
    what: 'A2: let any receipt of the dealer settle an aggregate',
    file: 'storefront/src/workflow/aggregate-outcome.ts',
    from: 'ran.cid}` !== task) {',
    to: 'ran.cid}` === "" || task === undefined) {',
    element: 'lies',
    tests: 'packages/storefront/test/promised-tasks.test.ts',
  },
  {
    what: 'A3: answer the offer of another aggregator or tenant with the first promise',
    file: 'dealer/src/domain/aggregate.ts',
    from: 'a.aggregator === b.aggregator && a.storefront === b.storefront && a.group === b.group',
    to: 'a !== undefined && b !== undefined',
    element: 'twins',
    tests: 'packages/dealer/test/verdict.test.ts',
  },
  {
    what: 'A4: accept an offer with a deal that is credited to another one',
    file: 'dealer/src/settlement/credit-deal.ts',
    from: 'return (inserted.ok ?? inserted.error.record).aggregateId === id',
    to: 'return inserted !== undefined',
    element: 'twins',
    tests: 'packages/dealer/test/verdict.test.ts',
  },
  {
    what: 'A4: treat a market id of 0 as a deal',
    file: 'deal-tracker/src/domain/deal.ts',
    from: "records.filter(({ place }) => place.type === 'market'),",
    to: 'records,',
    element: 'late-market-ids',
    tests: 'packages/deal-tracker/test/deal.test.ts',
  },
  {
    what: 'accept an aggregate with a place of a kind that the settings rule out',
    file: 'capabilities/src/live-places.ts',
    from: 'types.includes(place.type) && ',
    to: '',
    tests: 'packages/dealer/test/verdict.test.ts',
  },
  {
    what: 'A5: end an attempt with the outcome of an earlier one',
    file: 'storefront/src/domain/piece.ts',
    from: 'if (!canBecome(record, stage) || record.attempt !== attempt) return undefined',
    to: 'if (!canBecome(record, stage)) return undefined',
    element: 'late-content',
    tests: 'packages/storefront/test/offers.test.ts',
  },
  {
    what: 'A6: give a space the group of another one',
    file: 'storefront/src/workflow/offer-piece.ts',
    from: 'const group = row?.group ?? space.provider ?? defaultGroup',
    to: 'const group = defaultGroup',
    element: 'provider-changes',
    tests: 'packages/storefront/test/offers.test.ts',
  },
  {
    what: 'A7: trust a time that lies far ahead',
    file: 'runtime/src/records/sweep.ts',
    from: '  time > now + longestMs + CLOCK_TOLERANCE_MS',
    to: '  false && time > now + longestMs + CLOCK_TOLERANCE_MS',
    element: 'clocks',
    tests: 'packages/aggregator/test/clocks.test.ts',
  },
  {
    what: 'forget an address that did not take the receipt',
    file: 'storefront/src/consumers/notify.ts',
    from: 'if (problem === undefined) await remove(key)',
    to: 'if (problem !== null) await remove(key)',
  },
  {
    what: 'name an address in a workflow without its row',
    file: 'storefront/src/workflow/name-address.ts',
    from: 'await stores.listener.insert(newListener(listening, now(), timing.retryMs))',
    to: '',
  },
  {
    what: 'dialects: forget the sweep of translations',
    file: 'runtime/src/dialects/translation.ts',
    from: 'resend: records => sendAll({ translate: queue }, unfinishedTranslations.messages(records)),',
    to: 'resend: async () => {},',
    element: 'dialects',
  },
  {
    what: 'dialects: mark a translation as done before its receipt is stored',
    file: 'runtime/src/dialects/on-translate.ts',
    from: 'const filed = await receipts.put(',
    to: 'if (!offer) await update(translation, { id: record.id }, markDone)\n    const filed = await receipts.put(',
    element: 'dialects',
  },
  {
    what: 'dialects: promise an offer to the aggregator without making it',
    file: 'runtime/src/dialects/on-translate.ts',
    from: 'markFiled(current, offerTask, now(), timing.retryMs),',
    to: 'markFiled(current, offerTask && undefined, now(), timing.retryMs),',
    element: 'dialects',
  },
  {
    what: 'dialects: treat an offer without an answer as made',
    file: 'runtime/src/dialects/on-translate.ts',
    from: 'records.filter((_, n) => isAnswered[n]),',
    to: 'records.filter((_, n) => isAnswered[n] !== undefined),',
    element: 'dialects',
  },
  {
    what: 'dialects: issue aggregate/arrange before the dealer has answered',
    file: 'aggregator/src/dialects/translate.ts',
    from: 'return join && { outcome: { out: { ok }, fx: { join } } }',
    to: 'return { outcome: { out: { ok }, ...(join && { fx: { join } }) } }',
    element: 'dialects',
  },
  {
    what: 'dialects: leave the attempt out of a promise',
    file: 'storefront/src/dialects/handlers.ts',
    from: '...Tasks.factsOf({ group: distinctGroup(offered.ok.record), attempt }),',
    to: '...Tasks.factsOf({ group: distinctGroup(offered.ok.record) }),',
    element: 'dialects',
  },
  {
    what: 'dialects: give the promise of one workflow to another',
    file: 'runtime/src/dialects/promise-translation.ts',
    from: 'if (record?.subject === promise.subject)',
    to: 'if (record)',
    element: 'dialects',
  },
  {
    what: 'orders: ask a target before the order is recorded as asked',
    file: 'dealer/src/consumers/order.ts',
    from: 'const asked = await change(order, current => markAsked(current, target, now(), timing))',
    to: "await target.maker.advance({ ...order, aggregate: parsePieceLink(order.aggregate) }, 'https://dealer.test/early'); const asked = await change(order, current => markAsked(current, target, now(), timing))",
    element: 'orders',
  },
  {
    what: 'orders: send an order with another id after a lost answer',
    file: 'dealer/src/consumers/order.ts',
    from: '{ ...order, aggregate: parsePieceLink(aggregate) },',
    to: "{ ...order, id: order.progress?.includes('lost') ? order.offer : order.id, aggregate: parsePieceLink(aggregate) },",
    element: 'orders',
  },
  {
    what: 'orders: order a copy again while its order is in flight',
    file: 'dealer/src/domain/plan-orders.ts',
    from: ': isFinal(order)',
    to: ": isFinal(order) || (order.attempt === 0 && order.stage === 'storing')",
    element: 'orders',
  },
  {
    what: 'orders: let a place be that of every order',
    file: 'dealer/src/orders/claim-place.ts',
    from: 'return record?.orderId === id',
    to: 'return record !== undefined',
  },
  {
    what: 'orders: credit a sector to one aggregate only',
    file: 'dealer/src/domain/credit.ts',
    from: "parsePlaceKey(place)?.type === 'sector' ?",
    to: "aggregate === '' && parsePlaceKey(place)?.type === 'sector' ?",
    element: 'orders',
  },
  {
    what: 'orders: treat an order as lost while the sources of the chain are blind',
    file: 'dealer/src/domain/order.ts',
    from: '&& isKnownUntil({ asOf }, [type], deadline, now)',
    to: '&& isKnownUntil({ asOf }, [type], 0, now)',
    element: 'orders',
  },
  {
    what: 'orders: fail an aggregate whose orders are open',
    file: 'dealer/src/consumers/track.ts',
    from: 'explainOrders(orders, policy) ??',
    to: '(orders.length < 0 ? explainOrders(orders, policy) : undefined) ??',
    element: 'orders',
  },
  {
    what: 'orders: count each live copy twice',
    file: 'dealer/src/domain/credit.ts',
    from: 'claims.deals.filter(deal => !isReserved(deal, record, claims)).length',
    to: '2 * claims.deals.filter(deal => !isReserved(deal, record, claims)).length',
    element: 'orders',
  },
  {
    what: 'orders: hold a target that an operator has paused',
    file: 'dealer/src/orders/hold-target.ts',
    from: 'if (error && error.record.until !== undefined)',
    to: 'if (error)',
    element: 'orders',
  },
  {
    what: 'orders: remove a payload that an order needs',
    file: 'dealer/src/wholes/is-needed.ts',
    from: 'if (orders.some(needsWhole)) return true',
    to: 'if (orders.length < 0 && orders.some(needsWhole)) return true',
    element: 'orders',
  },
  {
    what: 'orders: keep a payload for ever',
    file: 'dealer/src/domain/whole.ts',
    from: "const due = stage === 'ready' ? dueAt(record.id, now + READY_CHECK_MS, 'waiting') : notDue",
    to: 'const due = notDue',
    element: 'orders',
  },
  {
    what: 'orders: do not renew a copy before its end',
    file: 'dealer/src/domain/plan-orders.ts',
    from: 'now >= last.endsAt - renewBeforeMs',
    to: 'now >= last.endsAt + renewBeforeMs',
    element: 'orders',
  },
  {
    what: 'orders: forget the sweep of orders',
    file: 'dealer/src/sweep.ts',
    from: 'resend: records => sendAll(queues, unfinished.order.messages(records)),',
    to: 'resend: async () => {},',
    element: 'orders',
  },
  {
    what: 'orders: forget the targets that came after the first copy of an offer',
    file: 'dealer/src/consumers/track.ts',
    from: 'if (hasTargets && orders.length === 0 && (await startOrders',
    to: 'if (hasTargets && !deal && orders.length === 0 && (await startOrders',
    element: 'orders',
    tests: 'packages/dealer/test/orders.test.ts',
  },
]

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Matches the output of a simulation or of tests that found something. */
const FOUND = /^\s*(?:[1-9][\d,]* (?:violations|differences)|Tests +\d+ failed)/m

/** Matches the first failure in that output: of a seed, of a crash point, or of a test. */
const FIRST_FAILURE = /^(?:seed .*|kill.*\n.*| *FAIL .*)$/m

/** Runs the simulation, or the tests, on a copy of the code with the fault in it. */
const tryMutant = ({ file, from, to, element, tests }: Mutant): { noticed: boolean; by: string } => {
  const copy = mkdtempSync(join(tmpdir(), 'w3filecoin-mutant-'))
  try {
    for (const part of ['packages', 'test', 'package.json', 'vitest.config.ts', 'tsconfig.json'])
      cpSync(join(root, part), join(copy, part), { recursive: true, verbatimSymlinks: true })
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    const path = join(copy, 'packages', file)
    const code = readFileSync(path, 'utf8')
    if (code.split(from).length !== 2) throw new Error(`${file} must contain this text exactly once: ${from}`)
    writeFileSync(
      path,
      code.replace(from, () => to),
    )
    const simulate = (...options: string[]) => [join(copy, 'test/simulation/main.ts'), ...options, '--stop']
    const ways = tests
      ? [[join(copy, 'node_modules/vitest/vitest.mjs'), 'run', tests]]
      : [
          simulate('--seeds', '300', ...(element ? ['--element', element] : [])),
          simulate('--crash-points', '--every', '3'),
        ]
    for (const way of ways) {
      const { status, signal, stdout, stderr } = spawnSync(process.execPath, way, {
        cwd: copy,
        encoding: 'utf8',
        timeout: 600_000,
      })
      if (status === 0) continue
      const output = stripVTControlCharacters(stdout)
      // A fault that keeps the code from running at all proves nothing about the simulation.
      if (signal) return { noticed: false, by: `${way[0]} took too long` }
      if (!FOUND.test(output)) throw new Error(`${way[0]} did not run:\n${output}\n${stderr}`)
      const failure = FIRST_FAILURE.exec(output)?.[0] ?? ''
      return { noticed: true, by: failure.replaceAll(/\s+/g, ' ').trim().slice(0, 110) }
    }
    return { noticed: false, by: '' }
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

const mutants = MUTANTS.filter(({ what }) => what.includes(only))
if (mutants.length === 0)
  refuseToRun(`--only selects no fault: no description contains ${JSON.stringify(only)}`)
let missed = 0
for (const mutant of mutants) {
  const startedAt = performance.now()
  const { noticed, by } = tryMutant(mutant)
  if (!noticed) missed += 1
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  process.stdout.write(`${noticed ? 'noticed' : 'MISSED '} ${`${seconds}`.padStart(4)} s  ${mutant.what}\n`)
  if (by) process.stdout.write(`                ${by}\n`)
}
process.stdout.write(`${mutants.length - missed} of ${mutants.length} were noticed\n`)
process.exitCode = missed === 0 ? 0 : 1
