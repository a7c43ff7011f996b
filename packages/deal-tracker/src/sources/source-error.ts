/** Returns an error by which a run of a source fails. The checks of the tracker report its name. */
export const newSourceError = (name: string, message: string, cause?: unknown): Error =>
  Object.assign(new Error(message, cause === undefined ? undefined : { cause }), { name })
