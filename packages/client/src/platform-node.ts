import { createHash, randomUUID } from 'node:crypto'
import { openAsBlob } from 'node:fs'
import { access, chmod, link, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { reasonOf, W3Error } from './error.ts'
import type { Platform } from './platform.ts'

export const platform: Platform = {
  fetch: (url, init) => fetch(url, init),
  // Its `fetch` has no cache.
  uncached: {},
  now: () => Date.now(),
  random: () => Math.random(),
  createSha256: () => createHash('sha256'),

  async openFile(path) {
    try {
      const stats = await stat(path)
      if (!stats.isFile())
        throw new W3Error('InvalidSource', `${path} is not a regular file`, {
          hint: 'Add each file by itself.',
        })
      await access(path)
      return await openAsBlob(path)
    } catch (cause) {
      if (cause instanceof W3Error) throw cause
      throw new W3Error('InvalidSource', `Cannot read ${path}: ${reasonOf(cause)}`, {
        hint: 'Check the path and the permissions of the file.',
        cause,
      })
    }
  },

  // fetch takes the length of a blob from its size, and the bytes from its stream.
  observe(blob, onRead) {
    const stream = () => {
      let bytes = 0
      return blob.stream().pipeThrough(
        new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
          transform(chunk, controller) {
            bytes += chunk.byteLength
            onRead(bytes)
            controller.enqueue(chunk)
          },
        }),
      )
    }
    return Object.defineProperty(blob.slice(), 'stream', { value: stream })
  },

  async saveFile(path, bytes) {
    const incomplete = `${path}.${randomUUID()}`
    try {
      await writeFile(incomplete, bytes)
      await rename(incomplete, path)
    } catch (cause) {
      await rm(incomplete, { force: true })
      throw new W3Error('SaveFailed', `Cannot write ${path}: ${reasonOf(cause)}`, { cause })
    }
  },

  keyPlace: () => join(configDirectory(), 'w3filecoin', 'agent.key'),

  async openSigner(path = platform.keyPlace()) {
    try {
      return (await readSigner(path)) ?? (await createSigner(path))
    } catch (cause) {
      if (cause instanceof W3Error) throw cause
      throw new W3Error('KeyUnavailable', `Cannot open the key in ${path}: ${reasonOf(cause)}`, {
        hint: `Check the permissions of ${dirname(path)}, or pass a signer in \`signer\`.`,
        cause,
      })
    }
  },
}

/** The directory for a user's settings. */
const configDirectory = (): string => {
  if (process.platform === 'win32') return process.env.APPDATA ?? join(homedir(), 'AppData', 'Roaming')
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Application Support')
  return process.env.XDG_CONFIG_HOME || join(homedir(), '.config')
}

/** Returns the key in a file; `undefined` if there is no file. */
const readSigner = async (path: string): Promise<Signer | undefined> => {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw cause
  }
  // Windows has no such bits.
  if (process.platform !== 'win32' && ((await stat(path)).mode & 0o077) !== 0)
    throw new W3Error('KeyUnavailable', `Other users can read the private key in ${path}`, {
      hint: `If no one else has used it, run: chmod 600 ${path}`,
    })
  try {
    return ed25519.parse(text.trim()) as Signer
  } catch {
    // Without the cause, which may quote the key.
    throw new W3Error('KeyUnavailable', `${path} does not contain a private key`, {
      hint: 'Restore the file. Or move it away: the next call creates another key, which is another agent.',
    })
  }
}

/** Creates the file with a new key, unless another process creates it first. Returns the key in the file. */
const createSigner = async (path: string): Promise<Signer> => {
  const incomplete = `${path}.${randomUUID()}`
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  try {
    await writeFile(incomplete, `${ed25519.format(await ed25519.generate())}\n`, { mode: 0o600, flush: true })
    await chmod(incomplete, 0o600)
    // A link, unlike a rename, fails if the file exists.
    await link(incomplete, path).catch(cause => {
      if (cause.code !== 'EEXIST') throw cause
    })
  } finally {
    await rm(incomplete, { force: true })
  }
  return (await readSigner(path))!
}
