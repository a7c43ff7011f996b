import { ed25519 } from '@ucanto/principal'
import { type AddEvent, connect, type Storefront } from '@w3filecoin/client'
import { parse as parseLink } from 'multiformats/link'
import { askTask } from './ask-task.ts'
import { element } from './element.ts'
import { journeyView, readJourney } from './journey-view.ts'
import { badge, identifier, problem, section } from './parts.ts'
import { pieceView } from './piece-view.ts'
import { proofView } from './proof-view.ts'
import { STAGES } from './words.ts'

/** The shortest and the longest pause between two readings of a workflow, in milliseconds. */
const MIN_PAUSE_MS = 1_000
const MAX_PAUSE_MS = 60_000
/** The multihash of a piece CID v2. */
const PIECE_MULTIHASH = 0x1011

const find = <E extends HTMLElement>(id: string) => document.getElementById(id) as E
const result = find('result')
const status = find('status')

/** Ends the work for the former subject. */
let current = new AbortController()

/** The storefront that serves this page. Looking needs no lasting key; storing a file does. */
const openStorefront = (options: Parameters<typeof connect>[1] = {}) => connect(location.origin, options)
let looking: Promise<Storefront> | undefined
const lookAs = (): Promise<Storefront> => {
  looking ??= ed25519.generate().then(signer => openStorefront({ signer: signer as never }))
  looking.catch(() => {
    looking = undefined
  })
  return looking
}

const say = (text: string) => {
  if (status.textContent !== text) status.textContent = text
}

const show = (...parts: HTMLElement[]) => result.replaceChildren(...parts)

/** Starts a new subject. An error is shown, with a button that tries again. */
const start = (title: string, work: (signal: AbortSignal) => Promise<void>): void => {
  current.abort()
  current = new AbortController()
  const { signal } = current
  say(title)
  work(signal).catch(error => {
    if (signal.aborted) return
    say('')
    show(
      problem('This could not be read', error),
      element('button', { type: 'button', click: () => start(title, work) }, 'Try again'),
    )
  })
}

const lookUp = (text: string): void =>
  start('Looking…', async signal => {
    const subject = text.trim()
    const link = readLink(subject)
    const storefront = await lookAs()
    if (link?.multihash.code === PIECE_MULTIHASH) {
      const view = await pieceView(storefront, link)
      if (!signal.aborted) show(...view)
      say('')
      return
    }
    await follow(storefront, subject, signal)
  })

const readLink = (text: string) => {
  try {
    return parseLink(text)
  } catch {
    return undefined
  }
}

/** Shows a task, and reads it again until its workflow has ended. */
const follow = async (storefront: Storefront, task: string, signal: AbortSignal): Promise<void> => {
  for (let shown = ''; ; ) {
    const asked = await askTask(task, signal)
    if (signal.aborted) return
    if (!asked.known) {
      say('')
      show(
        section(
          'Unknown task',
          element('p', {}, identifier(task)),
          element(
            'p',
            {},
            'This storefront did not promise this task, and no service after it has its receipt. Check the CID, or ask the storefront that took the offer.',
          ),
        ),
      )
      return
    }
    const journey = await readJourney(storefront, asked, signal)
    const view = await journeyView(storefront, journey)
    if (signal.aborted) return
    // Equal content is left in place: opened details stay open, and a screen reader repeats nothing.
    const html = view.map(({ outerHTML }) => outerHTML).join('')
    if (html !== shown) show(...view)
    shown = html
    const { stage } = journey.info?.task ?? asked
    const isOver = stage === 'accepted' || stage === 'failed' || asked.retryAfterSeconds === undefined
    say(isOver ? '' : `${stage ? `${STAGES[stage]}. ` : ''}This page follows it.`)
    if (isOver && journey.failure === undefined) return
    await pause(Math.min(Math.max((asked.retryAfterSeconds ?? 5) * 1000, MIN_PAUSE_MS), MAX_PAUSE_MS), signal)
  }
}

/** Waits, and while the page is hidden until it is seen again. */
const pause = async (milliseconds: number, signal: AbortSignal): Promise<void> => {
  await new Promise(resolve => setTimeout(resolve, milliseconds))
  if (!document.hidden || signal.aborted) return
  await new Promise(resolve => document.addEventListener('visibilitychange', resolve, { once: true, signal }))
}

/** Verifies a proof, with its file if there is one. Offers to store other files. */
const takeFiles = (files: readonly File[]): void => {
  const proof = files.find(({ name }) => name.endsWith('.w3proof'))
  const others = files.filter(file => file !== proof)
  if (proof !== undefined)
    start('Verifying…', async signal => {
      const storefront = await lookAs()
      const view = await proofView(proof, { storefront, file: others[0], name: proof.name })
      if (signal.aborted) return
      show(view)
      say('')
    })
  else if (others[0] !== undefined) offerToStore(others[0])
}

const offerToStore = (file: File): void => {
  current.abort()
  say('')
  show(
    section(
      `Store ${file.name}`,
      element(
        'p',
        {},
        `${file.size.toLocaleString()} bytes. Storage providers, and all who know its CID, can read it: encrypt it first if it is not public.`,
      ),
      element('button', { type: 'button', click: () => store(file) }, 'Store it on Filecoin'),
    ),
  )
}

const store = (file: File): void =>
  start('Storing…', async signal => {
    // The key of this browser: the same file gets the same tasks.
    const storefront = await openStorefront()
    const steps = element('ol', { class: 'stages' })
    show(section(`Storing ${file.name}`, steps))
    const onProgress = (event: AddEvent) => {
      const text = STEPS[event.type]
      if (text === undefined || steps.lastElementChild?.textContent === text) return
      steps.append(element('li', { class: 'now' }, text))
      say(text)
    }
    const offered = await storefront.start(file, { onProgress, signal })
    if (signal.aborted) return
    history.pushState(undefined, '', `/receipt/${offered.accept}`)
    await follow(storefront, offered.accept, signal)
  })

const STEPS: Partial<Record<AddEvent['type'], string>> = {
  hashing: 'Computing the piece in this browser',
  uploading: 'Uploading',
  uploaded: 'Uploaded',
  offered: 'Offered',
}

const route = (): void => {
  const [, task] = /^\/receipt\/([^/]+)$/.exec(location.pathname) ?? []
  const subject = task ?? new URLSearchParams(location.search).get('of')
  find<HTMLInputElement>('of').value = subject ?? ''
  if (subject) lookUp(subject)
  else {
    current.abort()
    say('')
    show()
  }
}

find('look-up').addEventListener('submit', event => {
  event.preventDefault()
  const text = find<HTMLInputElement>('of').value.trim()
  const isPiece = readLink(text)?.multihash.code === PIECE_MULTIHASH
  history.pushState(
    undefined,
    '',
    isPiece ? `/?of=${encodeURIComponent(text)}` : `/receipt/${encodeURIComponent(text)}`,
  )
  route()
  result.focus()
})
find<HTMLInputElement>('chosen').addEventListener('change', ({ target }) => {
  const input = target as HTMLInputElement
  takeFiles([...(input.files ?? [])])
  // The same file may be chosen again.
  input.value = ''
})
for (const name of ['dragover', 'dragleave', 'drop'])
  document.addEventListener(name, event => {
    event.preventDefault()
    find('files').classList.toggle('over', name === 'dragover')
    if (name === 'drop') takeFiles([...((event as DragEvent).dataTransfer?.files ?? [])])
  })
addEventListener('popstate', route)

route()
lookAs().then(
  ({ did }) => find('service').replaceChildren('Storefront ', identifier(did)),
  error =>
    find('service').replaceChildren(
      badge('not verified', 'The storefront does not answer'),
      ` ${error.message}`,
    ),
)
