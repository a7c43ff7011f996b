import { access, constants, link, mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { W3Error } from '@w3filecoin/client'

/**
 * Writes a file, unless it has the same bytes already.
 *
 * @param otherwise another way, for the hint of an error, e.g. `pass another file with -o`
 * @throws W3Error `FileExists` if it has other bytes: it is never overwritten
 */
export const save = async (path: string, bytes: Uint8Array, otherwise: string): Promise<void> => {
  try {
    await using directory = await mkdtempDisposable(join(dirname(path), '.w3fil-'))
    const complete = join(directory.path, 'file')
    await writeFile(complete, bytes, { flush: true })
    // A link, unlike a rename, fails if the file exists.
    await link(complete, path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(path, cause, otherwise)
    if (!(await readFile(path)).equals(bytes))
      throw new W3Error('FileExists', `${path} exists and has other contents`, {
        hint: `Move it away, or ${otherwise}.`,
      })
  }
}

/** Creates the directory of a file, and checks that files can be created in it. */
export const prepareDirectoryOf = async (path: string, otherwise: string): Promise<void> => {
  try {
    await mkdir(dirname(path), { recursive: true })
    await access(dirname(path), constants.W_OK)
  } catch (cause) {
    throw cannotWrite(path, cause, otherwise)
  }
}

const cannotWrite = (path: string, cause: unknown, otherwise: string): W3Error =>
  new W3Error('SaveFailed', `Cannot write ${path}: ${(cause as Error).message}`, {
    hint: `Check the permissions and the free space, or ${otherwise}.`,
    cause,
  })
