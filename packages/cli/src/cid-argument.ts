import { CID } from 'multiformats/cid'
import { usageError } from './outcome.ts'

/** Checks that an argument is a CID, and returns its usual form. */
export const readCid = (text: string, hint: string): string => {
  try {
    return `${CID.parse(text)}`
  } catch {
    throw usageError(`${text} is not a CID`, hint)
  }
}
