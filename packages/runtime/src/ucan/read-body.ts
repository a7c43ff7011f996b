/** Reads a body; returns `undefined` if it has more than `maxBytes`, and then cancels it. */
export const readBody = async (body: Response['body'], maxBytes: number): Promise<Buffer | undefined> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength
    // Leaving the loop cancels the body.
    if (bytes > maxBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
