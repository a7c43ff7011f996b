import { failure, type Result } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { findUploadExcess, quotaExpiry, quotaKey, type Space } from '../domain/quota.ts'

/**
 * Counts an upload, if the space may make it. Call it before the upload is recorded: a run that is killed in between counts one
 * too many.
 *
 * Fails with `SpaceNotListed` or `TooManyUploads`.
 */
export const admitUpload = async (
  {
    id,
    stores,
    admission,
    uploads,
    now,
  }: Pick<Dependencies, 'id' | 'stores' | 'admission' | 'now'> & {
    uploads: NonNullable<Dependencies['uploads']>
  },
  space: Space,
  bytes: number,
): Promise<Result<object>> => {
  const isForListed = uploads.spaces === 'listed' || admission.spaces === 'listed'
  if (isForListed && space.provider === undefined)
    return {
      error: failure(
        'SpaceNotListed',
        `${space.did} has no provider at ${id.did()}, which gives addresses for uploads to listed spaces only. Ask its operator to add the space with a provider to the table space, or to set uploads and spaces to "open".`,
        { space: space.did },
      ),
    }
  const time = now()
  const key = quotaKey(space, time)
  const { uploads: count = 0, uploadBytes = 0 } = (await stores.quota.get(key)) ?? {}
  const excess =
    // A refused upload is not counted, and causes no write.
    findUploadExcess({ uploads: count + 1, uploadBytes: uploadBytes + bytes }, space, uploads, time) ??
    findUploadExcess(
      await stores.quota.add(key, { uploads: 1, uploadBytes: bytes }, { expiresAt: quotaExpiry(time) }),
      space,
      uploads,
      time,
    )
  return excess ? { error: excess } : { ok: {} }
}
