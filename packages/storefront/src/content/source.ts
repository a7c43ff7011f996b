/** The bytes of a content. */
export interface OpenContent extends AsyncIterable<Uint8Array> {
  /** Keeps the content, which would expire otherwise. Absent if it does not expire. */
  keep?(): Promise<void>
}

/** Where the storefront reads content from. */
export interface ContentSource {
  /** Whether the content exists. */
  has(content: string): Promise<boolean>
  /**
   * Opens the bytes of the content, until `signal` aborts; `undefined` if the content does not exist. For a CID with codec
   * raw or CAR, these must be the bytes whose hash is in the CID.
   */
  open(content: string, signal: AbortSignal): Promise<OpenContent | undefined>
  /** Returns a URL from which the content can be fetched now. It may expire soon. */
  locate(content: string): Promise<string>
}
