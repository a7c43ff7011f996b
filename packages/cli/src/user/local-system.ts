import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '@w3filecoin/runtime/user-error'
import * as z from 'zod'
import { isLocked } from '../ops/data-directory.ts'

/** The part of `local.json` that clients of the local system need. The addresses are missing during its first start. */
const Service = z.object({ did: z.string(), url: z.string().optional() })
const LocalJson = z.object({ storefront: Service, dealTracker: Service })

export interface LocalSystem extends z.infer<typeof LocalJson> {
  /** The file that says so. */
  file: string
  isRunning: boolean
}

/** Returns the local system of a data directory; `undefined` if there is none. */
export const findLocalSystem = (data: string): LocalSystem | undefined => {
  const file = join(data, 'local.json')
  try {
    const facts = LocalJson.parse(JSON.parse(readFileSync(file, 'utf8')))
    return { ...facts, file, isRunning: isLocked(join(data, 'lock')) }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message
    throw new UserError(
      `Cannot read ${file}: ${reason.replaceAll(/\s+/g, ' ')}. Restart the system with w3fil dev, or pass --storefront.`,
    )
  }
}
