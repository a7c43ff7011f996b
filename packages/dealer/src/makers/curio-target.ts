import * as z from 'zod'

/** The shortest duration of a deal that Curio accepts, 180 days, and the longest commitment of a sector, 1,278 days (FIP-0052). */
const MIN_DURATION_EPOCHS = 518_400
const MAX_DURATION_EPOCHS = 3_680_640

const isLoopback = (host: string): boolean => host === 'localhost' || /^(127(\.\d+){3}|\[::1\])$/.test(host)

/** Only TLS protects the body of a request: the signature does not cover it. A path would change the path that is signed. */
const isOrigin = (text: string): boolean => {
  const url = URL.parse(text)
  if (url === null || `${url.origin}/` !== url.href) return false
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}

/** A storage provider that is asked over the market of Curio, Market 2.0 or "mk20". */
export const curioTargetSchema = z.strictObject({
  url: z
    .string()
    .refine(isOrigin, 'expected an https URL without a path, e.g. https://curio.example.com')
    .meta({
      description: 'Address of the provider. Plain http is for this machine only.',
      examples: ['https://curio.example.com'],
    }),
  miner: z
    .string()
    .regex(/^[ft]0\d{1,15}$/, 'expected the address of a miner by its id, e.g. f01000')
    .meta({
      description:
        'The miner in whose sectors the provider stores. The first letter is that of the network: `f` is mainnet, `t` a test network.',
      examples: ['f01000'],
    }),
  durationEpochs: z
    .int()
    .min(MIN_DURATION_EPOCHS)
    .max(MAX_DURATION_EPOCHS)
    .default(MIN_DURATION_EPOCHS)
    .meta({
      unit: 'epochs of 30 s',
      description: 'Time for which the provider must store an aggregate.',
      examples: [1_555_200],
    }),
})
export type CurioTarget = z.infer<typeof curioTargetSchema>
