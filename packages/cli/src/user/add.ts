import { join, resolve } from 'node:path'
import { type AddEvent, describePlace, parsePlaceKey, type Storefront, toPlaceKey } from '@w3filecoin/client'
import pLimit from 'p-limit'
import type { Context } from '../context.ts'
import { CommandError, hintOf, type Outcome, type Reason, toReason, usageError } from '../outcome.ts'
import { bytes, duration, shortenPlace, shownPath, table } from '../text.ts'
import { type ConnectionOptions, connectToStorefront } from './connection.ts'
import { findFiles, type NamedFile, PROOF_ENDING } from './files.ts'
import { Followed } from './followed.ts'
import { Progress } from './progress.ts'
import { prepareDirectoryOf, save } from './save.ts'
import { describeStage } from './stage-words.ts'

export interface AddOptions extends ConnectionOptions {
  proofs?: string
  /** A URL template; `false`: the storefront can read the content already. */
  upload?: string | false
  nonce?: string
  receiptsTo?: string
  wait: boolean
}

/** Files that are read and uploaded concurrently. */
const MAX_READERS = 2

const OTHERWISE = 'pass another directory with --proofs'

interface Added extends NamedFile {
  proofPath: string
}

/** A file in the result. */
export type AddedFile =
  | ({ file: string; ok: true } & AddedFacts)
  | ({ file: string; ok: false; error: { code: string; message: string } } & Partial<AddedFacts>)

interface AddedFacts {
  bytes: number
  content: string
  piece: string
  /** CID of the task that ends with the proof. */
  task: string
  aggregate?: string
  /** Id of the deal; absent for another kind of place. */
  deal?: number | undefined
  /** Key of the place of the aggregate on chain, e.g. `81234567` for a deal, or `sector:f020378/77`. */
  place?: string | undefined
  /** Path of the proof. */
  proof?: string
}

/** Has files stored, and saves their proofs. */
export const add = async (paths: string[], options: AddOptions, context: Context): Promise<Outcome> => {
  const files = withProofPaths(await findFiles(paths, context.cwd), options, context.cwd)

  const names = files.map(({ shown }) => shown)
  const progress = new Progress(context.stderr, { names, dumb: context.env.TERM === 'dumb' })
  try {
    const w3 = await connectToStorefront(
      options,
      { ...context, note: text => progress.note(text) },
      {
        upload: options.upload === false ? async () => {} : options.upload,
      },
    )
    // Before days of waiting, not after them.
    if (options.wait) for (const { proofPath } of files) await prepareDirectoryOf(proofPath, OTHERWISE)
    return await addAll(files, { w3, progress, options, context })
  } finally {
    progress.close()
  }
}

interface Work {
  w3: Storefront
  progress: Progress
  options: AddOptions
  context: Context
}

const addAll = async (
  files: readonly Added[],
  { w3, progress, options, context }: Work,
): Promise<Outcome> => {
  const reading = pLimit(MAX_READERS)
  const followed = new Followed(w3, context.signal)
  const errors: Reason[] = []

  const addOne = async (file: Added): Promise<AddedFile> => {
    const facts: Partial<AddedFacts> = {}
    const report = reporterOf(file.shown, progress)
    const observe = (event: AddEvent) => {
      if (event.type === 'identified')
        Object.assign(facts, { bytes: event.bytes, content: `${event.content}`, piece: `${event.piece}` })
      if (event.type === 'offered') facts.task = event.accept
      report(event)
    }
    const { signal } = context
    const { nonce, receiptsTo } = options
    try {
      const offered = await reading(() => {
        signal.throwIfAborted()
        return w3.start(file.path, { onProgress: observe, signal, nonce, receiptsTo })
      })
      if (options.wait) {
        const proof = await followed.follow(offered, report)
        await save(file.proofPath, proof.bytes, `save the proof with w3fil proof ${offered.accept} -o FILE`)
        const shown = shownPath(file.proofPath, context.cwd)
        Object.assign(facts, {
          aggregate: `${proof.aggregate}`,
          deal: proof.dealID,
          place: proof.place && toPlaceKey(proof.place),
          proof: shown,
        })
        progress.settle(
          file.shown,
          `${proof.place ? describePlace(proof.place) : 'on chain'}, proof in ${shown}`,
        )
      } else progress.settle(file.shown, `offered, task ${offered.accept}`)
      return { file: file.shown, ok: true, ...(facts as AddedFacts) }
    } catch (cause) {
      const error = toReason(cause)
      errors.push(error)
      const { code, message } = error
      // The reason of the only file is that of the command.
      if (code !== 'Interrupted')
        progress.settle(file.shown, files.length > 1 ? `failed: ${message}` : 'failed', true)
      return { file: file.shown, ok: false, error: { code, message }, ...facts }
    }
  }

  const result = await Promise.all(files.map(addOne))
  followed.close()
  return { result, lines: linesOf(result), error: summarize(errors, files.length, context) }
}

/** Returns the files with the path of each proof: beside the file, or in the directory for proofs. */
const withProofPaths = (files: readonly NamedFile[], { proofs }: AddOptions, cwd: string): Added[] => {
  const owners = new Map<string, string>()
  return files.map(file => {
    const base = proofs === undefined ? file.path : join(resolve(cwd, proofs), file.name)
    const proofPath = `${base}${PROOF_ENDING}`
    const other = owners.get(proofPath)
    if (other !== undefined)
      throw usageError(
        `${other} and ${file.shown} would have their proofs in the same file ${shownPath(proofPath, cwd)}`,
        'Add them in two commands with different --proofs.',
      )
    owners.set(proofPath, file.shown)
    return { ...file, proofPath }
  })
}

/** Returns a function that shows the events of one file. */
const reporterOf = (name: string, progress: Progress) => {
  let phase = ''
  let since = 0
  return (event: AddEvent): void => {
    if (event.type !== phase && event.type !== 'retry') {
      phase = event.type
      since = performance.now()
    }
    const text = describe(event, performance.now() - since)
    // Every stage is a phase.
    if (text !== undefined) progress.update(name, event.type === 'stage' ? event.stage : event.type, text)
  }
}

const describe = (event: AddEvent, elapsedMs: number): string | undefined => {
  switch (event.type) {
    case 'hashing':
      return `hashing ${amount(event.bytes, event.total, elapsedMs)}`
    case 'uploading':
      return `uploading ${amount(event.sent, event.bytes, elapsedMs)}`
    case 'uploaded':
      return 'uploaded'
    case 'offered':
      return 'offered'
    case 'stage':
      return describeStage(event)
    case 'retry':
      return `trying again in ${duration(event.pauseMs)}: ${event.reason}`
    default:
      return undefined
  }
}

/** @example `1.2 GB of 3.4 GB, 120 MB/s` */
const amount = (done: number, total: number, elapsedMs: number): string => {
  const rate = elapsedMs > 200 ? `, ${bytes((done / elapsedMs) * 1000)}/s` : ''
  return `${bytes(done)} of ${bytes(total)}${rate}`
}

const describeState = ({ proof, task, place: key = '' }: AddedFacts): string => {
  if (proof === undefined) return `task ${task}`
  const place = parsePlaceKey(key)
  return place ? shortenPlace(place) : 'a place of another kind'
}

const linesOf = (files: readonly AddedFile[]): string[] => {
  const rows = files.map(file => [
    file.file,
    file.piece ?? '',
    file.ok ? describeState(file) : file.error.code,
    file.proof ?? '',
  ])
  return table(['file', 'piece', 'state', 'proof'], rows)
}

/** Returns the error of the whole command. It has the code of the files, if they failed alike. */
const summarize = (errors: readonly Reason[], files: number, context: Context): Reason | undefined => {
  const [first] = errors
  if (first === undefined) return undefined
  if (context.signal.aborted) return context.signal.reason
  if (files === 1) return first
  const isSame = errors.every(({ code }) => code === first.code)
  return new CommandError(
    isSame ? first.code : 'SeveralFailed',
    `${errors.length} of ${files} files failed${isSame ? `: ${first.message}` : ''}`,
    {
      hint: isSame
        ? hintOf(first)
        : `See the reason of each file. The same command tries again: ${context.commandLine}`,
      retryable: errors.some(({ retryable }) => retryable),
    },
  )
}
