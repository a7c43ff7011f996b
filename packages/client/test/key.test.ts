import { chmodSync, mkdtempDisposableSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { openSigner } from '../src/index.ts'

const useDirectory = () => mkdtempDisposableSync(join(tmpdir(), 'key-'))

describe('openSigner', () => {
  it('creates a key that only its owner can read, and returns it from then on', async () => {
    using directory = useDirectory()
    const path = join(directory.path, 'new', 'agent.key')
    const signer = await openSigner(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700)
    expect((await openSigner(path)).did()).toBe(signer.did())
    expect(readFileSync(path, 'utf8')).toMatch(/^MgC\S+\n$/)
  })

  it('keeps the key in the directory for settings', async () => {
    using directory = useDirectory()
    vi.stubEnv('XDG_CONFIG_HOME', directory.path)
    const signer = await openSigner().finally(() => vi.unstubAllEnvs())
    expect((await openSigner(join(directory.path, 'w3filecoin', 'agent.key'))).did()).toBe(signer.did())
  })

  it('creates one key, if several calls start at once', async () => {
    using directory = useDirectory()
    const path = join(directory.path, 'agent.key')
    const signers = await Promise.all(Array.from({ length: 20 }, () => openSigner(path)))
    expect(new Set(signers.map(signer => signer.did())).size).toBe(1)
    expect(readdirSync(directory.path)).toEqual(['agent.key'])
  })

  it('does not use a key that other users can read', async () => {
    using directory = useDirectory()
    const path = join(directory.path, 'agent.key')
    await openSigner(path)
    chmodSync(path, 0o640)
    await expect(openSigner(path)).rejects.toMatchObject({
      code: 'KeyUnavailable',
      hint: expect.stringContaining(`chmod 600 ${path}`),
    })
  })

  it('keeps a file that it cannot read as a key, and does not quote it', async () => {
    using directory = useDirectory()
    const path = join(directory.path, 'agent.key')
    writeFileSync(path, 'MgCsecret', { mode: 0o600 })
    const error = await openSigner(path).catch(error => error)
    expect(error).toMatchObject({ code: 'KeyUnavailable', message: `${path} does not contain a private key` })
    expect(`${error.stack}${JSON.stringify(error)}${error.cause}`).not.toContain('MgCsecret')
    expect(readFileSync(path, 'utf8')).toBe('MgCsecret')
  })
})
