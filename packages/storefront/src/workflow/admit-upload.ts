import { failure, type Result } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { findUploadExcess, type Space } from '../domain/quota.ts'
import { countToday } from './count-today.ts'

/**
 * Counts an upload, if the space may make it. Call it before the upload is recorded: a run that is killed in between counts one
 * too many.
 *
 * Fails with `SpaceNotListed` or `TooManyUploads`.
 */
export const admitUpload = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'admission' | 'now'> & {
    uploads: NonNullable<Dependencies['uploads']>
  },
  space: Space,
  bytes: number,
): Promise<Result<object>> => {
  const { id, admission, uploads } = dependencies
  const isForListed = uploads.spaces === 'listed' || admission.spaces === 'listed'
  if (isForListed && space.provider === undefined)
    return {
      error: failure(
        'SpaceNotListed',
        `${space.did} has no provider at ${id.did()}, which gives addresses for uploads to listed spaces only. Ask its operator to add the space with a provider to the table space, or to set uploads and spaces to "open".`,
        { space: space.did },
      ),
    }
  return countToday(dependencies, space, { uploads: 1, uploadBytes: bytes }, (counts, time) =>
    findUploadExcess(counts, space, uploads, time),
  )
}
